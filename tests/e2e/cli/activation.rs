//! Under a service manager: sockets that are handed in, and what it is told.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::creel;
use crate::harness::{Load, Manager, Process, Role, Site, Sizes, Sockets, eventually};

const SOON: Duration = Duration::from_secs(30);
/// Short, so that several signs of life are seen.
const WATCHDOG: Duration = Duration::from_secs(1);

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_serves_the_sockets_it_is_handed_and_says_how_it_stands() {
    let site = Site::new("", "");
    let mut manager = Manager::listen(&site);
    let (public, private) = (listener(), listener());
    let addresses = (public.local_addr().unwrap(), private.local_addr().unwrap());
    // by their names, not by their order
    let sockets = Sockets::two(private, public);
    let command = manager.watch(site.creel(&["receiver"]), WATCHDOG);
    let mut receiver =
        Process::activate("creel receiver", &command, sockets, "private:public").await;
    manager.until("READY=1").await;
    Load::new(1, Sizes::Fixed(200)).push(addresses.0, 3).await;
    let api = crate::harness::Api::new(addresses.1, site.token(Role::Read));
    assert_eq!(api.get("/ready").await.status, 200);
    eventually("signs of life", SOON, async || {
        (manager.count("WATCHDOG=1") >= 3).then_some(())
    })
    .await;
    assert_eq!(manager.count("READY=1"), 1);
    assert!(manager.count("STATUS=taking deliveries") > 0);
    assert_eq!(manager.count("STOPPING=1"), 0);
    let exit = receiver.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert_eq!(manager.count("STOPPING=1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_disk_is_full_is_not_ready_but_lives() {
    let site = Site::new("reserve = \"16TiB\"", "");
    let mut manager = Manager::listen(&site);
    let command = manager.watch(site.creel(&["receiver"]), WATCHDOG);
    let sockets = Sockets::one(listener());
    let mut receiver = Process::activate("creel receiver", &command, sockets, "").await;
    receiver.allow_errors("the log is full");
    manager.until("STATUS=not taking deliveries: ").await;
    manager.until("EXTEND_TIMEOUT_USEC=").await;
    eventually("signs of life", SOON, async || {
        (manager.count("WATCHDOG=1") >= 3).then_some(())
    })
    .await;
    assert_eq!(manager.count("READY=1"), 0, "{:?}", manager.heard());
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_another_kind_are_refused_and_nothing_is_made() {
    let public = listener();
    let connection = TcpStream::connect(public.local_addr().unwrap()).unwrap();
    let site = Site::new("", "");
    let unix = UnixListener::bind(site.path("socket")).unwrap();
    let wrong: Vec<(Sockets, &str, &str)> = vec![
        (
            Sockets::one(UdpSocket::bind("127.0.0.1:0").unwrap()),
            "",
            "listening TCP socket",
        ),
        (Sockets::one(unix), "public", "listening TCP socket"),
        (Sockets::one(connection), "", "it is a connection"),
        (
            Sockets::one(std::fs::File::open("/dev/null").unwrap()),
            "",
            "listening TCP socket",
        ),
        (
            Sockets::two(listener(), TcpListener::bind("0.0.0.0:0").unwrap()),
            "",
            "not on loopback",
        ),
        (
            Sockets::two(listener(), listener()),
            "public:metrics",
            "FileDescriptorName=",
        ),
    ];
    for (sockets, names, told) in wrong {
        for command in [["receiver"].as_slice(), &["up", "--workers", "0"]] {
            let sockets = sockets.again();
            let command = site.creel(command);
            let mut process = Process::activate("creel", &command, sockets, names).await;
            let exit = process.allow_errors("").exit_within(SOON).await;
            assert_eq!(exit.code(), Some(2), "{names}: {}", exit.stderr);
            assert!(exit.stderr.contains(told), "{told}: {}", exit.stderr);
            assert!(!site.data().exists());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_meant_for_another_process_are_left_alone() {
    let site = Site::new("", "");
    let mut command = site.creel(&["receiver"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let mut receiver = Process::start("creel receiver", command, false).await;
    let addresses = site.path(".creel/addresses.json");
    eventually("addresses of its own", SOON, async || {
        assert!(!receiver.has_ended());
        addresses.exists().then_some(())
    })
    .await;
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_passes_on_what_it_is_handed_and_says_how_its_receiver_stands() {
    let site = Site::new("", super::TO_FILES);
    let mut manager = Manager::listen(&site);
    let public = listener();
    let address = public.local_addr().unwrap();
    let held: OwnedFd = public.try_clone().unwrap().into();
    let command = manager.watch(site.creel(&["up", "--workers", "2"]), WATCHDOG);
    let mut up = Process::activate("creel up", &command, Sockets::one(held), "public").await;
    // waits in the socket until there is a receiver
    let acked = Load::new(4, Sizes::Fixed(200)).push(address, 20).await;
    manager.until("READY=1").await;
    manager
        .until("STATUS=taking deliveries; 2 of 2 workers lease")
        .await;
    eventually("all delivered", SOON, async || {
        let exit = creel(&site, &["undelivered"]).await;
        (exit.code() == Some(0)).then_some(())
    })
    .await;
    eventually("signs of life", SOON, async || {
        (manager.count("WATCHDOG=1") >= 3).then_some(())
    })
    .await;
    assert_eq!(manager.count("READY=1"), 1);
    let exit = up.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert_eq!((manager.count("STOPPING=1"), acked.len()), (1, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_ready_when_it_leases() {
    let site = Site::new("", super::TO_FILES);
    let mut manager = Manager::listen(&site);
    let receiver = listener();
    let url = format!("http://{}", receiver.local_addr().unwrap());
    let command = site.creel(&["worker", "--receiver", &url]);
    let command = manager.watch(command, WATCHDOG);
    let mut worker = Process::start("creel worker", command, false).await;
    // its connection waits: nobody has answered
    receiver.set_nonblocking(true).unwrap();
    let receiver = tokio::net::TcpListener::from_std(receiver).unwrap();
    let connection = receiver.accept().await.unwrap();
    assert_eq!(manager.count("READY=1"), 0);
    drop(connection);
    let command = site.creel(&["receiver"]);
    let public = listener();
    let sockets = Sockets::two(public, receiver.into_std().unwrap());
    let mut receiver = Process::activate("creel receiver", &command, sockets, "").await;
    manager.until("READY=1").await;
    assert_eq!(manager.count("STATUS=leasing"), 1);
    assert_eq!(worker.terminate(SOON).await.code(), Some(0));
    assert_eq!(manager.count("STOPPING=1"), 1);
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

//! A receiver that is killed or restarted under load, while its socket is held: no sender is refused.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::audit::audit;
use super::{alone, scale};
use crate::harness::{Load, Manager, Process, Seed, Site, Sizes, Sockets, Tally, Up, eventually};

const SENDERS: usize = 64;
const SOON: Duration = Duration::from_secs(30);

/// `creel up` waits longer each time before it starts again what it started a moment ago: after so
/// many kills another one is started.
const KILLS_PER_UP: usize = 5;

/// All senders over one `site`, from before the first receiver is there until `stop`.
struct Senders {
    load: Load,
    stop: CancellationToken,
    running: JoinHandle<Tally>,
}

impl Senders {
    fn start(to: SocketAddr) -> Self {
        let load = Load::new(SENDERS, Sizes::Between(100, 4096));
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (load, stop) = (load.clone(), stop.clone());
            async move { load.run(to, None, &stop).await }
        });
        Self {
            load,
            stop,
            running,
        }
    }

    /// The same when nobody will answer what waits in `socket`: it is closed.
    async fn stop_without_receiver(self, socket: std::net::TcpListener) -> (Load, Tally) {
        self.stop.cancel();
        drop(socket);
        self.stop().await
    }

    async fn stop(self) -> (Load, Tally) {
        self.stop.cancel();
        let tally = self.running.await.expect("senders do not panic");
        (self.load, tally)
    }
}

/// Nobody was refused, and what was acknowledged is there. Answers how much that is.
async fn judge(name: &str, site: &Site, load: &Load, tally: &Tally) -> usize {
    let audit = audit(site, load, &tally.acked, &HashSet::new()).await;
    println!(
        "{name}: {audit}; {} unanswered, {} refused connections, {:?} refused requests",
        tally.unanswered, tally.unconnected, tally.refused
    );
    assert_eq!(tally.unconnected, 0, "connections were refused");
    assert!(
        tally.refused.keys().all(|&status| status == 503),
        "only a receiver that stops refuses: {:?}",
        tally.refused
    );
    assert!(audit.is_clean(), "{audit}");
    audit.acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_killed_again_and_again_under_up_refuses_nobody() {
    let _alone = alone().await;
    let mut rng = Seed::of("refused under up").rng();
    let kills = scale(5, 50);
    let mut acked = 0;
    for _ in 0..kills / KILLS_PER_UP {
        acked += under_up(&mut rng).await;
    }
    assert!(acked > 20 * kills, "hardly any load: {acked}");
    println!("refused under up: {kills} kills, {acked} acked, 0 refused, 0 lost: PASS");
}

async fn under_up(rng: &mut StdRng) -> usize {
    let site = Site::new("volume = \"4MiB\"", "");
    let mut up = Up::start_with(&site, 0).await;
    let senders = Senders::start(up.public);
    let mut killed = None;
    for _ in 0..KILLS_PER_UP {
        let next = eventually("the next receiver", SOON, async || {
            receiver_of(&site).filter(|&pid| Some(pid) != killed)
        })
        .await;
        // at any moment of its life, its start included
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..800))).await;
        kill_process(next, Signal::KILL).expect("it runs");
        killed = Some(next);
    }
    let before = senders.load.begun();
    eventually("deliveries after the last kill", SOON, async || {
        (senders.load.begun() > before + 10 * SENDERS as u64).then_some(())
    })
    .await;
    let (load, tally) = senders.stop().await;
    let exit = up.process.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    judge("refused under up", &site, &load, &tally).await
}

fn receiver_of(site: &Site) -> Option<Pid> {
    let text = fs::read(site.path(".creel/up.json")).ok()?;
    let found: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Pid::from_raw(i32::try_from(found["receiver"].as_i64()?).ok()?)
}

/// The test is the supervisor that holds the socket. Every other time the receiver is stopped in
/// order, as by a restart of its service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_handed_its_socket_is_restarted_and_refuses_nobody() {
    let _alone = alone().await;
    let mut rng = Seed::of("refused under activation").rng();
    let rounds = scale(6, 50);
    let site = Site::new("volume = \"4MiB\"", "");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let senders = Senders::start(socket.local_addr().expect("bound"));
    for round in 0..rounds {
        let mut manager = Manager::listen(&site);
        let command = manager.watch(site.creel(&["receiver"]), Duration::from_secs(30));
        let socket = socket.try_clone().expect("descriptors are left");
        let sockets = Sockets::one(socket);
        let mut receiver = Process::activate("creel receiver", &command, sockets, "public").await;
        manager.until("READY=1").await;
        let begun = senders.load.begun();
        let some = rng.random_range(1..2000);
        eventually("some load", SOON, async || {
            (senders.load.begun() > begun + some).then_some(())
        })
        .await;
        match round % 2 {
            0 => assert_eq!(receiver.kill().await.code(), None),
            _ => {
                let exit = receiver.terminate(SOON).await;
                assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
            }
        }
    }
    // what waits in the socket now is answered by nobody: the senders hang up
    let (load, tally) = senders.stop_without_receiver(socket).await;
    let acked = judge("refused under activation", &site, &load, &tally).await;
    println!("refused under activation: {rounds} restarts, {acked} acked, 0 refused, 0 lost: PASS");
}

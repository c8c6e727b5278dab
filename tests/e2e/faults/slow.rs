//! Thousands of sockets that are slow on purpose, beside honest senders.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{alone, scale};
use crate::harness::{Api, Honest, Receiver, Role, Site, eventually};

const RSS_BYTES_MAX: u64 = 512 << 20;
const P99_MAX: Duration = Duration::from_millis(500);
/// Between two bytes of one that sends any.
const TRICKLE: Duration = Duration::from_secs(5);

/// Allows this process, and the receiver that it starts, `wanted` descriptors.
fn allow_descriptors(wanted: u64) {
    let now = getrlimit(Resource::Nofile);
    assert!(
        now.maximum.is_none_or(|most| most >= wanted),
        "this test needs {wanted} descriptors and {:?} are allowed: raise `ulimit -Hn`",
        now.maximum
    );
    let current = now.current.map(|current| current.max(wanted));
    let raised = Rlimit { current, ..now };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
}

/// The slow ones: there are always so many, because each comes back when it was closed.
struct Slow {
    stop: CancellationToken,
    running: TaskTracker,
    closed: Arc<AtomicU64>,
}

impl Slow {
    fn start(to: SocketAddr, sockets: usize) -> Self {
        let slow = Self {
            stop: CancellationToken::new(),
            running: TaskTracker::new(),
            closed: Arc::default(),
        };
        for number in 0..sockets {
            let (stop, closed) = (slow.stop.clone(), slow.closed.clone());
            slow.running.spawn(async move {
                let again = async {
                    loop {
                        // refused or reset: it comes again like any other
                        let _ = be_slow(to, number).await;
                        closed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                stop.run_until_cancelled::<_>(again).await;
            });
        }
        slow
    }

    fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

/// One of four ways to take up a connection, until the other side closes it.
async fn be_slow(to: SocketAddr, number: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    let start: &[u8] = match number % 4 {
        0 => b"",
        1 => b"POST /in/github HTTP/1.1\r\n",
        2 => b"POST /in/github HTTP/1.1\r\nhost: a\r\nx-slow: ",
        _ => b"POST /in/github HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n",
    };
    stream.write_all(start).await?;
    let (mut from, mut to) = stream.split();
    let trickle = async {
        loop {
            tokio::time::sleep(TRICKLE).await;
            if number % 4 > 1 {
                to.write_all(b"x").await?;
            }
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        ended = from.read_to_end(&mut rest) => ended.map(|_| ()),
        ended = trickle => ended,
    }
}

async fn open_connections(api: &Api) -> Option<f64> {
    let reply = api.try_get("/metrics").await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let line = "creel_open_connections{listener=\"public\"} ";
    text.lines()
        .find_map(|l| l.strip_prefix(line))?
        .parse()
        .ok()
}

/// More of them than the receiver takes connections, so that all honest ones live on what they leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_sockets_give_way_and_honest_senders_are_all_answered() {
    let _alone = alone().await;
    let sockets = scale(1000, 10_000);
    let (honest, every) = scale((400, Duration::ZERO), (6000, Duration::from_millis(50)));
    allow_descriptors(sockets as u64 + 1000);
    let site = Site::new("", "");
    let limits = scale(
        "connections_max = 800\nfirst_byte_timeout = \"3s\"\nheader_timeout = \"3s\"",
        // all of them come from one address here; all else is as when nothing is said
        "connections_per_address_max = 20000",
    );
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text.replace("[receiver]\n", &format!("[receiver]\n{limits}\n"));
    std::fs::write(site.config(), text).unwrap();
    let receiver = Receiver::start(&site).await;
    let full = scale(800.0, 9_000.0);
    let slow = Slow::start(receiver.public, sockets);
    let api = receiver.api(&site, Role::Read);
    eventually("a full house", Duration::from_secs(60), async || {
        (open_connections(&api).await? >= full).then_some(())
    })
    .await;
    let sending = tokio::spawn({
        let honest_ones = Honest {
            to: receiver.public,
            certified: None,
            every,
        };
        async move { honest_ones.send(honest).await }
    });
    let mut rss = 0;
    while !sending.is_finished() {
        rss = rss.max(receiver.rss_bytes());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fared = sending.await.unwrap();
    let before = slow.closed();
    eventually(
        "slow ones that were closed",
        Duration::from_secs(60),
        async || (slow.closed() > before.max(sockets as u64)).then_some(()),
    )
    .await;
    let closed = slow.closed();
    slow.end().await;
    let (p50, p99) = (fared.percentile(50), fared.percentile(99));
    println!(
        "slow sockets: {sockets} at any time, {closed} closed; {} honest answered, {} not; p50 \
         {p50:.1?}, p99 {p99:.1?}; {} MiB resident",
        fared.took.len(),
        fared.failed.len(),
        rss >> 20
    );
    assert!(fared.failed.is_empty(), "{:?}", fared.failed.first());
    assert_eq!(fared.took.len() as u64, honest);
    assert!(rss < RSS_BYTES_MAX, "{rss} bytes");
    // a debug build on a busy machine is not judged by its times
    assert!(p99 < scale(Duration::from_secs(10), P99_MAX), "{p99:?}");
    println!("slow sockets: PASS");
}

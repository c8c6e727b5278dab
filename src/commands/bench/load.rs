//! The load generator: keep-alive connections that send signed requests as fast as they are
//! answered, and count the answers.
//!
//! It shares its machine with what it measures, so a request costs it a copy, a patch and two
//! system calls: bodies are signed beforehand, only the event's name differs from one request to
//! the next (GitHub does not sign it).

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::interrupt::Interrupt;
use super::latency::Latencies;
use super::request::Requests;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// An answer that takes longer fails the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How often a batch under way is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What one run of load is.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Whom to.
    pub address: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// Before anything is counted.
    pub warm_up: Duration,
    /// How long is counted.
    pub measured: Duration,
}

/// Requests by number, each sent once, as fast as they are answered.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whom to.
    pub address: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// Which requests.
    pub numbers: Range<u64>,
}

/// Is told the number of each request that was acknowledged, and when it was sent.
pub type Acked = Arc<dyn Fn(u64, Instant) + Send + Sync>;

/// What came of it.
#[derive(Default)]
pub struct Answers {
    /// Latencies of acknowledged requests in the measured time.
    pub latencies: Latencies,
    /// Answers that were no 200.
    pub refused: u64,
    /// How long was measured.
    pub took: Duration,
}

struct Shared {
    address: SocketAddr,
    requests: Arc<Requests>,
    acked: Option<Acked>,
    counter: AtomicU64,
    /// Requests from this number on are not sent.
    end: u64,
    counting: AtomicBool,
    over: AtomicBool,
}

/// Runs the load; calls `begun` when counting begins and `ended` when it ends.
///
/// # Errors
/// When a connection fails or an answer makes no sense.
pub fn run(
    load: Load,
    requests: Requests,
    interrupt: &Interrupt,
    begun: impl FnOnce(),
    ended: impl FnOnce(),
) -> anyhow::Result<Answers> {
    let shared = Arc::new(Shared {
        address: load.address,
        requests: Arc::new(requests),
        acked: None,
        counter: AtomicU64::new(0),
        end: u64::MAX,
        counting: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let running = start(&shared, load.connections)?;
    let slept = interrupt.sleep(load.warm_up);
    begun();
    let start = Instant::now();
    shared.counting.store(true, Ordering::Relaxed);
    let slept = slept.and_then(|()| interrupt.sleep(load.measured));
    shared.counting.store(false, Ordering::Relaxed);
    let took = start.elapsed();
    ended();
    shared.over.store(true, Ordering::Relaxed);
    let answers = join(running, took)?;
    slept.map(|()| answers)
}

/// Sends each request of a batch once and waits until all are answered. Calls `watch` with the
/// number sent so far, ten times a second.
///
/// # Errors
/// When a connection fails, an answer makes no sense, or it is told to stop.
pub fn send(
    batch: &Batch,
    requests: &Arc<Requests>,
    acked: Option<Acked>,
    interrupt: &Interrupt,
    watch: impl Fn(u64),
) -> anyhow::Result<Answers> {
    let shared = Arc::new(Shared {
        address: batch.address,
        requests: requests.clone(),
        acked,
        counter: AtomicU64::new(batch.numbers.start),
        end: batch.numbers.end,
        counting: AtomicBool::new(true),
        over: AtomicBool::new(false),
    });
    let began = Instant::now();
    let running = start(&shared, batch.connections)?;
    let mut slept = Ok(());
    while slept.is_ok() && !running.iter().all(JoinHandle::is_finished) {
        slept = interrupt.sleep(LOOK);
        let sent = shared.counter.load(Ordering::Relaxed).min(shared.end);
        watch(sent - batch.numbers.start);
    }
    shared.over.store(true, Ordering::Relaxed);
    let answers = join(running, began.elapsed())?;
    slept.map(|()| answers)
}

type Running = Vec<JoinHandle<anyhow::Result<Answers>>>;

fn start(shared: &Arc<Shared>, connections: usize) -> anyhow::Result<Running> {
    let threads = threads(connections);
    (0..threads)
        .map(|index| {
            let shared = shared.clone();
            let connections = (connections - index).div_ceil(threads);
            std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || drive(&shared, connections))
                .context("cannot start a thread")
        })
        .collect()
}

fn join(running: Running, took: Duration) -> anyhow::Result<Answers> {
    let mut answers = Answers {
        took,
        ..Answers::default()
    };
    for thread in running {
        let part = thread
            .join()
            .map_err(|_| anyhow::anyhow!("a load thread panicked"))??;
        answers.latencies.merge(&part.latencies);
        answers.refused += part.refused;
    }
    Ok(answers)
}

/// One thread does for a few connections; more than there are cores never help.
fn threads(connections: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    connections.div_ceil(32).clamp(1, cores)
}

fn drive(shared: &Arc<Shared>, connections: usize) -> anyhow::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(connection(shared.clone()));
        }
        let mut all = Answers::default();
        while let Some(part) = tasks.join_next().await {
            let part = part.context("a connection's task panicked")??;
            all.latencies.merge(&part.latencies);
            all.refused += part.refused;
        }
        Ok(all)
    })
}

async fn connection(shared: Arc<Shared>) -> anyhow::Result<Answers> {
    let address = shared.address;
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let mut answers = Answers::default();
    let mut out = Vec::new();
    let mut answer = Answer::default();
    while !shared.over.load(Ordering::Relaxed) {
        let number = shared.counter.fetch_add(1, Ordering::Relaxed);
        if number >= shared.end {
            break;
        }
        shared.requests.write(number, &mut out);
        let begun = Instant::now();
        let status = tokio::time::timeout(ANSWER_WITHIN, async {
            stream.write_all(&out).await.context("cannot send")?;
            answer.read(&mut stream).await
        })
        .await
        .context("no answer in time")??;
        if let Some(acked) = shared.acked.as_ref().filter(|_| status == 200) {
            acked(number, begun);
        }
        if shared.counting.load(Ordering::Relaxed) {
            match status {
                200 => answers.latencies.add(begun.elapsed()),
                _ => answers.refused += 1,
            }
        }
    }
    Ok(answers)
}

/// Reads answers from a connection, one after the other.
#[derive(Default)]
struct Answer {
    buffer: Vec<u8>,
}

impl Answer {
    async fn read(&mut self, stream: &mut TcpStream) -> anyhow::Result<u16> {
        self.buffer.clear();
        loop {
            if let Some((status, length)) = parse(&self.buffer)? {
                ensure!(self.buffer.len() <= length, "more than one answer");
                if self.buffer.len() == length {
                    return Ok(status);
                }
            }
            ensure!(self.buffer.len() < ANSWER_BYTES_MAX, "a very long answer");
            if stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// Status and whole length of an answer, once its head is there.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head]).context("an answer that is no HTTP")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .context("an answer without a status")?;
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse())
        .context("an answer without a length")?;
    Ok(Some((status, head + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let parsed = parse(answer).expect("it is HTTP");
        assert_eq!(parsed, Some((200, answer.len())));
        assert_eq!(parse(&answer[..20]).expect("so far it is"), None);
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}

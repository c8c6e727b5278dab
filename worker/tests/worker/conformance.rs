//! What every kind of destination does: one suite, one line per kind.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use creel_common::delivery::Header;
use creel_common::outcome::Outcome;
use creel_worker::destinations::stdout::Lines;
use creel_worker::destinations::{Destination, Item};
use tempfile::TempDir;

use crate::sample::{item, opened};
use crate::sink::{Arrived, Sink};
use crate::{lines, sample};

/// A destination of some kind, and a look at what is behind it.
#[async_trait]
trait Subject: Send + Sync {
    fn destination(&self) -> &dyn Destination;
    /// Everything that arrived, in order.
    fn arrived(&self) -> Vec<Arrived>;
    /// From now on it cannot take anything.
    fn fail(&self);
    /// Now it can again.
    fn mend(&self);
}

struct Files {
    dir: TempDir,
    out: PathBuf,
    destination: Arc<dyn Destination>,
}

impl Files {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        // the smallest size: a new file is begun often, which is where a directory can fail
        let settings = "path = \"out\"\nrotate_size = \"4KiB\"";
        Self {
            out: dir.path().join("out"),
            destination: opened("file", settings, dir.path()).unwrap(),
            dir,
        }
    }
}

impl Subject for Files {
    fn destination(&self) -> &dyn Destination {
        &*self.destination
    }

    fn arrived(&self) -> Vec<Arrived> {
        lines::in_dir(&self.out)
    }

    fn fail(&self) {
        let _ = std::fs::rename(&self.out, self.dir.path().join("kept"));
        std::fs::write(&self.out, "in the way").unwrap();
        // so that the file that is open is not gone on with
        for file in lines::files(&self.dir.path().join("kept"), ".current.jsonl") {
            let done = file.to_string_lossy().replace(".current", "");
            std::fs::copy(&file, done).unwrap();
            std::fs::remove_file(file).unwrap();
        }
    }

    fn mend(&self) {
        std::fs::remove_file(&self.out).unwrap();
        let _ = std::fs::rename(self.dir.path().join("kept"), &self.out);
    }
}

struct Http {
    sink: Sink,
    destination: Arc<dyn Destination>,
}

impl Http {
    async fn start() -> Self {
        let sink = Sink::start().await;
        let settings = format!("url = {:?}\nallow = [\"127.0.0.0/8\"]", sink.url());
        let destination = opened("http", &settings, std::path::Path::new("")).unwrap();
        Self { sink, destination }
    }
}

impl Subject for Http {
    fn destination(&self) -> &dyn Destination {
        &*self.destination
    }

    fn arrived(&self) -> Vec<Arrived> {
        let seen = self.sink.seen().into_iter();
        seen.map(|seen| seen.arrived).collect()
    }

    fn fail(&self) {
        self.sink.answer(500, &[], b"broken");
    }

    fn mend(&self) {
        self.sink.answer(200, &[], b"");
    }
}

/// A writer that can be looked into, and broken.
#[derive(Clone, Default)]
struct Pipe {
    written: Arc<Mutex<Vec<u8>>>,
    broken: Arc<AtomicBool>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.written.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stdout {
    pipe: Pipe,
    destination: Lines,
}

impl Stdout {
    async fn start() -> Self {
        let pipe = Pipe::default();
        Self {
            destination: Lines::to(pipe.clone()),
            pipe,
        }
    }
}

impl Subject for Stdout {
    fn destination(&self) -> &dyn Destination {
        &self.destination
    }

    fn arrived(&self) -> Vec<Arrived> {
        lines::parse(&self.pipe.written.lock().unwrap())
    }

    fn fail(&self) {
        self.pipe.broken.store(true, Ordering::SeqCst);
    }

    fn mend(&self) {
        self.pipe.broken.store(false, Ordering::SeqCst);
    }
}

/// Delivers the way the worker does: in batches as large as the kind takes.
async fn deliver(subject: &dyn Subject, items: &[Item]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for batch in items.chunks(subject.destination().batch_max()) {
        let results = subject.destination().deliver(batch).await;
        assert_eq!(results.len(), batch.len(), "one result per item");
        outcomes.extend(results.into_iter().map(|result| result.outcome));
    }
    outcomes
}

async fn deliver_one(subject: &dyn Subject, item: Item) -> Arrived {
    assert_eq!(deliver(subject, &[item]).await, [Outcome::Delivered]);
    let mut arrived = subject.arrived();
    assert_eq!(arrived.len(), 1);
    arrived.remove(0)
}

async fn arrives_with_this_body(subject: &dyn Subject, body: Vec<u8>) {
    let arrived = deliver_one(subject, item(1, body.clone())).await;
    assert!(
        arrived.body == body,
        "{} bytes of {}",
        arrived.body.len(),
        body.len()
    );
}

async fn says_who_it_is(subject: &dyn Subject) {
    let mut again = item(7, "{}");
    again.attempt = 3;
    again.generation = 2;
    let arrived = deliver_one(subject, again).await;
    assert_eq!(arrived.id, "000000000000feed-7");
    assert_eq!(
        (arrived.attempt.as_str(), arrived.generation.as_str()),
        ("3", "2")
    );
    assert_eq!(arrived.source, "github");
    assert_eq!(arrived.received_at, "2023-11-14T22:13:20.120Z");
}

async fn keeps_headers(subject: &dyn Subject) {
    let mut with_headers = item(1, "{}");
    with_headers
        .delivery
        .head
        .headers
        .push(Header::new("x-empty", ""));
    let arrived = deliver_one(subject, with_headers).await;
    assert_eq!(arrived.values("x-many"), [b"1", b"2"]);
    assert_eq!(arrived.values("x-latin"), [b"caf\xe9"]);
    assert_eq!(arrived.values("x-empty"), [b""]);
    assert_eq!(arrived.values("content-type"), [b"application/json"]);
}

async fn keeps_the_order_of_a_batch(subject: &dyn Subject) {
    let items: Vec<Item> = (1..=100).map(|n| item(n, format!("{n}"))).collect();
    let outcomes = deliver(subject, &items).await;
    assert_eq!(outcomes, vec![Outcome::Delivered; 100]);
    let bodies: Vec<Vec<u8>> = subject.arrived().into_iter().map(|a| a.body).collect();
    let sent: Vec<Vec<u8>> = items.iter().map(|i| i.delivery.body.to_vec()).collect();
    assert_eq!(bodies, sent);
}

async fn goes_on_after_a_failure(subject: &dyn Subject) {
    assert_eq!(
        deliver(subject, &[item(1, "first")]).await,
        [Outcome::Delivered]
    );
    subject.fail();
    let failed: Vec<Item> = (2..=4).map(|n| item(n, "fails")).collect();
    for batch in failed.chunks(subject.destination().batch_max()) {
        for result in subject.destination().deliver(batch).await {
            assert_eq!(result.outcome, Outcome::Retry { after: None });
            assert!(
                result
                    .report
                    .error
                    .is_some_and(|error| !error.contains("fails"))
            );
        }
    }
    subject.mend();
    assert_eq!(
        deliver(subject, &[item(5, "last")]).await,
        [Outcome::Delivered]
    );
    let arrived = subject.arrived();
    for body in ["first", "last"] {
        let count = arrived.iter().filter(|a| a.body == body.as_bytes()).count();
        assert_eq!(count, 1, "{body}");
    }
}

macro_rules! conforms {
    ($kind:ident, $subject:ty, $($behaviour:ident => $check:expr;)*) => {
        mod $kind {
            use super::*;
            $(
                #[tokio::test]
                async fn $behaviour() {
                    let subject = <$subject>::start().await;
                    let check: fn(&dyn Subject) -> BoxFuture<'_> = |subject| Box::pin($check(subject));
                    check(&subject).await;
                }
            )*
        }
    };
    ($kind:ident, $subject:ty) => {
        conforms!($kind, $subject,
            a_body_arrives_byte_for_byte =>
                |s| arrives_with_this_body(s, b"{ \"a\" : \"\\u00e9 \xc3\xa9\" }\r\n".to_vec());
            a_body_that_is_no_text_arrives_byte_for_byte =>
                |s| arrives_with_this_body(s, (0..=255).collect());
            an_empty_body_arrives => |s| arrives_with_this_body(s, Vec::new());
            a_body_of_25_mib_arrives => |s| arrives_with_this_body(s, vec![b'x'; 25 << 20]);
            a_delivery_says_who_it_is => |s| says_who_it_is(s);
            headers_arrive_in_order_repeats_and_odd_bytes_too => |s| keeps_headers(s);
            a_batch_arrives_in_order => |s| keeps_the_order_of_a_batch(s);
            a_failure_is_retried_and_the_next_goes_through => |s| goes_on_after_a_failure(s);
        );
    };
}

type BoxFuture<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

conforms!(file, Files);
conforms!(http, Http);
conforms!(stdout, Stdout);

#[test]
fn every_kind_is_run_through_the_suite() {
    let suite = include_str!("conformance.rs");
    for name in creel_worker::destinations::names() {
        assert!(
            suite.contains(&format!("conforms!({name}, ")),
            "{name} is missing"
        );
    }
    // the suite's own sample is what it says it is
    assert_eq!(sample::delivery("x").envelope.source, "github");
}

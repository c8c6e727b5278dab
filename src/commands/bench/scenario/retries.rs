//! `creel bench retries`: very many deliveries that wait for another try slow the healthy ones
//! down by little, and take little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::super::latency::Latencies;
use super::super::load::Acked;
use super::super::report::{System, per_second};
use super::super::subject::{Layout, Subject};
use super::Common;
use super::finding::{Findings, Unit, print};
use super::sink::{Answer, Rule, Sinks};
use super::stage::{Stage, median, number};

/// Compare deliveries with very many waiting for another try and with none
///
/// Two logs take the same deliveries: at one of them the destination fails all of the first part,
/// which then waits; at the other it takes them. Then both go on in turns with one delivery in a
/// hundred failing for ever, while the other one's processes are stopped: throughput from the first
/// request to the last arrival, and the time from sending to arrival of one at a time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many wait
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    waiting: u64,
    /// How many deliveries per turn
    #[arg(long, value_name = "N", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    deliveries: u64,
    /// How many turns each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=99))]
    turns: u8,
    /// The longest pause before another try, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pause: u32,
    #[command(flatten)]
    common: Common,
}

/// One in so many fails for ever.
const FAILS_ONE_IN: u64 = 100;
/// Least share of the speed that is left.
const SHARE_MIN: f64 = 0.9;
/// Most times as long from sending to arrival.
const LATENCY_MAX: f64 = 1.1;
/// Most memory that those waiting take.
const MEMORY_BYTES_MAX: f64 = 50e6;
/// What became due while a log was stopped is tried first, for so long.
const CATCH_UP: Duration = Duration::from_secs(1);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.common)?;
    let sinks = Sinks::start()?;
    let mut none = Side::set(args, &stage, &sinks, "none-waiting", false)?;
    none.subject.freeze(true);
    let mut many = Side::set(args, &stage, &sinks, "many-waiting", true)?;
    for turn in 0..u64::from(args.turns) {
        for (side, other) in [(0, 1), (1, 0)] {
            let sides = [&none, &many];
            sides[other].subject.freeze(true);
            sides[side].subject.freeze(false);
            stage.sleep(CATCH_UP)?;
            let measured = sides[side].measure(args, &stage, turn)?;
            [&mut none, &mut many][side].add(&measured);
        }
    }
    none.subject.freeze(false);
    let mut findings = Findings::default();
    report(args, &none, &many, &mut findings)?;
    none.subject.stop()?;
    many.subject.stop()?;
    print(&args.common, "retries", &findings)
}

/// One of the two logs.
struct Side {
    subject: Subject,
    watch: Arc<Watch>,
    /// Waiting when it was filled.
    waiting: u64,
    /// Memory when it was filled.
    memory: u64,
    rates: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
}

/// What a turn came to.
struct Turn {
    rate: f64,
    latencies: Latencies,
}

impl Side {
    fn set(
        args: &Args,
        stage: &Stage,
        sinks: &Sinks,
        name: &'static str,
        fails: bool,
    ) -> anyhow::Result<Self> {
        let numbers = args.waiting + u64::from(args.turns) * (args.deliveries + paced(args));
        let watch = Arc::new(Watch::new(numbers));
        let address = sinks.open(rule(watch.clone(), if fails { args.waiting } else { 0 }))?;
        let layout = Layout {
            name,
            routes: format!(
                "[destinations.sink]\ntype = \"http\"\nurl = \"http://{address}/\"\n\
                 allow = [\"127.0.0.0/8\"]\n\n\
                 [[routes]]\nsource = \"bench\"\ndestination = \"sink\"\n\
                 retry = {{ max_attempts = 10000, initial = \"{pause}m\", max = \"{pause}m\" }}\n\
                 breaker = {{ failures = 0 }}\n",
                pause = args.pause
            ),
            ..Layout::default()
        };
        let mut subject = Subject::with(&stage.bench, System::Creel, &layout)?;
        subject.start_worker()?;
        stage.send(&subject, 0..args.waiting, None)?;
        let tried = || Ok(watch.seen(0..args.waiting));
        stage
            .until("filling", args.waiting, tried)
            .map_err(|error| subject.explain(error))?;
        let settled = || {
            let routes = subject.routes()?;
            Ok(routes.iter().map(|r| r.waiting + r.delivered).sum())
        };
        stage.until("settling", args.waiting, settled)?;
        Ok(Self {
            waiting: subject.routes()?.iter().map(|route| route.waiting).sum(),
            memory: subject.memory()?.now,
            subject,
            watch,
            rates: Vec::new(),
            p50_ms: Vec::new(),
            p99_ms: Vec::new(),
        })
    }

    fn measure(&self, args: &Args, stage: &Stage, turn: u64) -> anyhow::Result<Turn> {
        let first = args.waiting + turn * (args.deliveries + paced(args));
        let next = first + args.deliveries;
        let began = Instant::now();
        stage.send(&self.subject, first..next, None)?;
        let seen = || Ok(self.watch.seen(first..next));
        stage
            .until("delivering", args.deliveries, seen)
            .map_err(|error| self.subject.explain(error))?;
        let took = self.watch.last(first..next) - began;
        let rate = per_second(args.deliveries, took);
        let end = next + paced(args);
        let acked: Acked = {
            let watch = self.watch.clone();
            Arc::new(move |number, sent| watch.sent(number, sent))
        };
        stage.send_over(1, &self.subject, next..end, Some(acked))?;
        stage.until("delivering", paced(args), || Ok(self.watch.seen(next..end)))?;
        let latencies = self.watch.latencies(next..end);
        ensure!(latencies.total() > 0, "nothing arrived");
        Ok(Turn { rate, latencies })
    }

    fn add(&mut self, turn: &Turn) {
        let ms = |share| turn.latencies.quantile(share).as_secs_f64() * 1e3;
        self.rates.push(turn.rate);
        self.p50_ms.push(ms(0.5));
        self.p99_ms.push(ms(0.99));
    }
}

/// How many are sent one at a time in a turn.
fn paced(args: &Args) -> u64 {
    (args.deliveries / 10).clamp(100, 2000)
}

fn rule(watch: Arc<Watch>, fails_below: u64) -> Rule {
    Arc::new(move |number| {
        watch.arrived(number);
        match number < fails_below || number % FAILS_ONE_IN == FAILS_ONE_IN - 1 {
            true => Answer::Failed,
            false => Answer::Taken,
        }
    })
}

fn report(args: &Args, none: &Side, many: &Side, findings: &mut Findings) -> anyhow::Result<()> {
    findings.note(
        "waiting",
        "waiting when filled",
        number(many.waiting),
        Unit::Count,
    );
    findings.at_least(number(args.waiting));
    let rates = (median(none.rates.clone()), median(many.rates.clone()));
    findings.note(
        "none_per_second",
        "delivered per second with none waiting",
        rates.0,
        Unit::PerSecond,
    );
    findings.note(
        "many_per_second",
        "with so many waiting",
        rates.1,
        Unit::PerSecond,
    );
    findings.note(
        "share",
        "of the speed is left",
        rates.1 / rates.0,
        Unit::Ratio,
    );
    findings.at_least(SHARE_MIN);
    let p50 = (median(none.p50_ms.clone()), median(many.p50_ms.clone()));
    findings.note(
        "none_p50_ms",
        "p50 from sending to arrival with none",
        p50.0,
        Unit::Millis,
    );
    findings.note("many_p50_ms", "with so many", p50.1, Unit::Millis);
    findings.note("latency", "times as long", p50.1 / p50.0, Unit::Ratio);
    findings.at_most(LATENCY_MAX);
    let p99 = (median(none.p99_ms.clone()), median(many.p99_ms.clone()));
    findings.note("none_p99_ms", "p99 with none", p99.0, Unit::Millis);
    findings.note("many_p99_ms", "with so many", p99.1, Unit::Millis);
    findings.note(
        "none_memory_bytes",
        "receiver's memory with none",
        number(none.memory),
        Unit::Bytes,
    );
    findings.note(
        "many_memory_bytes",
        "with so many",
        number(many.memory),
        Unit::Bytes,
    );
    let more = number(many.memory) - number(none.memory);
    findings.note("memory_more_bytes", "more", more, Unit::Bytes);
    findings.at_most(MEMORY_BYTES_MAX);
    let end = number(many.subject.memory()?.now) - number(none.subject.memory()?.now);
    findings.note("memory_more_end_bytes", "more in the end", end, Unit::Bytes);
    findings.at_most(MEMORY_BYTES_MAX);
    Ok(())
}

/// When each request was sent, if that was noted, and when it first arrived.
struct Watch {
    origin: Instant,
    /// Nanoseconds after `origin`; 0 while it did not.
    sent: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
}

impl Watch {
    fn new(numbers: u64) -> Self {
        let empty = || (0..numbers).map(|_| AtomicU64::new(0)).collect();
        Self {
            origin: Instant::now(),
            sent: empty(),
            arrived: empty(),
        }
    }

    fn stamp(&self, place: Option<&AtomicU64>, at: Instant) {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        if let Some(place) = place {
            // the first time counts
            let _ = place.compare_exchange(0, nanos.max(1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn sent(&self, number: u64, when: Instant) {
        self.stamp(at(&self.sent, number), when);
    }

    fn arrived(&self, number: u64) {
        self.stamp(at(&self.arrived, number), Instant::now());
    }

    fn seen(&self, numbers: std::ops::Range<u64>) -> u64 {
        let there = |number: &u64| {
            at(&self.arrived, *number).is_some_and(|place| place.load(Ordering::Relaxed) > 0)
        };
        numbers.filter(there).count() as u64
    }

    /// When the last of these first arrived.
    fn last(&self, numbers: std::ops::Range<u64>) -> Instant {
        let arrived = |number| at(&self.arrived, number).map(|place| place.load(Ordering::Relaxed));
        let nanos = numbers.filter_map(arrived).max().unwrap_or(0);
        self.origin + Duration::from_nanos(nanos)
    }

    /// From sending to arrival, of those that do not fail. Not from the acknowledgement: many
    /// arrive before their sender has read it.
    fn latencies(&self, numbers: std::ops::Range<u64>) -> Latencies {
        let mut latencies = Latencies::default();
        let healthy = numbers.filter(|number| number % FAILS_ONE_IN != FAILS_ONE_IN - 1);
        for number in healthy {
            let of = |all| at(all, number).map_or(0, |place| place.load(Ordering::Relaxed));
            let (sent, arrived) = (of(&self.sent), of(&self.arrived));
            latencies.add(Duration::from_nanos(arrived.saturating_sub(sent)));
        }
        latencies
    }
}

fn at(all: &[AtomicU64], number: u64) -> Option<&AtomicU64> {
    usize::try_from(number)
        .ok()
        .and_then(|index| all.get(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_healthy_deliveries_count_and_only_their_first_arrival() {
        let watch = Watch::new(200);
        for number in 98..=100 {
            watch.sent(number, Instant::now());
            watch.arrived(number);
        }
        std::thread::sleep(Duration::from_millis(20));
        watch.arrived(98);
        assert_eq!(watch.seen(0..200), 3);
        let latencies = watch.latencies(98..101);
        assert_eq!(latencies.total(), 2, "99 fails for ever");
        assert!(latencies.quantile(1.0) < Duration::from_millis(20));
    }
}

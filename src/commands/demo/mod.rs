//! `creel demo`: the whole of creel in half a minute, and the proof that nothing was lost.
//!
//! Everything is real: the processes `creel up` starts, requests signed as the providers would,
//! a receiver that is killed, destinations that fail. Nothing is taken on trust: the end compares
//! three independent lists, what senders were told, what the log holds, what destinations got.

mod archive;
mod event;
pub mod ledger;
mod report;
mod scene;
mod sender;
mod service;
pub mod sink;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use creel_common::log::{Actor, Find, Operate, PAGE_MAX, RouteStatus, Selection};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use self::event::Kind;
use self::ledger::{Closed, Ledger, Logged, Route, digest};
use self::scene::{SENDERS, Scene};
use self::sender::Senders;
use self::service::Service;
use self::sink::{Ailment, Sink};
use crate::failure::{Failure, said};
use crate::output::{DIM, Output, count, length, paint, progress};
use crate::stop::Signals;

/// Show all of creel at work in half a minute, with the books reconciled at the end
///
/// In a temporary directory: `creel up` with three workers; some thousand deliveries signed as
/// GitHub, Stripe, Twilio and Standard Webhooks would sign them, among them repeated, forged and
/// binary ones; a destination that fails for a while and one that rejects some; the receiver
/// killed with -9 in the middle; dead letters reprocessed. Ends with a table that compares what
/// senders were told, what the log holds and what destinations got, and with 0 only if it all
/// adds up.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many genuine deliveries
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    deliveries: u32,
    /// Leave everything running at the end, for a look, until ctrl-c
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    output: Output,
}

/// Longest wait for any one step.
const STEP_MAX: Duration = Duration::from_secs(60);
/// How long the failing destination goes on failing after the receiver is back.
const FAILS_ON: Duration = Duration::from_millis(1500);

/// Runs the demo.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new()
        .prefix("creel-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(play(args, dir.path()));
    if args.keep || ended.as_ref().is_err_and(|error| !error.is::<Failure>()) {
        let kept = dir.keep();
        say(args, &format!("everything is left in {}", kept.display()));
    }
    ended
}

/// A line of what goes on; to stderr, so that stdout is the report alone.
fn say(args: &Args, text: &str) {
    if !args.output.json {
        // whoever went away does not want to know
        let _ = writeln!(anstream::stderr(), "{text}");
    }
}

async fn play(args: &Args, dir: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let (flaky, flaky_at) = Sink::start("flaky", Ailment::Down).await?;
    let (picky, picky_at) = Sink::start("picky", Ailment::Picky).await?;
    let scene = Scene::set(dir, flaky_at, picky_at)?;
    let stage = Stage {
        flaky,
        picky,
        scene,
    };
    let mut service = Service::start(&stage.scene.config()).await?;
    say(
        args,
        &format!(
            "creel up with 3 workers, senders at http://{} {}",
            service.addresses.public,
            paint(DIM, &format!("({})", dir.display()))
        ),
    );
    let mut signals = Signals::listen()?;
    let played = tokio::select! {
        played = stage.play(args, &mut service, began) => Some(played),
        _ = signals.told() => None,
    };
    match played {
        Some(Ok(closed)) => {
            let took = began.elapsed();
            stage.finish(args, service, &closed, took, signals).await
        }
        Some(Err(error)) => {
            let log = service.end().await;
            Err(error.context(format!("creel's last lines:\n{log}\n")))
        }
        None => {
            say(args, "interrupted; stopping");
            service.end().await;
            Err(said())
        }
    }
}

struct Stage {
    flaky: Arc<Sink>,
    picky: Arc<Sink>,
    scene: Scene,
}

impl Stage {
    async fn play(
        &self,
        args: &Args,
        service: &mut Service,
        began: Instant,
    ) -> anyhow::Result<Closed> {
        let events = event::all(&self.scene, args.deliveries as usize)?;
        let total = events.len() as u64;
        let of = |kind| count(events.iter().filter(|event| event.kind == kind).count() as u64);
        say(
            args,
            &format!(
                "sending {} deliveries, {} repeated, {} forged; `flaky` answers 500, `picky` rejects \
             one in twenty",
                of(Kind::Genuine),
                of(Kind::Repeated),
                of(Kind::Forged)
            ),
        );
        let senders = Senders::new(service.addresses.public, events)?;
        let sending = tokio::spawn(senders.clone().run());
        let bar = progress(total, "sending");
        let watched = watch(senders.clone(), total, bar.clone());
        self.disturb(args, service, &senders, total, &bar).await?;
        sending.await.context("the senders panicked")??;
        watched.abort();
        bar.finish_and_clear();
        say(
            args,
            &format!(
                "all answered; {} were sent again because an answer did not come",
                count(senders.resent())
            ),
        );

        let dead = settle(&*service.log, "delivering", false).await?;
        let letters: u64 = dead.iter().map(|route| route.dead).sum();
        say(
            args,
            &format!(
                "{} dead letters; `picky` is mended, reprocessing them",
                count(letters)
            ),
        );
        self.picky.cure();
        let reprocessed = reprocess(&*service.log, &dead).await?;
        let last = settle(&*service.log, "delivering again", true).await?;
        say(
            args,
            &format!("settled after {}; comparing", length(began.elapsed())),
        );
        let ledger = self
            .ledger(service, &senders, &dead, &reprocessed, &last)
            .await?;
        Ok(ledger::close(&ledger))
    }

    /// Kills the receiver in the middle, and mends the failing destination some time after.
    async fn disturb(
        &self,
        args: &Args,
        service: &mut Service,
        senders: &Senders,
        total: u64,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let say = |text: &str| bar.suspend(|| say(args, text));
        // all connections busy, so that requests are under way when it dies
        senders.until_answered(total * 7 / 20).await;
        senders.hurry(true);
        senders.until_answered(total * 8 / 20).await;
        let killed = service.kill_receiver()?;
        senders.hurry(false);
        let at = Instant::now();
        say(&format!("receiver (process {killed}) killed with -9"));
        service.until_ready_again(killed).await?;
        say(&format!(
            "receiver ready again after {}",
            length(at.elapsed())
        ));
        tokio::time::sleep(FAILS_ON).await;
        say(&format!(
            "`flaky` works now, after {} errors",
            count(self.flaky.failed())
        ));
        self.flaky.cure();
        Ok(())
    }

    async fn ledger(
        &self,
        service: &Service,
        senders: &Senders,
        dead: &[RouteStatus],
        reprocessed: &[(String, u64)],
        last: &[RouteStatus],
    ) -> anyhow::Result<Ledger> {
        let (sent, forged) = senders.books();
        let log = read_log(&*service.log).await?;
        let mut archived = archive::read(&self.scene.archive())?;
        let mut routes = Vec::new();
        for sender in SENDERS {
            for (name, destination) in sender.routes().zip(sender.destinations) {
                let arrivals = match *destination {
                    "flaky" => self.flaky.taken(&name),
                    "picky" => self.picky.taken(&name),
                    _ => archived.remove(&name).unwrap_or_default(),
                };
                let picked = |e: &&Logged| e.source == sender.source && Sink::picks(&e.digest);
                let of = |all: &[RouteStatus], f: fn(&RouteStatus) -> u64| {
                    all.iter().find(|r| r.name == name).map_or(0, f)
                };
                routes.push(Route {
                    source: sender.source.to_owned(),
                    arrivals,
                    dead: of(dead, |route| route.dead),
                    dead_expected: match *destination {
                        "picky" => log.iter().filter(picked).count() as u64,
                        _ => 0,
                    },
                    reprocessed: reprocessed
                        .iter()
                        .filter(|(r, _)| *r == name)
                        .map(|(_, n)| n)
                        .sum(),
                    undelivered: of(last, |r| r.pending + r.open + r.waiting + r.dead),
                    name,
                });
            }
        }
        ensure!(
            archived.is_empty(),
            "the archive has lines of unknown routes"
        );
        Ok(Ledger {
            sent,
            forged,
            log,
            routes,
        })
    }

    async fn finish(
        &self,
        args: &Args,
        mut service: Service,
        closed: &Closed,
        took: Duration,
        mut signals: Signals,
    ) -> anyhow::Result<()> {
        if args.keep {
            args.output
                .print(closed, |closed| report::text(closed, took))?;
            say(args, &service.invitation(&self.scene));
            signals.told().await;
        }
        let stopped = service.stop().await;
        if !args.keep {
            args.output
                .print(closed, |closed| report::text(closed, took))?;
        }
        stopped?;
        if closed.adds_up { Ok(()) } else { Err(said()) }
    }
}

fn watch(senders: Arc<Senders>, total: u64, bar: ProgressBar) -> JoinHandle<()> {
    tokio::spawn(async move {
        while senders.answered() < total {
            bar.set_position(senders.answered());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

/// Waits until nothing is pending, open or waiting (with `all`: or dead) on any route.
async fn settle(
    log: &dyn Operate,
    what: &'static str,
    all: bool,
) -> anyhow::Result<Vec<RouteStatus>> {
    let began = Instant::now();
    let mut bar = None;
    loop {
        let routes = log.routes().await?;
        let left: u64 = routes
            .iter()
            .map(|r| r.pending + r.open + r.waiting + if all { r.dead } else { 0 })
            .sum();
        let bar = bar.get_or_insert_with(|| progress(left, what));
        bar.set_position(bar.length().unwrap_or(left).saturating_sub(left));
        if left == 0 {
            bar.finish_and_clear();
            return Ok(routes);
        }
        if began.elapsed() > STEP_MAX {
            bar.finish_and_clear();
            bail!("{left} are still undelivered after {}", length(STEP_MAX));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn reprocess(log: &dyn Operate, dead: &[RouteStatus]) -> anyhow::Result<Vec<(String, u64)>> {
    let mut done = Vec::new();
    for route in dead.iter().filter(|route| route.dead > 0) {
        let actor = Actor {
            who: "demo".into(),
            why: Some("the destination was mended".into()),
        };
        let mut total = 0;
        loop {
            let which = Selection {
                route: Some(route.name.clone()),
                ..Selection::default()
            };
            let changed = log.reprocess(which, actor.clone()).await?;
            total += changed.count;
            if !changed.more || changed.count == 0 {
                break;
            }
        }
        done.push((route.name.clone(), total));
    }
    Ok(done)
}

/// Everything in a log, as an operator can read it.
///
/// # Errors
/// When the receiver does not answer.
pub async fn read_log(log: &dyn Operate) -> anyhow::Result<Vec<Logged>> {
    let mut all = Vec::new();
    let mut from = None;
    loop {
        let page = log
            .find(Find {
                from,
                limit: PAGE_MAX,
                bodies: true,
                ..Find::default()
            })
            .await?;
        all.extend(page.items.into_iter().map(|found| Logged {
            id: found.id.to_string(),
            digest: digest(&found.delivery.body),
            source: found.delivery.envelope.source,
            event: found.delivery.head.event_id,
        }));
        from = page.next;
        if from.is_none() {
            return Ok(all);
        }
    }
}

/// Where the demo's own executable is.
fn executable() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this executable")
}

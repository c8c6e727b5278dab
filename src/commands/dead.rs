//! `creel dead`: what failed, why, and what to do with it.

use std::time::Duration;

use anyhow::bail;
use creel_common::ids::DeliveryId;
use creel_common::log::{
    Actor, CHANGE_MAX, Changed, DeadLetter, Find, Operate, OperateError, PAGE_MAX, Selection,
};
use creel_common::time::Timestamp;
use serde::Serialize;

use crate::ask::confirm;
use crate::commands::act::{Why, Yes};
use crate::commands::deliveries::{Filter, now};
use crate::commands::{block_on, connect::Connect};
use crate::failure::usage;
use crate::output::{BOLD, Output, Sheet, count, paint, plain, progress, relative, short};
use crate::settings::Global;

/// List, show, reprocess or discard dead letters
///
/// A dead letter is a delivery on a route that will not be tried again unless a person says so:
/// the destination rejected it, or its attempts were used up. It is kept until it is reprocessed
/// or discarded, whatever its age.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Show(ShowArgs),
    /// Give dead letters fresh attempts
    ///
    /// Chosen by id or by filter; everything that is given must hold. Says how many that are and
    /// asks first. Recorded durably: who, when, why, how many. It works in steps and may be
    /// interrupted and repeated at any time.
    Reprocess(ChangeArgs),
    /// Drop dead letters for good
    ///
    /// Chosen by id or by filter; everything that is given must hold. Says how many that are and
    /// asks first. Recorded durably: who, when, why, how many. The deliveries themselves stay in
    /// the log until its retention is over.
    Discard(ChangeArgs),
}

/// List dead letters with the reason each one died
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Begin with this offset (the number after the dash of an id)
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Show the dead letters of one delivery: on which routes, after which attempts
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The delivery's id
    id: DeliveryId,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

// Which dead letters. No doc comment: it would be shown instead of the verb's.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// The dead letters of these deliveries
    #[arg(value_name = "ID")]
    ids: Vec<DeliveryId>,
    #[command(flatten)]
    filter: Filter,
    /// Whose last status was this
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// Whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Every dead letter there is
    #[arg(long)]
    all: bool,
    /// Only say how many that would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// What is done to dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Fresh attempts.
    Reprocess,
    /// Dropped.
    Discard,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Reprocess => "reprocess",
            Self::Discard => "discard",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Reprocess => "reprocessed",
            Self::Discard => "discarded",
        }
    }

    /// One call to the log.
    pub async fn call(
        self,
        log: &dyn Operate,
        which: Selection,
        actor: Actor,
    ) -> Result<Changed, OperateError> {
        match self {
            Self::Reprocess => log.reprocess(which, actor).await,
            Self::Discard => log.discard(which, actor).await,
        }
    }
}

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(global, args),
        Command::Show(args) => show(global, args),
        Command::Reprocess(args) => change(global, args, Verb::Reprocess),
        Command::Discard(args) => change(global, args, Verb::Discard),
    }
}

#[derive(Debug, Serialize)]
struct ListView {
    items: Vec<DeadLetter>,
    next: Option<u64>,
}

fn list(global: &Global, args: &ListArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let now = now();
    let find = Find {
        from: args.from,
        limit: args.limit,
        ..args.filter.find(now)
    };
    let page = block_on(async { Ok(log.dead(find).await?) })?;
    let view = ListView {
        items: page.items,
        next: page.next,
    };
    args.output.print(&view, |view| {
        if view.items.is_empty() {
            return "no dead letters".into();
        }
        match view.next {
            Some(next) => format!("{}\n\nmore: --from {next}", table(&view.items, now)),
            None => table(&view.items, now),
        }
    })
}

fn table(letters: &[DeadLetter], now: Timestamp) -> String {
    let mut sheet = Sheet::new(&["id!", "route", "event", "died", "tries>", "reason"]);
    for letter in letters {
        sheet.row([
            letter.id.to_string(),
            short(&letter.route, 32),
            short(letter.event_type.as_deref().unwrap_or("-"), 32),
            relative(letter.died_at, now),
            letter.attempts.to_string(),
            short(&letter.reason, 80),
        ]);
    }
    sheet.text()
}

fn show(global: &Global, args: &ShowArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let letters = block_on(letters_of(&log, args.id))?;
    if letters.is_empty() {
        bail!("delivery {} is dead on no route", args.id);
    }
    args.output.print(&letters, |letters| {
        letters
            .iter()
            .map(letter_text)
            .collect::<Vec<_>>()
            .join("\n")
    })
}

/// All dead letters of one delivery: as many as routes it died on.
async fn letters_of(log: &dyn Operate, id: DeliveryId) -> anyhow::Result<Vec<DeadLetter>> {
    let find = Find {
        from: Some(id.offset),
        limit: PAGE_MAX,
        ..Find::default()
    };
    let mut letters = log.dead(find).await?.items;
    letters.retain(|letter| letter.id == id);
    Ok(letters)
}

fn letter_text(letter: &DeadLetter) -> String {
    let mut text = format!(
        "{} on {}\n  source    {}\n  event     {}\n  received  {}\n  died      {} after {} {}\n",
        paint(BOLD, &letter.id.to_string()),
        paint(BOLD, &plain(&letter.route)),
        plain(&letter.source),
        plain(letter.event_type.as_deref().unwrap_or("-")),
        letter.received_at,
        letter.died_at,
        letter.attempts,
        if letter.attempts == 1 { "try" } else { "tries" },
    );
    if let Some(status) = letter.status {
        text += &format!("  status    {status}\n");
    }
    text += &format!("  reason    {}\n", plain(&letter.reason));
    text += &format!(
        "  headers, body, attempts: creel deliveries show {}\n",
        letter.id
    );
    text
}

fn change(global: &Global, args: &ChangeArgs, verb: Verb) -> anyhow::Result<()> {
    let mut which = selection(args, now())?;
    // what dies again while this goes on is not taken a second time
    which.until = which.until.or(Some(now().plus(Duration::from_millis(1))));
    let log = args.connect.open(global)?;
    let total = block_on(matching(&log, &which, verb))?;
    if args.dry_run || total == 0 {
        return finished(args, total, verb, true);
    }
    let question = format!("{} {} dead letters?", capital(verb.word()), count(total));
    if !confirm(&question, args.yes.yes)? {
        bail!("nothing was changed");
    }
    let done = block_on(all(&log, &which, verb, &args.why.actor(), total))?;
    finished(args, done, verb, false)
}

fn selection(args: &ChangeArgs, now: Timestamp) -> anyhow::Result<Selection> {
    let filter = args.filter.find(now);
    let which = Selection {
        ids: args.ids.clone(),
        route: filter.route,
        source: filter.source,
        event: filter.event,
        since: filter.since,
        until: filter.until,
        status: args.status,
        reason: args.reason.clone(),
        all: args.all,
        dry_run: false,
        limit: CHANGE_MAX,
    };
    if which
        == (Selection {
            limit: CHANGE_MAX,
            ..Selection::default()
        })
    {
        return Err(usage(
            "say which dead letters: ids, a filter such as --route or --reason, or --all",
        ));
    }
    Ok(which)
}

/// How many dead letters match.
async fn matching(log: &dyn Operate, which: &Selection, verb: Verb) -> anyhow::Result<u64> {
    let dry = Selection {
        dry_run: true,
        limit: 0,
        ..which.clone()
    };
    Ok(verb.call(log, dry, Actor::default()).await?.count)
}

/// Changes all that match, step by step.
async fn all(
    log: &dyn Operate,
    which: &Selection,
    verb: Verb,
    actor: &Actor,
    total: u64,
) -> anyhow::Result<u64> {
    let bar = progress(total, verb.past());
    let mut done = 0;
    while done < total {
        let left = u32::try_from(total - done).unwrap_or(u32::MAX);
        let step = Selection {
            limit: left.min(CHANGE_MAX),
            ..which.clone()
        };
        let changed = verb.call(log, step, actor.clone()).await?;
        done += changed.count;
        bar.set_position(done);
        if !changed.more || changed.count == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(done)
}

#[derive(Debug, Serialize)]
struct Done {
    count: u64,
    changed: bool,
}

fn finished(args: &ChangeArgs, count: u64, verb: Verb, dry: bool) -> anyhow::Result<()> {
    let done = Done {
        count,
        changed: !dry && count > 0,
    };
    args.output.print(&done, |done| {
        let number = crate::output::count(done.count);
        match (done.changed, done.count) {
            (_, 0) => "no dead letter matches".into(),
            (true, _) => format!("{number} {}", verb.past()),
            (false, _) => format!("{number} would be {}", verb.past()),
        }
    })
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

//! `creel deliveries`: what came in, and where it stands.

use std::io::Write;

use creel_common::delivery::Delivery;
use creel_common::ids::DeliveryId;
use creel_common::log::wire::{AttemptView, FoundPage, FoundView, HeaderView, StandingView};
use creel_common::log::{Find, Operate, PAGE_MAX, Standing};
use creel_common::time::{Clock, SystemClock, Timestamp};
use serde::Serialize;

use crate::commands::{block_on, connect::Connect};
use crate::output::{BOLD, Output, Sheet, Tone, bytes, paint, plain, relative, short, toned};
use crate::settings::Global;
use crate::when::{self, When};

/// List deliveries, or look at one
///
/// Every accepted webhook is kept for the retention time, delivered or not.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Show(ShowArgs),
}

/// List deliveries, newest first
///
/// Everything that is given must hold. With --json, one object with the page and where the next
/// one begins.
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
    /// Oldest first
    #[arg(long)]
    oldest: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// What deliveries and dead letters are chosen by.
#[derive(Debug, Clone, clap::Args)]
pub struct Filter {
    /// Only from this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only this event type
    #[arg(long, value_name = "TYPE")]
    pub event: Option<String>,
    /// Only what has to do with this route
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// At or after: a time (2026-11-23T17:00:00Z) or an age (90s, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub since: Option<When>,
    /// Before: a time or an age
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    pub until: Option<When>,
}

impl Filter {
    /// The filter as a query, as seen from `now`.
    pub fn find(&self, now: Timestamp) -> Find {
        Find {
            source: self.source.clone(),
            event: self.event.clone(),
            route: self.route.clone(),
            since: self.since.map(|when| when.from(now)),
            until: self.until.map(|when| when.from(now)),
            ..Find::default()
        }
    }
}

/// Show one delivery: headers, where it stands, every attempt
///
/// The body is shown when it is text; --body writes it to stdout byte for byte, and nothing else.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The delivery's id, as the sender got it
    id: DeliveryId,
    /// Write only the body, byte for byte
    #[arg(long, conflicts_with = "json")]
    body: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Now, on the wall.
pub fn now() -> Timestamp {
    SystemClock::default().wall()
}

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(global, args),
        Command::Show(args) => show(global, args),
    }
}

fn list(global: &Global, args: &ListArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let now = now();
    let find = Find {
        from: args.from,
        limit: args.limit,
        newest: !args.oldest,
        ..args.filter.find(now)
    };
    let page = block_on(async { Ok(log.find(find).await?) })?;
    let view = FoundPage {
        items: page
            .items
            .iter()
            .map(|f| FoundView::new(f, false))
            .collect(),
        next: page.next,
    };
    args.output.print(&view, |view| list_text(view, now))
}

fn list_text(view: &FoundPage, now: Timestamp) -> String {
    if view.items.is_empty() {
        return "no deliveries".into();
    }
    let mut sheet = Sheet::new(&["id!", "source", "event", "received", "size>", "standing"]);
    for item in &view.items {
        let (standing, tone) = standings(&item.standings);
        sheet.row([
            toned(item.id, Tone::Plain),
            toned(short(&item.delivery.source, 24), Tone::Plain),
            toned(
                short(item.delivery.event_type.as_deref().unwrap_or("-"), 32),
                Tone::Plain,
            ),
            toned(relative(item.delivery.received_at, now), Tone::Plain),
            toned(bytes(item.body_bytes), Tone::Plain),
            toned(standing, tone),
        ]);
    }
    match view.next {
        Some(next) => format!("{}\n\nmore: --from {next}", sheet.text()),
        None => sheet.text(),
    }
}

/// Where a delivery stands on all its routes, in a few words.
pub fn standings(all: &[StandingView]) -> (String, Tone) {
    if all.is_empty() {
        return ("unrouted".into(), Tone::Warn);
    }
    let mut words: Vec<String> = Vec::new();
    let mut worst = Tone::Good;
    for word in ["dead", "waiting", "open", "pending", "settled"] {
        let routes: Vec<&StandingView> = all.iter().filter(|s| s.standing.word() == word).collect();
        match (routes.as_slice(), word) {
            ([], _) => continue,
            (_, "settled") if routes.len() == all.len() => words.push("settled".into()),
            ([one], _) => words.push(format!("{word} on {}", one.route)),
            (many, _) => words.push(format!("{word} on {}", many.len())),
        }
        worst = match (word, worst) {
            ("dead", _) => Tone::Bad,
            ("waiting", Tone::Good) => Tone::Warn,
            ("open" | "pending", Tone::Good) => Tone::Plain,
            (_, tone) => tone,
        };
    }
    (words.join(", "), worst)
}

fn show(global: &Global, args: &ShowArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let (found, attempts) = block_on(async {
        let found = log.show(args.id).await?;
        let attempts = if args.body {
            Vec::new()
        } else {
            log.attempts(args.id).await?
        };
        Ok((found, attempts))
    })?;
    if args.body {
        std::io::stdout().lock().write_all(&found.delivery.body)?;
        return Ok(());
    }
    let view = ShowView {
        found: FoundView::new(&found, true),
        attempts: attempts.iter().map(AttemptView::from).collect(),
    };
    args.output
        .print(&view, |view| show_text(view, &found.delivery, now()))
}

#[derive(Debug, Serialize)]
struct ShowView {
    #[serde(flatten)]
    found: FoundView,
    attempts: Vec<AttemptView>,
}

fn show_text(view: &ShowView, delivery: &Delivery, now: Timestamp) -> String {
    let head = &view.found.delivery;
    let mut text = format!(
        "{}\n  source    {}\n  event     {}\n  received  {} ({})\n  request   {} {}\n",
        paint(BOLD, &view.found.id.to_string()),
        plain(&head.source),
        plain(head.event_type.as_deref().unwrap_or("-")),
        head.received_at,
        relative(head.received_at, now),
        head.method,
        plain(&head.target),
    );
    if let Some(remote) = &head.remote {
        text += &format!("  from      {remote}\n");
    }
    if let Some(id) = &head.event_id {
        text += &format!("  event id  {}\n", plain(id));
    }
    text += &format!("\n{}\n", paint(BOLD, "routes"));
    text += &indented(&routes_text(&view.found.standings, now));
    text += &format!("\n{}\n", paint(BOLD, "attempts"));
    text += &indented(&attempts_text(&view.attempts));
    text += &format!("\n{}\n", paint(BOLD, "headers"));
    for header in &head.headers {
        text += &header_text(header);
    }
    text += &format!(
        "\n{} {}\n",
        paint(BOLD, "body"),
        bytes(view.found.body_bytes)
    );
    text + &body_text(&delivery.body)
}

/// A header line.
pub fn header_text(header: &HeaderView) -> String {
    match (&header.value, &header.value_base64) {
        (Some(value), _) => format!("  {}: {}\n", header.name, plain(value)),
        (None, Some(coded)) => format!("  {}: (base64) {coded}\n", header.name),
        (None, None) => format!("  {}:\n", header.name),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn routes_text(standings: &[StandingView], now: Timestamp) -> String {
    if standings.is_empty() {
        return "no route takes this source".into();
    }
    let mut sheet = Sheet::new(&["route", "standing", "tries>", "note"]);
    for StandingView { route, standing } in standings {
        let (tone, tries, note) = match standing {
            Standing::Pending => (Tone::Plain, String::new(), String::new()),
            Standing::Open { attempt } => (Tone::Plain, attempt.to_string(), String::new()),
            Standing::Waiting { due, attempts } => {
                (Tone::Warn, attempts.to_string(), relative(*due, now))
            }
            Standing::Settled => (Tone::Good, String::new(), String::new()),
            Standing::Dead {
                attempts, reason, ..
            } => (Tone::Bad, attempts.to_string(), short(reason, 120)),
        };
        sheet.row([
            toned(route, Tone::Plain),
            toned(standing.word(), tone),
            toned(tries, Tone::Plain),
            toned(note, Tone::Plain),
        ]);
    }
    sheet.text()
}

fn attempts_text(attempts: &[AttemptView]) -> String {
    if attempts.is_empty() {
        return "none kept".into();
    }
    let mut sheet = Sheet::new(&["route", "#>", "at!", "took>", "outcome", "status", "error"]);
    for attempt in attempts {
        sheet.row([
            attempt.route.clone(),
            attempt.number.to_string(),
            attempt.report.started_at.to_string(),
            format!("{} ms", attempt.report.duration_ms),
            attempt.verdict.word().to_owned(),
            attempt
                .report
                .status
                .map_or(String::new(), |s| s.to_string()),
            short(attempt.report.error.as_deref().unwrap_or(""), 80),
        ]);
    }
    sheet.text()
}

/// Bytes of a body that are shown on a terminal.
const BODY_SHOWN_BYTES: usize = 16 << 10;

/// A body, where it is text.
pub fn body_text(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return "  not text; --body writes it out\n".into();
    };
    let shown: String = text.chars().take(BODY_SHOWN_BYTES).collect();
    let mut out: String = shown
        .lines()
        .map(|line| format!("  {}\n", plain(line)))
        .collect();
    if shown.len() < text.len() {
        out += "  … cut here; --body writes all of it\n";
    }
    out
}

/// The word for a standing.
pub trait Word {
    /// As on screen and in the API.
    fn word(&self) -> &'static str;
}

impl Word for Standing {
    fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open { .. } => "open",
            Self::Waiting { .. } => "waiting",
            Self::Settled => "settled",
            Self::Dead { .. } => "dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(route: &str, standing: Standing) -> StandingView {
        StandingView {
            route: route.into(),
            standing,
        }
    }

    fn dead() -> Standing {
        Standing::Dead {
            attempts: 3,
            died_at: Timestamp(0),
            reason: "no".into(),
        }
    }

    #[test]
    fn the_worst_standing_comes_first_and_gives_the_colour() {
        let all = [view("a", Standing::Settled), view("b", dead())];
        assert_eq!(
            standings(&all),
            ("dead on b, settled on a".into(), Tone::Bad)
        );
        let all = [view("a", Standing::Settled), view("b", Standing::Settled)];
        assert_eq!(standings(&all), ("settled".into(), Tone::Good));
        assert_eq!(standings(&[]), ("unrouted".into(), Tone::Warn));
    }
}

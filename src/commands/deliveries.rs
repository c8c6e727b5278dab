//! `creel deliveries`: what came in, and where it stands.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creel_common::attempt::Attempt;
use creel_common::delivery::{Delivery, Header};
use creel_common::ids::DeliveryId;
use creel_common::log::{Find, Found, PAGE_MAX, Standing};
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

#[derive(Debug, Serialize)]
struct ListView {
    items: Vec<DeliveryView>,
    next: Option<u64>,
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
    let view = ListView {
        items: page.items.iter().map(|f| DeliveryView::of(f, false)).collect(),
        next: page.next,
    };
    args.output.print(&view, |view| list_text(view, now))
}

fn list_text(view: &ListView, now: Timestamp) -> String {
    if view.items.is_empty() {
        return "no deliveries".into();
    }
    let mut sheet = Sheet::new(&["id", "source", "event", "received", "size>", "standing"]);
    for item in &view.items {
        let (standing, tone) = standings(&item.standings);
        sheet.row([
            toned(&item.id, Tone::Plain),
            toned(short(&item.source, 24), Tone::Plain),
            toned(short(item.event_type.as_deref().unwrap_or("-"), 32), Tone::Plain),
            toned(relative(item.received_at, now), Tone::Plain),
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
        delivery: DeliveryView::of(&found, true),
        attempts,
    };
    args.output
        .print(&view, |view| show_text(view, &found.delivery, now()))
}

#[derive(Debug, Serialize)]
struct ShowView {
    #[serde(flatten)]
    delivery: DeliveryView,
    attempts: Vec<Attempt>,
}

fn show_text(view: &ShowView, delivery: &Delivery, now: Timestamp) -> String {
    let head = &view.delivery;
    let mut text = format!(
        "{}\n  source    {}\n  event     {}\n  received  {} ({})\n  request   {} {}\n",
        paint(BOLD, &head.id),
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
    text += &indented(&routes_text(&head.standings, now));
    text += &format!("\n{}\n", paint(BOLD, "attempts"));
    text += &indented(&attempts_text(&view.attempts));
    text += &format!("\n{}\n", paint(BOLD, "headers"));
    for (name, value) in &head.headers {
        text += &format!("  {name}: {}\n", plain(value));
    }
    text += &format!("\n{} {}\n", paint(BOLD, "body"), bytes(head.body_bytes));
    text + &body_text(delivery)
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
            Standing::Dead { attempts, reason, .. } => {
                (Tone::Bad, attempts.to_string(), short(reason, 120))
            }
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

fn attempts_text(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "none kept".into();
    }
    let mut sheet = Sheet::new(&["route", "#>", "at", "took>", "outcome", "status", "error"]);
    for attempt in attempts {
        sheet.row([
            attempt.route.clone(),
            attempt.number.to_string(),
            attempt.report.started_at.to_string(),
            format!("{} ms", attempt.report.duration_ms),
            attempt.verdict.word().to_owned(),
            attempt.report.status.map_or(String::new(), |s| s.to_string()),
            short(attempt.report.error.as_deref().unwrap_or(""), 80),
        ]);
    }
    sheet.text()
}

/// Bytes of a body that are shown on a terminal.
const BODY_SHOWN_BYTES: usize = 16 << 10;

fn body_text(delivery: &Delivery) -> String {
    let Ok(text) = std::str::from_utf8(&delivery.body) else {
        return "  not text; --body writes it out\n".into();
    };
    let shown: String = text.chars().take(BODY_SHOWN_BYTES).collect();
    let mut out: String = shown.lines().map(|line| format!("  {}\n", plain(line))).collect();
    if shown.len() < text.len() {
        out += "  … cut here; --body writes all of it\n";
    }
    out
}

/// A delivery as JSON.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its event type.
    pub event_type: Option<String>,
    /// Milliseconds since 1970.
    pub received_at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header lines in order.
    pub headers: Vec<(String, String)>,
    /// The sender's address.
    pub remote: Option<String>,
    /// The sender's name for the event.
    pub event_id: Option<String>,
    /// Size of the body.
    pub body_bytes: u64,
    /// The body, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Where it stands, per route.
    pub standings: Vec<StandingView>,
}

/// Where a delivery stands on one route, as JSON.
#[derive(Debug, Serialize)]
pub struct StandingView {
    /// The route.
    pub route: String,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
}

impl DeliveryView {
    /// The view of what was found.
    pub fn of(found: &Found, body: bool) -> Self {
        let Delivery { envelope, head, .. } = &found.delivery;
        Self {
            id: found.id.to_string(),
            source: envelope.source.clone(),
            event_type: envelope.event_type.clone(),
            received_at: envelope.received_at,
            method: head.method.clone(),
            target: head.target.clone(),
            headers: headers(&head.headers),
            remote: head.remote.map(|ip| ip.to_string()),
            event_id: head.event_id.clone(),
            body_bytes: found.body_bytes,
            body_base64: body.then(|| STANDARD.encode(&found.delivery.body)),
            standings: found
                .standings
                .iter()
                .map(|(route, standing)| StandingView {
                    route: route.clone(),
                    standing: standing.clone(),
                })
                .collect(),
        }
    }
}

/// Header lines as text. A value that is not UTF-8 is read as Latin-1, which loses no byte.
pub fn headers(lines: &[Header]) -> Vec<(String, String)> {
    lines
        .iter()
        .map(|line| {
            let value = match std::str::from_utf8(&line.value) {
                Ok(text) => text.to_owned(),
                Err(_) => line.value.iter().map(|&byte| char::from(byte)).collect(),
            };
            (line.name.clone(), value)
        })
        .collect()
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
        assert_eq!(standings(&all), ("dead on b, settled on a".into(), Tone::Bad));
        let all = [view("a", Standing::Settled), view("b", Standing::Settled)];
        assert_eq!(standings(&all), ("settled".into(), Tone::Good));
        assert_eq!(standings(&[]), ("unrouted".into(), Tone::Warn));
    }

    #[test]
    fn a_header_value_that_is_no_text_loses_no_byte() {
        let lines = [Header::new("a", b"\xff\x01".to_vec()), Header::new("b", "ü")];
        let shown = headers(&lines);
        assert_eq!(shown[0].1.chars().map(|c| c as u32).collect::<Vec<_>>(), [0xff, 1]);
        assert_eq!(shown[1].1, "ü");
    }
}

//! `creel quarantine list` and `show`.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creel_common::ids::QuarantineId;
use creel_common::log::PAGE_MAX;
use creel_common::log::wire::{Chosen, QuarantineFind, QuarantinePage, QuarantineView};
use creel_common::time::Timestamp;

use super::Filter;
use crate::commands::deliveries::{body_text, header_text, now};
use crate::commands::{block_on, connect::Connect};
use crate::output::{BOLD, Output, Sheet, Tone, bytes, paint, plain, relative, short, toned};
use crate::settings::Global;

/// List requests that failed verification, in order of arrival
///
/// With the reason of the refusal, and what it looks like with the configuration of now: a genuine
/// one is taken in by `reverify`. `show` says what to do about the others.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only sent to this source
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Begin with this request
    #[arg(long, value_name = "ID")]
    from: Option<QuarantineId>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    limit: u32,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Show one request: why it was refused, what to do about it, headers, body
///
/// Credentials are shown as digests. --body writes the body to stdout byte for byte, and nothing
/// else.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The request's id
    id: QuarantineId,
    /// Write only the body, byte for byte
    #[arg(long, conflicts_with = "json")]
    body: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Runs `list`.
pub fn list(global: &Global, args: &ListArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let now = now();
    let find = QuarantineFind {
        which: Chosen {
            source: args.source.clone(),
            ..args.filter.chosen(now)
        },
        from: args.from,
        limit: args.limit,
    };
    let page = block_on(async { Ok(log.quarantine(&find).await?) })?;
    args.output.print(&page, |page| list_text(page, now))
}

fn list_text(page: &QuarantinePage, now: Timestamp) -> String {
    if page.items.is_empty() {
        return "nothing in quarantine".into();
    }
    let columns = [
        "id!", "source", "received", "from", "size>", "reason", "now",
    ];
    let mut sheet = Sheet::new(&columns);
    for item in &page.items {
        let diagnosis = item.diagnosis.as_deref().unwrap_or("-");
        let tone = match diagnosis {
            "genuine" => Tone::Good,
            "wrong_secret" | "other" | "-" => Tone::Plain,
            _ => Tone::Warn,
        };
        sheet.row([
            toned(item.id, Tone::Plain),
            toned(short(&item.source, 24), Tone::Plain),
            toned(relative(item.received_at, now), Tone::Plain),
            toned(item.remote, Tone::Plain),
            toned(bytes(item.body_bytes), Tone::Plain),
            toned(&item.reason, Tone::Plain),
            toned(diagnosis, tone),
        ]);
    }
    match page.next {
        Some(next) => format!("{}\n\nmore: --from {next}", sheet.text()),
        None => sheet.text(),
    }
}

/// Runs `show`.
pub fn show(global: &Global, args: &ShowArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let view = block_on(async { Ok(log.quarantined(args.id).await?) })?;
    let body = STANDARD.decode(view.body_base64.as_deref().unwrap_or_default())?;
    if args.body {
        std::io::stdout().lock().write_all(&body)?;
        return Ok(());
    }
    args.output
        .print(&view, |view| show_text(view, &body, now()))
}

fn show_text(view: &QuarantineView, body: &[u8], now: Timestamp) -> String {
    let mut text = format!(
        "{}\n  source    {}\n  received  {} ({})\n  request   {} {}\n  from      {}",
        paint(BOLD, &view.id.to_string()),
        plain(&view.source),
        view.received_at,
        relative(view.received_at, now),
        plain(&view.method),
        plain(&view.target),
        view.remote,
    );
    if view.peer != view.remote {
        text += &format!(" (over {})", view.peer);
    }
    text += &format!("\n  refused   {}\n", plain(&view.reason));
    if let (Some(word), Some(hint)) = (&view.diagnosis, &view.hint) {
        text += &format!("  now       {}: {}\n", plain(word), plain(hint));
    }
    text += &format!("\n{}\n", paint(BOLD, "headers"));
    for header in &view.headers {
        text += &header_text(header);
    }
    text += &format!("\n{} {}\n", paint(BOLD, "body"), bytes(view.body_bytes));
    text + &body_text(body)
}

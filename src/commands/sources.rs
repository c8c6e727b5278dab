//! `creel sources`: where to send to, and which secrets are still used.

use creel_common::log::wire::{SecretState, SecretView, SourceView};
use creel_common::time::Timestamp;

use crate::commands::deliveries::now;
use crate::commands::{block_on, connect::Connect};
use crate::failure::usage;
use crate::output::{Output, Sheet, Tone, count, plain, relative, toned};
use crate::settings::Global;

/// List sources with their secrets: which are valid, how often each was used, and when last
///
/// Secrets are shown by their ids, never themselves. One that was not used for as long as its sender
/// is silent at most can be taken out of the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Show(ShowArgs),
    #[cfg(feature = "receiver")]
    Doc(crate::commands::source_doc::DocArgs),
}

/// List all sources, a line for each secret
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Show one source: the URL to enter at the sender, its limits, its secrets
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The source
    #[arg(value_name = "SOURCE")]
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => {
            let sources = sources(global, &args.connect)?;
            args.output.print(&sources, |all| list(all, now()))
        }
        Command::Show(args) => {
            let sources = sources(global, &args.connect)?;
            let found = sources.iter().find(|source| source.name == args.name);
            let source = found.ok_or_else(|| no_source(&args.name, &sources))?;
            args.output.print(source, |source| show(source, now()))
        }
        #[cfg(feature = "receiver")]
        Command::Doc(args) => crate::commands::source_doc::doc(global, args),
    }
}

fn sources(global: &Global, connect: &Connect) -> anyhow::Result<Vec<SourceView>> {
    let log = connect.open(global)?;
    block_on(async { Ok(log.sources().await?) })
}

fn no_source(name: &str, sources: &[SourceView]) -> anyhow::Error {
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    usage(format!(
        "no source `{name}`; there are {}",
        names.join(", ")
    ))
}

fn list(sources: &[SourceView], now: Timestamp) -> String {
    if sources.is_empty() {
        return "no sources".into();
    }
    let mut sheet = Sheet::new(&[
        "source",
        "provider",
        "path!",
        "secret",
        "state",
        "used>",
        "last used",
    ]);
    for source in sources {
        let whose = [&source.name, &source.provider, &source.path];
        if source.keys.is_empty() {
            let cells = whose.into_iter().map(|text| toned(text, Tone::Plain));
            let nothing = ["-", "", "", ""].map(|text| toned(text, Tone::Plain));
            sheet.row(cells.chain(nothing));
        }
        for (nth, key) in source.keys.iter().enumerate() {
            // a source is named once
            let cells = whose
                .into_iter()
                .map(|text| toned(if nth == 0 { text } else { "" }, Tone::Plain));
            sheet.row(cells.chain(cells_of(key, now)));
        }
    }
    sheet.text()
}

fn cells_of(key: &SecretView, now: Timestamp) -> [comfy_table::Cell; 4] {
    let (state, tone) = state(key);
    [
        toned(plain(&key.id), Tone::Plain),
        toned(state, tone),
        toned(count(key.used), Tone::Plain),
        toned(last_used(key, now), Tone::Plain),
    ]
}

fn state(key: &SecretView) -> (String, Tone) {
    match (key.state, key.not_before, key.not_after) {
        (SecretState::NotYet, Some(from), _) => (format!("not before {from}"), Tone::Warn),
        (SecretState::Expired, _, Some(until)) => (format!("expired {until}"), Tone::Warn),
        (_, _, Some(until)) => (format!("valid until {until}"), Tone::Good),
        _ => ("valid".into(), Tone::Good),
    }
}

fn last_used(key: &SecretView, now: Timestamp) -> String {
    match key.last_used {
        Some(last) => relative(last, now),
        None => format!("not used since {}", key.counted_since),
    }
}

fn show(source: &SourceView, now: Timestamp) -> String {
    let mut sheet = Sheet::bare(2);
    let facts = [
        ("source", source.name.clone()),
        ("provider", source.provider.clone()),
        (
            "url",
            source.url.clone().unwrap_or_else(|| source.path.clone()),
        ),
        ("methods", source.methods.join(", ")),
        ("largest body", crate::output::bytes(source.body_bytes_max)),
        (
            "media types",
            match source.content_types.as_slice() {
                [] => "any".to_owned(),
                types => types.join(", "),
            },
        ),
    ];
    for (name, value) in facts {
        sheet.row([name.to_owned(), plain(&value).into_owned()]);
    }
    for key in &source.keys {
        let (state, _) = state(key);
        let (used, last) = (count(key.used), last_used(key, now));
        let line = format!("{}  {state}; used {used} times, {last}", plain(&key.id));
        sheet.row(["secret".to_owned(), line]);
    }
    sheet.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_nobody_uses_says_since_when() {
        let key = SecretView {
            id: "old".into(),
            state: SecretState::Expired,
            not_before: None,
            not_after: Some(Timestamp(1_700_000_000_000)),
            used: 0,
            last_used: None,
            counted_since: Timestamp(1_600_000_000_000),
        };
        let now = Timestamp(1_800_000_000_000);
        assert_eq!(
            last_used(&key, now),
            "not used since 2020-09-13T12:26:40.000Z"
        );
        assert_eq!(state(&key).0, "expired 2023-11-14T22:13:20.000Z");
    }
}

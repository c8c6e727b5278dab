//! `creel providers`: the senders creel knows, and proof that it knows them.

use std::path::PathBuf;

use creel_receiver::verify::vectors::{self, Report};
use creel_receiver::verify::{Check, Facts, Pack, Registry, policy, reference};

use crate::commands::source_doc::UrlArgs;
use crate::failure::{said, usage};
use crate::output::{BAD, BOLD, GOOD, Output, Sheet, bytes, paint, plain, short};

/// List provider packs, show one, test them with vectors, write their reference, or print a source's URL
///
/// A pack describes how a kind of sender signs, what it calls its events, what it expects as an
/// answer and when it retries. Packs are data: `show --text` prints one as it stands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Test(TestArgs),
    Doc(DocArgs),
    Url(UrlArgs),
}

/// List all provider packs
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: Output,
}

/// Show what is known about one provider
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The provider
    name: String,
    /// Print the pack itself, in TOML
    #[arg(long, conflicts_with = "json")]
    text: bool,
    #[command(flatten)]
    output: Output,
}

/// Run files of test vectors against the packs
///
/// A file is a JSON array of requests, each with what a correct verifier says about it. Prints
/// counts and every mismatch; exits with 1 when there is one.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Files of vectors
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Print all packs as a table in Markdown
///
/// What stands in docs/PROVIDERS.md. With files of vectors a second table follows: what a vendor's
/// library decides otherwise than creel, and why.
#[derive(Debug, clap::Args)]
pub struct DocArgs {
    /// Files of vectors
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the subcommand, with the built-in packs and those of the configuration, if there is one.
pub fn run(global: &crate::settings::Global, command: &Command) -> anyhow::Result<()> {
    let (registry, problems) = crate::sources::packs(&global.config);
    for problem in problems {
        tracing::warn!("left out: {problem}");
    }
    match command {
        Command::List(args) => list(&registry, args),
        Command::Show(args) => show(&registry, args),
        Command::Test(args) => test(&registry, args),
        Command::Doc(args) => doc(&registry, args),
        Command::Url(args) => crate::commands::source_doc::url(global, args),
    }
}

/// Columns of the list, so that it fits a terminal; `show` has all of it.
const TITLE_WIDTH: usize = 22;
const CHECK_WIDTH: usize = 52;

fn list(registry: &Registry, args: &ListArgs) -> anyhow::Result<()> {
    let facts: Vec<&Facts> = registry.packs().map(|pack| pack.facts()).collect();
    args.output.print(&facts, |facts| {
        let mut sheet = Sheet::new(&["name", "sender", "verification", "handshake", "proof"]);
        for fact in facts {
            sheet.row([
                fact.name.clone(),
                short(&fact.title, TITLE_WIDTH),
                short(&in_list(&fact.checks), CHECK_WIDTH),
                yes(!fact.handshakes.is_empty()).into(),
                fact.proof.map_or("-", |proof| proof.name()).into(),
            ]);
        }
        sheet.text()
    })
}

/// The first of a pack's checks, and how many more there are.
fn in_list(checks: &[Check]) -> String {
    match checks {
        [] => "handshakes only".into(),
        [only] => only.short(),
        [first, more @ ..] => format!("{}, or {} more", first.short(), more.len()),
    }
}

fn verification(facts: &Facts) -> String {
    let checks: Vec<String> = facts.checks.iter().map(Check::short).collect();
    match checks.is_empty() {
        true => "handshakes only".into(),
        false => checks.join("; "),
    }
}

fn doc(registry: &Registry, args: &DocArgs) -> anyhow::Result<()> {
    let mut text = reference(registry);
    if !args.files.is_empty() {
        let policies = policy::policies(registry, &args.files)?;
        text = format!("{text}\n{}", policy::table(&policies));
    }
    crate::output::line(text.trim_end())
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn show(registry: &Registry, args: &ShowArgs) -> anyhow::Result<()> {
    let pack = pack(registry, &args.name)?;
    if args.text {
        return crate::output::line(pack.source_text().trim_end());
    }
    args.output.print(pack.facts(), facts_text)
}

/// The pack of that name.
///
/// # Errors
/// Wrong usage, with the name that was probably meant.
pub fn pack<'a>(registry: &'a Registry, name: &str) -> anyhow::Result<&'a std::sync::Arc<Pack>> {
    registry.get(name).ok_or_else(|| {
        let hint = match registry.did_you_mean(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`creel providers list` shows them all".into(),
        };
        usage(format!("no provider `{name}`; {hint}"))
    })
}

fn facts_text(facts: &Facts) -> String {
    let mut known = Sheet::bare(2);
    let mut add = |what: &str, value: Option<String>| {
        if let Some(value) = value {
            known.row([what.to_owned(), value]);
        }
    };
    add("documentation", facts.docs.clone());
    add("secret", facts.secret.clone());
    add("verification", Some(verification(facts)));
    let signed = facts.checks.iter().flat_map(|check| &check.signed);
    let signed: Vec<&str> = signed.map(String::as_str).collect();
    add("signed", (!signed.is_empty()).then(|| signed.join(" or ")));
    add("body signed", Some(yes(facts.body_authenticated).into()));
    add(
        "id",
        (!facts.id.is_empty()).then(|| facts.id.join(", else ")),
    );
    add("unique id", Some(yes(facts.id_unique).into()));
    add(
        "several at once",
        facts.batches.as_ref().map(|batches| match &batches.id {
            Some(id) => format!("in {}, each with its id in {id}", batches.path),
            None => format!("in {}", batches.path),
        }),
    );
    for when in &facts.handshakes {
        add("handshake", Some(when.clone()));
    }
    add("largest body", facts.body_max.map(bytes));
    add(
        "expects",
        facts
            .ack
            .as_ref()
            .map(|ack| format!("{} {} {}", ack.status, ack.content_type, ack.body)),
    );
    add("waits for", facts.deadline_ms.map(|ms| format!("{ms} ms")));
    let retries = &facts.retry;
    add(
        "retries on",
        (!retries.on.is_empty()).then(|| retries.on.join(", ")),
    );
    add("retries", retries.attempts.map(|n| n.to_string()));
    add("retries for", retries.over.clone());
    add("note", retries.note.clone());
    add("proof", facts.proof.map(|proof| proof.name().into()));
    add(
        "not confirmed",
        (!facts.weak.is_empty()).then(|| facts.weak.join(", ")),
    );
    let title = paint(BOLD, &format!("{} ({})", facts.title, facts.name));
    let text = format!("{title}\n{}", known.text());
    if facts.options.is_empty() {
        return text;
    }
    let mut options = Sheet::bare(2);
    for option in &facts.options {
        let default = match (&option.default, option.required) {
            (Some(default), _) => format!(" [default: {default}]"),
            (None, true) => " (must be given)".into(),
            (None, false) => String::new(),
        };
        options.row([option.name.clone(), format!("{}{default}", option.help)]);
    }
    format!(
        "{text}\n\n{}\n{}",
        paint(BOLD, "options of a source"),
        options.text()
    )
}

fn test(registry: &Registry, args: &TestArgs) -> anyhow::Result<()> {
    let report = vectors::run(registry, &args.files)?;
    let clean = report.is_clean();
    args.output.print(&report, report_text)?;
    if clean { Ok(()) } else { Err(said()) }
}

fn report_text(report: &Report) -> String {
    let mut sheet = Sheet::new(&[
        "file",
        "vectors>",
        "passed>",
        "mismatched>",
        "skipped>",
        "no pack>",
    ]);
    let mut lines = Vec::new();
    for file in &report.files {
        let counts = file.counts;
        sheet.row([
            file.file.clone(),
            counts.vectors.to_string(),
            counts.passed.to_string(),
            counts.mismatched.to_string(),
            counts.skipped.to_string(),
            counts.unknown_provider.to_string(),
        ]);
        for miss in &file.mismatches {
            lines.push(format!(
                "  {} {} ({}): {} expected {}, got {}",
                paint(BAD, "✗"),
                plain(&miss.id),
                plain(&miss.class),
                miss.field,
                plain(&miss.expected),
                plain(&miss.got)
            ));
        }
    }
    let totals = report.totals;
    let verdict = if report.is_clean() {
        paint(GOOD, "all as expected")
    } else {
        paint(BAD, &format!("{} mismatched", totals.mismatched))
    };
    let mismatches = match lines.is_empty() {
        true => String::new(),
        false => format!("\n{}\n", lines.join("\n")),
    };
    let mut left_out = Vec::new();
    for (number, why) in [
        (
            totals.unknown_provider,
            "for providers there is no pack for",
        ),
        (totals.skipped, "skipped because vendors disagree"),
    ] {
        if number > 0 {
            left_out.push(format!(", {number} {why}"));
        }
    }
    format!(
        "{}\n{mismatches}\n{} of {} vectors passed{}: {verdict}",
        sheet.text(),
        totals.passed,
        totals.vectors,
        left_out.concat()
    )
}

//! `creel sources doc` and `creel providers url`: what to enter at a sender.

use std::io::Write;

use creel_common::config::{Config, Source};
use creel_common::log::wire::{SourceDoc, UrlPart};
use creel_receiver::source_doc::page::{Page, Row, Says, page};
use creel_receiver::source_doc::{self, html, markdown};
use serde::Serialize;

use crate::commands::providers::pack;
use crate::failure::usage;
use crate::output::{BOLD, Output, paint, plain};
use crate::settings::Global;

/// What to enter at the sender of a source, and what it can expect
///
/// URL, kind of secret and where it is found, events, replies, handshakes, limits, retries, a sample, and
/// commands to try it with. Comes from the configuration and the provider pack: needs neither a running
/// receiver nor the secrets, and shows none.
#[derive(Debug, clap::Args)]
pub struct DocArgs {
    /// The source [default: all of them]
    #[arg(value_name = "SOURCE")]
    name: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Form::Text, conflicts_with = "json")]
    format: Form,
    #[command(flatten)]
    output: Output,
}

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For a terminal
    Text,
    /// For a document
    Markdown,
    /// For a browser; of one source
    Html,
}

/// Print the URL to enter at the sender of a source
///
/// With everything that this sender needs in it; what was added, and why, is said on stderr. Needs
/// `receiver.public_url`, or `public_url` of the source.
#[derive(Debug, clap::Args)]
pub struct UrlArgs {
    /// The source
    #[arg(value_name = "SOURCE")]
    name: String,
    /// Without what was added
    #[arg(long)]
    bare: bool,
    #[command(flatten)]
    output: Output,
}

/// What `creel providers url --json` prints.
#[derive(Debug, Serialize)]
struct Url<'d> {
    source: &'d str,
    provider: &'d str,
    url: &'d str,
    url_bare: &'d str,
    parts: &'d [UrlPart],
    places: &'d [String],
    notes: &'d [String],
}

/// Prints the pages.
pub fn doc(global: &Global, args: &DocArgs) -> anyhow::Result<()> {
    let config = global.load()?;
    let Some(name) = &args.name else {
        if args.format == Form::Html {
            return Err(usage("--format html is of one source: name it"));
        }
        let docs = config.sources.values().map(|source| of(&config, source));
        let docs: Vec<SourceDoc> = docs.collect::<anyhow::Result<_>>()?;
        return args.output.print(&docs, |docs| {
            let pages: Vec<String> = docs.iter().map(|doc| written(doc, args.format)).collect();
            pages.join("\n\n")
        });
    };
    let doc = of(&config, source(&config, name)?)?;
    args.output.print(&doc, |doc| written(doc, args.format))
}

/// Prints the URL, and says on stderr what is in it.
pub fn url(global: &Global, args: &UrlArgs) -> anyhow::Result<()> {
    let config = global.load()?;
    let doc = of(&config, source(&config, &args.name)?)?;
    let (Some(full), Some(bare)) = (&doc.url, &doc.url_bare) else {
        return Err(usage(format!(
            "the URL at which senders reach creel is not known: set `receiver.public_url`, or \
             `sources.{}.public_url`",
            doc.name
        )));
    };
    let shown = if args.bare { bare } else { full };
    let url = Url {
        source: &doc.name,
        provider: &doc.provider,
        url: shown,
        url_bare: bare,
        parts: &doc.url_parts,
        places: &doc.places,
        notes: &doc.notes,
    };
    args.output.print(&url, |url| plain(url.url).into_owned())?;
    if !args.output.json {
        for why in reasons(&doc, args.bare) {
            let _ = writeln!(anstream::stderr(), "{why}");
        }
    }
    Ok(())
}

fn reasons(doc: &SourceDoc, bare: bool) -> Vec<String> {
    let parts = doc.url_parts.iter().filter(|_| !bare);
    let parts = parts.map(|part| hanging(&plain(&part.text), &part.why));
    let places = doc.places.iter().map(|place| hanging("where", place));
    let notes = doc.notes.iter().map(|note| hanging("note", note));
    parts.chain(places).chain(notes).collect()
}

fn source<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Source> {
    config.sources.get(name).ok_or_else(|| {
        let names: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        usage(format!(
            "no source `{name}`; there are {}",
            names.join(", ")
        ))
    })
}

fn of(config: &Config, source: &Source) -> anyhow::Result<SourceDoc> {
    let registry = crate::sources::registry(config)?;
    let pack = pack(&registry, &source.provider)?;
    source_doc::of(config, source, pack)
        .map_err(|error| usage(format!("sources.{}.options: {error}", source.name)))
}

fn written(doc: &SourceDoc, form: Form) -> String {
    let page = page(doc);
    match form {
        Form::Text => text(&page),
        Form::Markdown => markdown::markdown(&page),
        Form::Html => html::html(&page),
    }
}

fn text(page: &Page) -> String {
    let mut out = paint(BOLD, &plain(&page.title));
    for section in &page.sections {
        out += &format!("\n\n{}", paint(BOLD, section.title));
        for row in &section.rows {
            out += &format!("\n{}", line(row));
        }
    }
    out
}

/// Names of rows take so many columns.
const ABOUT_COLUMNS: usize = 20;
/// Sentences are broken there.
const COLUMNS: usize = 100;

/// What is to be copied is never broken.
fn line(row: &Row) -> String {
    let about = plain(&row.about);
    match &row.says {
        Says::Text(said) => hanging(&about, said),
        Says::Code(said) | Says::Link(said) => {
            format!("  {about:<ABOUT_COLUMNS$}  {}", plain(said))
        }
        Says::Block(said) => {
            let lines = said.lines().map(|line| format!("    {}", plain(line)));
            let lines: Vec<String> = lines.collect();
            match about.is_empty() {
                true => lines.join("\n"),
                false => format!("  {about}\n{}", lines.join("\n")),
            }
        }
    }
}

/// A sentence beside what it is about.
fn hanging(about: &str, said: &str) -> String {
    let indent = ABOUT_COLUMNS + 4;
    let mut out = format!("  {about:<ABOUT_COLUMNS$} ");
    let mut column = out.chars().count();
    for word in plain(said).split_whitespace() {
        let width = word.chars().count() + 1;
        if column + width > COLUMNS && column > indent {
            out = format!("{}\n{}", out.trim_end(), " ".repeat(indent - 1));
            column = indent - 1;
        }
        out += &format!(" {word}");
        column += width;
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_hang_beside_what_they_are_about_and_code_is_never_broken() {
        let said = "word ".repeat(40);
        let text = hanging("about", &said);
        assert!(text.lines().count() == 3, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert!(line.find("word") == Some(ABOUT_COLUMNS + 4), "{line}");
        }
        let long = "x".repeat(300);
        let row = Row {
            about: "URL".into(),
            says: Says::Code(long.clone()),
        };
        assert!(line(&row).ends_with(&long));
    }
}

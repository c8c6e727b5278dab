//! What a [`SourceDoc`] says, in words and in order: for people, however it is written down.

use std::time::Duration;

use creel_common::config::{show_duration, show_size};
use creel_common::log::wire::{ReplyBy, SourceDoc};

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Whose it is.
    pub title: String,
    /// Its parts.
    pub sections: Vec<Section>,
}

/// A part of a page.
#[derive(Debug)]
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// What it says.
    pub rows: Vec<Row>,
}

/// One thing that is said.
#[derive(Debug)]
pub struct Row {
    /// About what; empty: about the same as the row before.
    pub about: String,
    /// What is said.
    pub says: Says,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// A sentence; what stands between backticks in it is to be typed.
    Text(String),
    /// Something to copy, on one line.
    Code(String),
    /// Something to copy, of any form.
    Block(String),
    /// A URL to follow.
    Link(String),
}

/// The page of a source.
pub fn page(doc: &SourceDoc) -> Page {
    let mut sections = vec![
        section("At the sender", sender(doc)),
        section("Secret", secret(doc)),
        section("Events", events(doc)),
        section("Replies", replies(doc)),
        section("Limits", limits(doc)),
        section("When creel does not answer 2xx", retries(doc)),
        section("A delivery", sample(doc)),
        section("To try it", commands(doc)),
    ];
    sections.retain(|section| !section.rows.is_empty());
    Page {
        title: format!("{}: {} ({})", doc.name, doc.title, doc.provider),
        sections,
    }
}

fn section(title: &'static str, rows: Vec<Row>) -> Section {
    Section { title, rows }
}

fn row(about: impl Into<String>, says: Says) -> Row {
    Row {
        about: about.into(),
        says,
    }
}

fn text(about: impl Into<String>, says: impl Into<String>) -> Row {
    row(about, Says::Text(says.into()))
}

/// Rows about one thing: it is named once.
fn each<'a>(about: &str, items: impl IntoIterator<Item = &'a String>) -> Vec<Row> {
    let items = items.into_iter().enumerate();
    items
        .map(|(nth, item)| text(if nth == 0 { about } else { "" }, item))
        .collect()
}

fn sender(doc: &SourceDoc) -> Vec<Row> {
    let mut rows = vec![match &doc.url {
        Some(url) => row("URL", Says::Code(url.clone())),
        None => row("path", Says::Code(doc.path.clone())),
    }];
    rows.extend(doc.url_parts.iter().map(|part| text(&part.text, &part.why)));
    rows.extend(each("where", &doc.places));
    rows.push(text("method", doc.methods.join(", ")));
    rows.extend(
        doc.docs
            .iter()
            .map(|url| row("its documentation", Says::Link(url.clone()))),
    );
    rows.extend(each("note", &doc.notes));
    rows
}

fn secret(doc: &SourceDoc) -> Vec<Row> {
    let secret = &doc.secret;
    let mut rows = each("what", &secret.kind);
    rows.extend(each("where", &secret.place));
    if secret.kind.is_some() {
        let ids = match secret.ids.as_slice() {
            [] => "none".to_owned(),
            ids => ids
                .iter()
                .map(|id| format!("`{id}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        rows.push(text("configured here", ids));
    }
    rows
}

fn events(doc: &SourceDoc) -> Vec<Row> {
    let events = &doc.events;
    let mut rows = each("to choose", &events.choose);
    let routes = match events.routes.as_slice() {
        [] => "no route takes from it: its deliveries are kept until one does".to_owned(),
        routes => routes.join(", "),
    };
    rows.push(text("routes", routes));
    if let Some(only) = &events.only {
        let types: Vec<String> = only.iter().map(|kind| format!("`{kind}`")).collect();
        let types = types.join(", ");
        rows.push(text(
            "they take",
            format!("{types}; others are counted and kept as history"),
        ));
    }
    rows
}

fn replies(doc: &SourceDoc) -> Vec<Row> {
    let reply = &doc.reply;
    let by = match reply.by {
        ReplyBy::Creel => "creel's own",
        ReplyBy::Pack => "what this sender expects",
        ReplyBy::Source => "`reply` of this source",
    };
    let kind = reply.content_type.as_ref();
    let kind = kind.map_or("no body".to_owned(), |kind| format!("`{kind}`"));
    let about = "once durable";
    let mut rows = vec![text(
        about,
        format!(
            "{} {kind}, {by}; a repeat is answered the same",
            reply.status
        ),
    )];
    if !reply.body.is_empty() {
        rows.push(row("", Says::Block(reply.body.clone())));
    }
    let handshakes: Vec<String> = doc
        .handshakes
        .iter()
        .map(|when| format!("`{when}`: answered, not stored"))
        .collect();
    rows.extend(each("handshake", &handshakes));
    rows.push(text(
        "not verified",
        format!("{}, and the request goes to quarantine", reply.refused),
    ));
    rows.push(text("no room, or stopping", "503 with `Retry-After`"));
    rows
}

fn limits(doc: &SourceDoc) -> Vec<Row> {
    let limits = &doc.limits;
    let mut rows = vec![text(
        "body",
        format!(
            "at most {}, else 413; within {}",
            show_size(limits.body_bytes_max),
            shown(limits.body_timeout_ms)
        ),
    )];
    let types = match limits.content_types.as_slice() {
        [] => "any".to_owned(),
        types => format!("{}, else 415", types.join(", ")),
    };
    rows.push(text("media types", types));
    if !limits.allow.is_empty() {
        let networks = limits.allow.join(", ");
        rows.push(text("from networks", format!("{networks}, else 403")));
    }
    for (name, rate) in [
        ("rate", &limits.rate),
        ("of one address", &limits.rate_per_address),
    ] {
        if let Some(rate) = rate {
            rows.push(text(
                name,
                format!("{rate}, else 429 or 503 with `Retry-After`"),
            ));
        }
    }
    if let Some(deadline) = limits.deadline_ms {
        rows.push(text("the sender waits", shown(deadline)));
    }
    match (limits.signs_time, limits.tolerance_ms) {
        (true, Some(off)) => rows.push(text("signed time", format!("at most {} off", shown(off)))),
        (true, None) => rows.push(text(
            "signed time",
            "off by no more than the pack allows, most often 5m",
        )),
        (false, _) => {}
    }
    rows
}

fn retries(doc: &SourceDoc) -> Vec<Row> {
    let retry = &doc.retry;
    let mut rows = Vec::new();
    if !retry.on.is_empty() {
        rows.push(text("sends again on", retry.on.join(", ")));
    }
    rows.extend(retry.attempts.map(|n| text("how often", n.to_string())));
    rows.extend(each("for", &retry.over));
    rows.extend(each("note", &retry.note));
    let repeats = &doc.repeats;
    rows.push(text(
        "a repeat is known by",
        match &repeats.known_by {
            Some(by) => format!("{by}, for {}", shown(repeats.window_ms)),
            None => "nothing: it is another delivery".to_owned(),
        },
    ));
    rows
}

fn sample(doc: &SourceDoc) -> Vec<Row> {
    let sample = &doc.sample;
    let mut rows = each("event type", &sample.event_type);
    let mut lines = format!("{} {}\n", sample.method, doc.path);
    for header in &sample.headers {
        let value = header.value.as_deref().unwrap_or_default();
        lines += &format!("{}: {value}\n", header.name);
    }
    rows.push(row(
        "without its signature",
        Says::Block(format!("{lines}\n{}", sample.body)),
    ));
    rows
}

fn commands(doc: &SourceDoc) -> Vec<Row> {
    let commands = doc.commands.iter();
    commands
        .flat_map(|command| {
            [
                row("", Says::Code(command.command.clone())),
                text("", &command.what),
            ]
        })
        .collect()
}

fn shown(ms: u64) -> String {
    show_duration(Duration::from_millis(ms))
}

//! Blots out what may be a secret that somebody typed into the file, so that no excerpt shows it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::is_env_var;

/// A key with one of these in its name may hold a secret.
const TELLING: [&str; 8] = [
    "secret",
    "token",
    "password",
    "passwd",
    "credential",
    "private_key",
    "api_key",
    "authorization",
];

/// Keys that stand beside a secret and are none.
const HARMLESS: [&str; 6] = ["file", "role", "name", "id", "not_before", "not_after"];

/// The text with every suspicious value replaced by as many `*`: all other places stay the same.
///
/// In a file that is no TOML (`broken`) the tree may be wrong about what is a value, so that
/// whole lines go.
pub fn mask(source: &str, root: &DeTable<'_>, broken: bool) -> String {
    let mut spans = Vec::new();
    collect(root, false, &mut spans);
    if broken {
        spans.extend(suspicious_lines(source));
    }
    let mut bytes = source.as_bytes().to_vec();
    for span in spans {
        let end = span.end.min(bytes.len());
        let start = span.start.min(end);
        for byte in &mut bytes[start..end] {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b'*';
            }
        }
    }
    // only whole characters are replaced, unless the parser's spans cut one
    String::from_utf8_lossy(&bytes).into_owned()
}

fn collect(table: &DeTable<'_>, within: bool, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let name = key.get_ref().to_lowercase().replace('-', "_");
        let harmless = HARMLESS.contains(&name.as_str())
            || (name == "env" && value.get_ref().as_str().is_some_and(is_env_var));
        let telling = TELLING.iter().any(|word| name.contains(word));
        visit(value, telling || (within && !harmless), spans);
    }
}

fn visit(value: &Spanned<DeValue<'_>>, telling: bool, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => collect(table, telling, spans),
        DeValue::Array(items) => items.iter().for_each(|item| visit(item, telling, spans)),
        DeValue::String(text) if telling || secret_url(text) => spans.push(value.span()),
        _ => {}
    }
}

/// `postgres://user:password@host`, `https://host/?token=…`
fn secret_url(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.contains(['@', '?']))
}

/// In a file that is no TOML: what stands behind the first `=` of every line that names a telling
/// key, and the lines up to the next key or table.
fn suspicious_lines(source: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut telling = false;
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let text = line.to_lowercase().replace('-', "_");
        let begins = begins_something(line);
        if begins {
            telling = false;
        }
        telling |= TELLING.iter().any(|word| text.contains(word));
        if telling || secret_url(line) {
            let start = match line.find('=') {
                Some(equals) if begins => equals + 1,
                _ => 0,
            };
            spans.push(at + start..at + line.len());
        }
        at += line.len();
    }
    spans
}

/// Whether a line starts with `key =` or `[table`, and not inside of a value, where a secret's
/// own padding may look like that.
fn begins_something(line: &str) -> bool {
    let line = line.trim_start();
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. \t".contains(c);
    match line.split_once('=') {
        _ if line.starts_with('[') => line.trim_start_matches('[').starts_with(bare),
        Some((key, value)) => !key.is_empty() && key.chars().all(bare) && !value.starts_with('='),
        None => false,
    }
}

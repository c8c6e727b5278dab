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
const HARMLESS: [&str; 3] = ["file", "role", "name"];

/// The text with every suspicious value replaced by as many `*`: all other places stay the same.
///
/// `broken`: where the file is no TOML. There the tree may be wrong about what is a value, so
/// in those lines, and in all lines after the first of them that name a telling key, all
/// behind the `=` is blotted out; so is what a line without a `=` holds there.
pub fn mask(source: &str, root: &DeTable<'_>, broken: Option<usize>) -> String {
    let mut spans = Vec::new();
    collect(root, false, &mut spans);
    if let Some(from) = broken {
        spans.extend(suspicious_lines(source, from));
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

/// Lines at and behind `from` that may hold a secret, without what stands up to their `=`.
fn suspicious_lines(source: &str, from: usize) -> Vec<Range<usize>> {
    let from = source.floor_char_boundary(from);
    // a value may have begun in an earlier line than the one that could not be read
    let mut at = source[..from].rfind("=").map_or(0, |i| {
        source[..i].rfind('\n').map_or(0, |newline| newline + 1)
    });
    let mut spans = Vec::new();
    let mut telling = false;
    for line in source[at..].split_inclusive('\n') {
        let equals = line.find('=');
        if let Some(equals) = equals {
            let key = line[..equals].to_lowercase().replace('-', "_");
            telling = TELLING.iter().any(|word| key.contains(word));
        }
        if telling || secret_url(line) {
            let start = equals.map_or(0, |equals| equals + 1);
            spans.push(at + start..at + line.len());
        }
        at += line.len();
    }
    spans
}

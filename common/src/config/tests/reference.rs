//! `docs/CONFIG.md` and the JSON Schema say what the reader does.

use serde_json::Value as Json;

use super::super::schema::{Absent, Section, Shape};
use super::super::settings::FILE;
use super::*;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIG.md");

/// Every section below `section`, each once, in the order of the file.
fn sections_in(section: &'static Section, found: &mut Vec<&'static Section>) {
    if found.iter().any(|known| known.title == section.title) {
        return;
    }
    found.push(section);
    for key in section.keys {
        let mut shape = key.shape;
        while let Shape::List(item, _) | Shape::OneOrMore(item, _) = shape {
            shape = *item;
        }
        if let Shape::Section(inner)
        | Shape::Switch(inner)
        | Shape::Secret(inner)
        | Shape::Named(inner) = shape
        {
            sections_in(inner, found);
        }
    }
}

fn sections() -> Vec<&'static Section> {
    let mut found = Vec::new();
    sections_in(&FILE, &mut found);
    found
}

fn words(shape: Shape) -> String {
    let between = |min: String, max: String| format!("{min} to {max}");
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Name => "name".to_owned(),
        Shape::Id => "id".to_owned(),
        Shape::Lines(max) => format!("text of lines, at most {}", show_size(max as u64)),
        Shape::Path => "path".to_owned(),
        Shape::EnvVar => "environment variable".to_owned(),
        Shape::Provider => "provider".to_owned(),
        Shape::Kind => "kind".to_owned(),
        Shape::Address => "`\"IP:PORT\"`".to_owned(),
        Shape::Network => "`\"IP/BITS\"`".to_owned(),
        Shape::Url => "http or https URL".to_owned(),
        Shape::MediaType => "media type".to_owned(),
        Shape::Time => "time".to_owned(),
        Shape::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Shape::Duration(min, max) => format!(
            "duration, {}",
            between(show_duration(min), show_duration(max))
        ),
        Shape::Size(min, max) => format!("size, {}", between(show_size(min), show_size(max))),
        Shape::Count(min, max) => format!(
            "whole number, {}",
            between(min.to_string(), max.to_string())
        ),
        Shape::Factor(min, max) => format!("number, {}", between(min.to_string(), max.to_string())),
        Shape::Rate(min, max) => {
            format!("rate, {}", between(format!("{min}/s"), format!("{max}/s")))
        }
        Shape::List(item, max) => format!("array of at most {max}: {}", words(*item)),
        Shape::OneOrMore(item, max) => format!("{}, or array of 1 to {max}", words(*item)),
        Shape::Texts => "table of texts".to_owned(),
        Shape::Section(section) => format!("table, `{}`", section.title),
        Shape::Switch(section) => format!("`true`, or table, `{}`", section.title),
        Shape::Secret(section) => section.title.to_owned(),
        Shape::Named(section) => format!("tables by name, `{}`", section.title),
    }
}

/// The part of the reference that comes from the table of settings.
fn table(section: &Section) -> String {
    let mut text = format!(
        "{}\n\n| key | value | if left out | |\n|---|---|---|---|\n",
        section.doc
    );
    for key in section.keys {
        let absent = match key.absent {
            Absent::Required => "**required**".to_owned(),
            Absent::Default(text) => format!("`{text}`"),
            Absent::Means(words) => words.to_owned(),
        };
        let value = words(key.shape);
        text += &format!("| `{}` | {value} | {absent} | {} |\n", key.name, key.doc);
    }
    if let Some(others) = section.others {
        text += &format!("| any other | | | {others} |\n");
    }
    if !section.one_of.is_empty() {
        text += &format!("\nExactly one of `{}`.\n", section.one_of.join("` and `"));
    }
    text
}

/// What stands between the marks of a section.
fn documented<'a>(reference: &'a str, section: &Section) -> Option<&'a str> {
    let begin = format!("<!-- settings of {} -->\n", section.title);
    let (_, rest) = reference.split_once(&begin)?;
    Some(rest.split_once("<!-- end -->")?.0)
}

/// With `CREEL_BLESS=1` the reference is brought up to date instead.
#[test]
fn every_setting_is_documented() {
    let mut reference = std::fs::read_to_string(REFERENCE).unwrap();
    let bless = std::env::var_os("CREEL_BLESS").is_some();
    for section in sections() {
        let now = documented(&reference, section);
        let now = now.unwrap_or_else(|| panic!("docs/CONFIG.md has no part for {}", section.title));
        let mark = format!("<!-- settings of {} -->\n", section.title);
        if bless {
            let blessed = reference.replacen(&format!("{mark}{now}"), &(mark + &table(section)), 1);
            reference = blessed;
            continue;
        }
        assert_eq!(
            now,
            table(section),
            "docs/CONFIG.md, {}; CREEL_BLESS=1 mends it",
            section.title
        );
    }
    if bless {
        std::fs::write(REFERENCE, reference).unwrap();
    }
}

#[test]
fn the_examples_of_the_reference_are_in_order() {
    let reference = std::fs::read_to_string(REFERENCE).unwrap();
    let mut examples = 0;
    for block in reference.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        if let Err(problems) = parse(text, Path::new("creel.toml"), &Known::default()) {
            panic!("{problems}\n{text}");
        }
        examples += 1;
    }
    assert!(examples > 0);
}

/// Every key of the schema, as the path that a report calls it, with its default.
fn keys_of(schema: &Json, path: &str, found: &mut Vec<(String, Option<Json>)>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (key, inner) in properties {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            found.push((path.clone(), inner.get("default").cloned()));
            keys_of(inner, &path, found);
        }
    }
    // a switch: true, or a table
    if schema["anyOf"][1]["properties"].is_object() {
        keys_of(&schema["anyOf"][1], path, found);
    }
    if schema["additionalProperties"]["properties"].is_object() {
        keys_of(&schema["additionalProperties"], &format!("{path}.x"), found);
    }
    if schema["items"]["properties"].is_object() {
        keys_of(&schema["items"], &format!("{path}[0]"), found);
    }
}

/// A file with nothing but this value.
fn only(path: &str, value: &str) -> String {
    let mut text = String::new();
    let mut closing = String::new();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let (name, list) = match part.strip_suffix("[0]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        text += &format!("{name} = ");
        if list {
            text.push('[');
            closing.insert(0, ']');
        }
        if parts.peek().is_some() {
            text.push_str("{ ");
            closing.insert_str(0, " }");
        }
    }
    text + value + &closing
}

#[test]
fn a_file_with_only_one_value_is_what_it_says() {
    assert_eq!(
        only("routes[0].retry.max", "1"),
        "routes = [{ retry = { max = 1 }]}".replace("}]}", "} }]")
    );
}

#[test]
fn every_key_of_the_schema_is_read() {
    let mut keys = Vec::new();
    keys_of(&schema(&known()), "", &mut keys);
    assert!(keys.len() > 60, "{}", keys.len());
    for (path, _) in keys {
        // no setting is a date: that it is refused as one shows that the key is read
        let report = report(&only(&path, "1979-05-27"));
        let refused = |line: &str| {
            line.contains(&format!(" {path} ")) && line.contains("found a date or time")
        };
        assert!(report.lines().any(refused), "{path}\n{report}");
    }
}

#[test]
fn a_key_that_the_schema_does_not_have_is_refused() {
    for section in [
        "receiver",
        "log",
        "dedupe",
        "worker",
        "sources.x",
        "sources.x.dedupe",
        "routes[0]",
        "routes[0].match",
    ] {
        let report = report(&only(&format!("{section}.zzzzzz"), "1"));
        assert!(report.contains("unknown key"), "{section}\n{report}");
    }
}

#[test]
fn a_default_that_is_typed_changes_nothing() {
    let minimal = "
sources.x = { provider = \"stripe\", secrets = [{ env = \"S\" }] }
destinations.x = { type = \"file\" }
routes = [{ source = \"x\", destination = \"x\" }]
";
    let shown = |text: &str| {
        let mut config = parse_text(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        config.origin = Origin::default();
        format!("{config:?}")
    };
    let expected = shown(minimal);
    let mut keys = Vec::new();
    keys_of(&schema(&known()), "", &mut keys);
    let defaults: Vec<(String, Json)> = keys
        .into_iter()
        .filter_map(|(path, default)| Some((path, default?)))
        .filter(|(path, _)| {
            !matches!(
                path.as_str(),
                "sources" | "destinations" | "routes" | "sources.x.secrets"
            )
        })
        .collect();
    assert!(defaults.len() > 40, "{}", defaults.len());
    for (path, default) in defaults {
        let mut typed: toml::Table = toml::from_str(minimal).unwrap();
        put(&mut typed, &path, toml::Value::try_from(&default).unwrap());
        assert_eq!(
            shown(&toml::to_string(&typed).unwrap()),
            expected,
            "{path} = {default}"
        );
    }
}

/// Puts a value into a file, making the tables on the way.
fn put(table: &mut toml::Table, path: &str, value: toml::Value) {
    let (part, rest) = path
        .split_once('.')
        .map_or((path, None), |(part, rest)| (part, Some(rest)));
    let Some(rest) = rest else {
        table.insert(part.to_owned(), value);
        return;
    };
    let inner = match part.strip_suffix("[0]") {
        Some(list) => &mut table[list][0],
        None => table
            .entry(part.to_owned())
            .or_insert_with(|| toml::Value::Table(toml::Table::new())),
    };
    put(inner.as_table_mut().unwrap(), rest, value);
}

#[test]
fn the_documented_defaults_are_those_of_the_types() {
    let text = EXAMPLE.replace(
        "retry       = { max_attempts = 8, initial = \"1s\", max = \"1h\" }",
        "",
    );
    let config = parse_text(&text).unwrap();
    assert_eq!(config.routes[0].retry, RetryPolicy::default());
    assert_eq!(config.routes[0].breaker, Breaker::default());
}

#[test]
fn the_schema_offers_the_names_that_the_executable_knows() {
    let schema = schema(&known());
    let source = &schema["properties"]["sources"]["additionalProperties"];
    assert_eq!(source["properties"]["provider"]["enum"][0], "github");
    assert_eq!(source["required"][0], "provider");
    let destination = &schema["properties"]["destinations"]["additionalProperties"];
    assert_eq!(destination["properties"]["type"]["enum"][2], "postgres");
    assert_ne!(destination["additionalProperties"], false);
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(
        schema["properties"]["log"]["properties"]["lost_max"]["default"],
        3
    );
}

/// For each shape with bounds: a value just inside either end, and one just outside.
#[test]
fn every_bound_is_inclusive_and_told() {
    let bounded = [
        (
            "receiver.connections_max",
            vec!["1", "1000000"],
            vec!["0", "1000001", "-1", "99999999999999999999999999999"],
            "must be between 1 and 1000000",
        ),
        (
            "log.volume",
            vec!["\"4MiB\"", "\"64GiB\""],
            vec!["\"3MiB\"", "\"65GiB\""],
            "must be between 4MiB and 64GiB",
        ),
        (
            "log.lease",
            vec!["\"100ms\"", "\"1h\""],
            vec!["\"99ms\"", "\"1h1ms\""],
            "must be between 100ms and 1h",
        ),
        (
            "routes[0].retry.multiplier",
            vec!["1", "100.0"],
            vec!["0.99", "101", "inf", "nan", "-1e400"],
            "must be between 1 and 100",
        ),
        (
            "routes[0].rate",
            vec!["1000000", "\"1000000/s\"", "0.001"],
            vec!["0", "\"0/s\"", "1e7"],
            "must be between 0.001/s and 1000000/s",
        ),
    ];
    for (path, inside, outside, message) in bounded {
        for value in inside {
            let text = only(path, value);
            let told = parse_text(&text).map_or_else(|p| p.to_string(), |_| String::new());
            assert!(!told.contains(&format!(" {path} ")), "{text}\n{told}");
        }
        for value in outside {
            let told = report(&only(path, value));
            assert!(told.contains(message), "{path} = {value}\n{told}");
        }
    }
}

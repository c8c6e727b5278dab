//! Values without parts, each with what to say when it is something else.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use toml::de::{DeInteger, DeValue};
use url::Url;

use super::raw::Value;
use super::schema::{
    NAME_MAX, Section, Shape, TEXT_MAX, is_env_var, is_id, is_media_type, is_name,
};
use super::suggest::{hint, quoted};
use super::units::{parse_duration, parse_rate, parse_size, parse_time, show_duration, show_size};

/// A value without parts. The message says what was expected.
pub fn scalar(shape: Shape, value: &DeValue<'_>) -> Result<Value, String> {
    match (shape, value) {
        (Shape::Text | Shape::Provider | Shape::Kind, DeValue::String(typed)) => {
            text(typed).map(Value::Text)
        }
        (Shape::Name, DeValue::String(typed)) => name(typed).map(Value::Text),
        (Shape::Id, DeValue::String(typed)) => id(typed).map(Value::Text),
        (Shape::Lines(max), DeValue::String(typed)) => lines(typed, max).map(Value::Text),
        (Shape::EnvVar, DeValue::String(typed)) => env_var(typed).map(Value::Text),
        (Shape::Url, DeValue::String(typed)) => url(typed).map(Value::Text),
        (Shape::MediaType, DeValue::String(typed)) => media_type(typed).map(Value::Text),
        (Shape::Time, DeValue::String(typed)) => parse_time(typed)
            .ok_or_else(|| unit_missing(TIME, typed))
            .map(Value::Time),
        (Shape::Time, DeValue::Datetime(typed)) => parse_time(&typed.to_string())
            .ok_or_else(|| expected(TIME, value))
            .map(Value::Time),
        (Shape::Choice(words), DeValue::String(typed)) => choice(typed, words).map(Value::Text),
        (Shape::Address, DeValue::String(typed)) => address(typed).map(Value::Address),
        (Shape::Network, DeValue::String(typed)) => network(typed).map(Value::Network),
        (Shape::Duration(min, max), DeValue::String(typed)) => parse_duration(typed)
            .ok_or_else(|| unit_missing("a duration such as \"1h30m\" or \"250ms\"", typed))
            .and_then(|read| in_range(read, min, max, show_duration))
            .map(Value::Duration),
        (Shape::Size(min, max), DeValue::String(typed)) => parse_size(typed)
            .ok_or_else(|| unit_missing("a size such as \"512KiB\" or \"1GiB\"", typed))
            .and_then(|read| in_range(read, min, max, show_size))
            .map(Value::Whole),
        (Shape::Count(min, max), DeValue::Integer(typed)) => {
            whole(typed, min, max).map(Value::Whole)
        }
        (Shape::Factor(min, max), DeValue::Integer(_) | DeValue::Float(_)) => number(value)
            .and_then(|read| in_range(read, min, max, |n| n.to_string()))
            .map(Value::Number),
        (Shape::Rate(min, max), DeValue::Integer(_) | DeValue::Float(_)) => number(value)
            .and_then(|read| in_range(read, min, max, per_second))
            .map(Value::Number),
        (Shape::Rate(min, max), DeValue::String(typed)) => parse_rate(typed)
            .ok_or_else(|| unit_missing("a rate such as \"100/s\" or \"30/m\"", typed))
            .and_then(|read| in_range(read, min, max, per_second))
            .map(Value::Number),
        (Shape::Secret(section), DeValue::String(_)) => Err(inline_secret(section)),
        _ => Err(expected(wanted(shape), value)),
    }
}

/// What a time looks like, in words.
const TIME: &str = "a time with its offset such as \"2026-11-23T17:00:00Z\"";

pub fn text(typed: &str) -> Result<String, String> {
    match typed {
        "" => Err("is empty".to_owned()),
        _ if typed.len() > TEXT_MAX => Err(format!("is longer than {TEXT_MAX} bytes")),
        _ if typed.contains(char::is_control) => Err("has a control character".to_owned()),
        _ => Ok(typed.to_owned()),
    }
}

pub fn name(typed: &str) -> Result<String, String> {
    if is_name(typed) {
        return Ok(typed.to_owned());
    }
    Err(format!(
        "{} is no name: lower-case letters, digits, `.`, `_` and `-`, a letter or digit first, at most {NAME_MAX}",
        quoted(typed)
    ))
}

fn id(typed: &str) -> Result<String, String> {
    if is_id(typed) {
        return Ok(typed.to_owned());
    }
    Err(format!(
        "{} is no id: letters, digits, `.`, `_` and `-`, a letter or digit first, at most {NAME_MAX}",
        quoted(typed)
    ))
}

fn lines(typed: &str, max: usize) -> Result<String, String> {
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\t');
    match typed {
        _ if typed.len() > max => Err(format!("is longer than {}", show_size(max as u64))),
        _ if typed.contains(|c: char| c.is_control() && !breaks(c)) => {
            Err("has a control character".to_owned())
        }
        _ => Ok(typed.to_owned()),
    }
}

/// Never repeats what was typed: it might be the secret itself.
fn env_var(typed: &str) -> Result<String, String> {
    if is_env_var(typed) {
        return Ok(typed.to_owned());
    }
    Err("is no name of an environment variable: letters, digits and `_`".to_owned())
}

fn url(typed: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!(
            "{why}; expected a URL such as \"https://hooks.example.com\""
        ))
    };
    let read = match Url::parse(typed) {
        Ok(read) => read,
        Err(error) => return wrong(&error.to_string()),
    };
    match &read {
        _ if !matches!(read.scheme(), "http" | "https") || !typed.contains("://") => {
            wrong("is neither http nor https")
        }
        _ if !read.username().is_empty() || read.password().is_some() => {
            wrong("holds a user or a password")
        }
        _ if read.query().is_some() || read.fragment().is_some() => {
            wrong("has a query or a fragment")
        }
        _ if typed.len() > TEXT_MAX => wrong("is too long"),
        _ if typed.contains(|c: char| c.is_control() || c.is_whitespace()) => {
            wrong("has white space")
        }
        _ => Ok(typed.trim_end_matches('/').to_owned()),
    }
}

fn media_type(typed: &str) -> Result<String, String> {
    let lower = typed.to_ascii_lowercase();
    match is_media_type(&lower) {
        true => Ok(lower),
        false => Err(unit_missing(
            "a media type without parameters such as \"application/json\"",
            typed,
        )),
    }
}

fn choice(typed: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&typed) {
        return Ok(typed.to_owned());
    }
    let hint = hint(typed, words.iter().copied());
    Err(format!("unknown word {}{hint}", quoted(typed)))
}

fn address(typed: &str) -> Result<SocketAddr, String> {
    typed.parse().map_err(|_| {
        let near = match typed.strip_prefix("localhost:") {
            Some(port) => format!("; did you mean \"127.0.0.1:{}\"?", port.escape_debug()),
            None => String::new(),
        };
        format!(
            "expected an address such as \"127.0.0.1:8080\", found {}{near}",
            quoted(typed)
        )
    })
}

fn network(typed: &str) -> Result<IpNet, String> {
    let single = || typed.parse::<IpAddr>().map(IpNet::from);
    typed.parse().or_else(|_| single()).map_err(|_| {
        format!(
            "expected a network such as \"10.0.0.0/8\", found {}",
            quoted(typed)
        )
    })
}

fn whole(typed: &DeInteger<'_>, min: u64, max: u64) -> Result<u64, String> {
    let range = || format!("must be between {min} and {max}");
    let read = i128::from_str_radix(typed.as_str(), typed.radix()).map_err(|_| range())?;
    u64::try_from(read)
        .ok()
        .filter(|read| (min..=max).contains(read))
        .ok_or_else(range)
}

fn number(value: &DeValue<'_>) -> Result<f64, String> {
    let read = match value {
        DeValue::Integer(typed) => i64::from_str_radix(typed.as_str(), typed.radix())
            .ok()
            .map(|read| read as f64),
        DeValue::Float(typed) => typed.as_str().parse().ok(),
        _ => None,
    };
    // neither infinities nor NaN are in any range
    read.ok_or_else(|| "is no number that can be used".to_owned())
}

fn in_range<T: PartialOrd + Copy>(
    read: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if (min..=max).contains(&read) {
        return Ok(read);
    }
    Err(format!("must be between {} and {}", show(min), show(max)))
}

fn per_second(rate: f64) -> String {
    format!("{rate}/s")
}

fn unit_missing(wanted: &str, typed: &str) -> String {
    format!("expected {wanted}, found {}", quoted(typed))
}

fn inline_secret(section: &Section) -> String {
    let by = match section.key("role") {
        Some(_) => "{ role = \"…\", env = \"NAME\" } or { role = \"…\", file = \"PATH\" }",
        None => "{ env = \"NAME\" } or { file = \"PATH\" }",
    };
    format!(
        "a secret does not belong into this file, which gets copied, shown and committed; name where it is: {by}"
    )
}

/// What was expected, and what is there: its kind, never the value.
pub fn expected(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("expected {wanted}, found {found}")
}

/// What a shape looks like, in words.
fn wanted(shape: Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::Provider | Shape::Kind => "a string",
        Shape::Name => "a name",
        Shape::Id => "an id in quotes",
        Shape::Lines(_) => "a string",
        Shape::Path => "a path in quotes",
        Shape::EnvVar => "the name of an environment variable",
        Shape::Address => "an address such as \"127.0.0.1:8080\"",
        Shape::Network => "a network such as \"10.0.0.0/8\"",
        Shape::Url => "a URL in quotes",
        Shape::MediaType => "a media type in quotes",
        Shape::Time => TIME,
        Shape::Choice(_) => "a word in quotes",
        Shape::Duration(..) => "a duration with its unit, such as \"7d\" or \"250ms\"",
        Shape::Size(..) => "a size with its unit, such as \"1GiB\"",
        Shape::Count(..) => "a whole number",
        Shape::Factor(..) => "a number",
        Shape::Rate(..) => "a rate such as \"100/s\", or a number per second",
        Shape::List(..) => "an array",
        Shape::OneOrMore(..) => "an array",
        Shape::Texts => "a table of strings",
        Shape::Section(_) | Shape::Named(_) => "a table",
        Shape::Switch(_) => "true, false or a table",
        Shape::Secret(_) => "{ env = \"NAME\" } or { file = \"PATH\" }",
    }
}

//! The settings of an `http` destination, read and checked.

use std::path::Path;
use std::time::Duration;

use creel_common::secret::SecretRef;
use creel_common::web::Guard;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use toml::{Table, Value};
use url::{Host, Url};

use super::headers;
use super::sign::Signer;
use super::status::Statuses;
use crate::destinations::settings::{Reader, based};
use crate::destinations::{OpenError, Problem};

const CONCURRENCY_DEFAULT: usize = 64;
const CONCURRENCY_MAX: usize = 10_000;
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT_BOUNDS: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(300));

/// Methods that carry a delivery.
const METHODS: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::GET];

pub(super) struct Options {
    pub(super) url: Url,
    pub(super) verb: Verb,
    pub(super) allow: Vec<IpNet>,
    pub(super) statuses: Statuses,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    headers: Vec<(HeaderName, Fixed)>,
    secrets: Vec<SecretRef>,
}

/// Which method a request has.
pub(super) enum Verb {
    Fixed(Method),
    Original,
}

/// The value of a configured header.
enum Fixed {
    Plain(HeaderValue),
    Secret(SecretRef),
}

pub(super) fn read(table: &Table) -> Result<Options, Vec<Problem>> {
    let mut reader = Reader::new(table);
    let allow = reader.networks("allow");
    let url = read_url(&mut reader, &allow);
    let verb = read_verb(&mut reader);
    let secrets = read_secrets(&mut reader);
    let headers = read_headers(&mut reader, !secrets.is_empty());
    let statuses = read_statuses(&mut reader);
    let concurrency = reader.count("concurrency", CONCURRENCY_DEFAULT, CONCURRENCY_MAX);
    let connect_timeout = reader.duration(
        "connect_timeout",
        CONNECT_TIMEOUT_DEFAULT,
        CONNECT_TIMEOUT_BOUNDS,
    );
    let problems = reader.finish();
    match url {
        Some(url) if problems.is_empty() => Ok(Options {
            url,
            verb,
            allow,
            statuses,
            concurrency,
            connect_timeout,
            headers,
            secrets,
        }),
        _ => Err(problems),
    }
}

impl Options {
    /// The configured headers, their secrets read now.
    pub(super) fn resolve_headers(&self, base: &Path) -> Result<HeaderMap, OpenError> {
        let mut map = HeaderMap::new();
        for (name, fixed) in &self.headers {
            let value = match fixed {
                Fixed::Plain(value) => value.clone(),
                Fixed::Secret(reference) => {
                    let secret = based(reference.clone(), base).resolve()?;
                    let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                        OpenError::BadSecret("a secret for a header cannot be sent as one")
                    })?;
                    value.set_sensitive(true);
                    value
                }
            };
            map.append(name.clone(), value);
        }
        Ok(map)
    }

    /// What signs, its secrets read now; `None` without any.
    pub(super) fn resolve_signer(&self, base: &Path) -> Result<Option<Signer>, OpenError> {
        let mut secrets = Vec::new();
        for reference in &self.secrets {
            secrets.push(based(reference.clone(), base).resolve()?);
        }
        Signer::new(&secrets)
    }
}

fn read_url(reader: &mut Reader<'_>, allow: &[IpNet]) -> Option<Url> {
    let text = reader.required_text("url")?;
    match checked_url(text, allow) {
        Ok(url) => Some(url),
        Err(message) => {
            reader.problem("url", message);
            None
        }
    }
}

fn checked_url(text: &str, allow: &[IpNet]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must not hold a user or a password; use `headers` with a secret by reference"
                .to_owned(),
        );
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment".to_owned());
    }
    let guard = Guard::new(allow.to_vec());
    let refused = match url.host() {
        Some(Host::Ipv4(ip)) => guard.check(ip.into()).err(),
        Some(Host::Ipv6(ip)) => guard.check(ip.into()).err(),
        Some(Host::Domain("localhost")) => guard.check([127, 0, 0, 1].into()).err(),
        Some(Host::Domain(_)) => None,
        None => return Err("names no host".to_owned()),
    };
    match refused {
        Some(refused) => Err(refused.to_string()),
        None => Ok(url),
    }
}

fn read_verb(reader: &mut Reader<'_>) -> Verb {
    let default = Verb::Fixed(Method::POST);
    let Some(text) = reader.text("method") else {
        return default;
    };
    if text == "original" {
        return Verb::Original;
    }
    match METHODS.iter().find(|method| method.as_str() == text) {
        Some(method) => Verb::Fixed(method.clone()),
        None => {
            let names: Vec<&str> = METHODS.iter().map(Method::as_str).collect();
            let message = format!("expected one of {}, original", names.join(", "));
            reader.problem("method", message);
            default
        }
    }
}

fn read_secrets(reader: &mut Reader<'_>) -> Vec<SecretRef> {
    match reader.value("secret") {
        None => Vec::new(),
        Some(Value::Array(several)) => several
            .iter()
            .enumerate()
            .filter_map(|(at, one)| reader.secret(&format!("secret[{at}]"), one))
            .collect(),
        Some(one) => reader.secret("secret", one).into_iter().collect(),
    }
}

fn read_headers(reader: &mut Reader<'_>, signing: bool) -> Vec<(HeaderName, Fixed)> {
    let table = match reader.value("headers") {
        None => return Vec::new(),
        Some(Value::Table(table)) => table,
        Some(_) => {
            reader.problem("headers", "expected a table of names and values");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (typed, value) in table {
        let key = format!("headers.{typed}");
        let Ok(name) = HeaderName::from_bytes(typed.as_bytes()) else {
            reader.problem(key, "is not a header name");
            continue;
        };
        if headers::is_reserved(&name, signing) {
            reader.problem(key, "is set by creel itself");
            continue;
        }
        if let Some(fixed) = read_fixed(reader, &key, value) {
            found.push((name, fixed));
        }
    }
    found
}

fn read_fixed(reader: &mut Reader<'_>, key: &str, value: &Value) -> Option<Fixed> {
    let Some(text) = value.as_str() else {
        return reader.secret(key, value).map(Fixed::Secret);
    };
    match HeaderValue::from_str(text) {
        Ok(value) => Some(Fixed::Plain(value)),
        Err(_) => {
            reader.problem(key, "cannot be sent as a header value");
            None
        }
    }
}

fn read_statuses(reader: &mut Reader<'_>) -> Statuses {
    let mut statuses = Statuses::default();
    for (at, value) in reader.list("retry_statuses").iter().enumerate() {
        let known = match value {
            Value::Integer(status) => u16::try_from(*status).is_ok_and(|s| statuses.retry(s)),
            Value::String(class) => statuses.retry_class(class),
            _ => false,
        };
        if !known {
            reader.problem(
                format!("retry_statuses[{at}]"),
                "expected a status from 300 to 599, or a class: \"3xx\", \"4xx\", \"5xx\"",
            );
        }
    }
    statuses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        read(&text.parse().unwrap()).err().unwrap_or_default()
    }

    fn url_problem(url: &str) -> String {
        let found = problems(&format!("url = {url:?}"));
        assert_eq!(found.len(), 1, "{url}: {found:?}");
        assert_eq!(found[0].0, "url");
        found[0].1.clone()
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let found = problems(
            r#"
            ulr = "https://example.com"
            method = "FETCH"
            allow = ["10.0.0.0/8", "ten"]
            retry_statuses = [200]
            concurrency = 0
            connect_timeout = 5
            secret = "whsec_in_clear"
            headers = { "x-ok" = "1", "x a" = "1", host = "a", x-lf = "a\nb", x-key = { evn = "K" } }
            "#,
        );
        let mut keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "allow[1]",
                "concurrency",
                "connect_timeout",
                "headers.host",
                "headers.x a",
                "headers.x-key",
                "headers.x-lf",
                "method",
                "retry_statuses[0]",
                "secret",
                "ulr",
                "url",
            ]
        );
        let hint = found.iter().find(|(key, _)| key == "ulr").unwrap();
        assert!(hint.1.contains("did you mean `url`?"), "{hint:?}");
    }

    #[test]
    fn a_url_with_credentials_is_refused_without_showing_them() {
        let message = url_problem("https://user:hunter2@example.com/");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn only_http_and_https_are_spoken() {
        for url in ["ftp://example.com/", "file:///etc/passwd", "example.com"] {
            url_problem(url);
        }
        assert_eq!(problems("url = \"https://example.com/a?b=c\""), []);
    }

    #[test]
    fn literal_addresses_in_every_disguise_are_refused() {
        for host in [
            "127.0.0.1",
            "0",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "localhost",
            "[::1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "169.254.169.254",
            "10.1.2.3",
            "[fd00:ec2::254]",
        ] {
            url_problem(&format!("http://{host}/"));
        }
    }

    #[test]
    fn a_named_private_network_is_allowed() {
        for url in ["http://127.0.0.1:9000/hooks", "http://localhost/"] {
            let text = format!("url = {url:?}\nallow = [\"127.0.0.0/8\"]");
            assert_eq!(problems(&text), []);
        }
    }
}

//! The URL that a sender signed: as configured, or as the request shows it, and
//! the spellings of it that a provider is known to sign.
//!
//! A URL is never normalised: no case folding, no re-encoding, no re-ordering.

use std::borrow::Cow;

use super::form;
use super::request::Request;

/// The operator's public URL.
///
/// An origin (`https://hooks.example.com`) is completed with the request's path
/// and query. A URL with a path stands for itself, whatever path a proxy made
/// of it. The query is the request's; a configured query comes first in it,
/// whether the proxy left it there or not.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    base: String,
    query: Option<String>,
    has_path: bool,
}

impl PublicUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.split('#').next().unwrap_or(text);
        let (base, query) = match text.split_once('?') {
            Some((base, query)) => (base, Some(query.to_owned())),
            None => (text, None),
        };
        let authority = base
            .strip_prefix("https://")
            .or_else(|| base.strip_prefix("http://"));
        let Some(authority) = authority else {
            return Err("a public URL starts with https:// or http://".into());
        };
        if authority.is_empty() || authority.starts_with('/') || base.contains(char::is_whitespace)
        {
            return Err("a public URL needs a host and contains no blanks".into());
        }
        let has_path = authority
            .find('/')
            .is_some_and(|at| at + 1 < authority.len());
        Ok(Self {
            base: if has_path {
                base
            } else {
                base.trim_end_matches('/')
            }
            .to_owned(),
            query,
            has_path,
        })
    }

    fn complete(&self, target: &str) -> String {
        if !self.has_path {
            return format!("{}{target}", self.base);
        }
        match (query(target), &self.query) {
            ("", None) => self.base.clone(),
            ("", Some(own)) => format!("{}?{own}", self.base),
            (wire, Some(own)) if !extends(wire, own) => format!("{}?{own}&{wire}", self.base),
            (wire, _) => format!("{}?{wire}", self.base),
        }
    }
}

/// Whether `wire` is `own`, possibly with further parameters behind it.
fn extends(wire: &str, own: &str) -> bool {
    wire.strip_prefix(own)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('&'))
}

/// The query of a target or URL, without `?` and without a fragment.
pub(crate) fn query(target: &str) -> &str {
    let target = target.split('#').next().unwrap_or(target);
    target.split_once('?').map_or("", |(_, query)| query)
}

/// The URL of this request, as its sender knows it.
pub(crate) fn of(request: &Request<'_>, public: Option<&PublicUrl>) -> String {
    match public {
        Some(public) => public.complete(request.target),
        None => format!("{}://{}{}", request.scheme, request.host, request.target),
    }
}

/// Most guesses at the URL of a request.
const GUESSES_MAX: usize = 64;

/// What a sender may have signed instead, where a proxy or a setting is in the way: other schemes, hosts
/// that the request names, with and without a port, and a slash more or less. To find out, not to accept.
pub(crate) fn guesses(request: &Request<'_>, public: Option<&PublicUrl>) -> Vec<String> {
    let header = |name: &str| {
        let value = request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value
            .and_then(|value| value.split(',').next())
            .map(str::trim)
    };
    let configured = public.and_then(|public| split(&public.base));
    let configured = configured.map(|parts| format!("{}{}", parts.host, parts.port));
    let mut hosts: Vec<String> = Vec::new();
    let named = [
        header("x-forwarded-host"),
        header("host"),
        Some(request.host),
    ];
    for host in named
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .chain(configured)
    {
        let bare = without_port(&host).to_owned();
        let forwarded = header("x-forwarded-port").map(|port| format!("{bare}:{port}"));
        let ports = [format!("{bare}:443"), format!("{bare}:80")];
        for host in [host, bare].into_iter().chain(forwarded).chain(ports) {
            if !host.is_empty() && !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    let target = request.target;
    let (path, query) = target
        .find('?')
        .map_or((target, ""), |at| target.split_at(at));
    let other = match path.strip_suffix('/') {
        Some(path) => format!("{path}{query}"),
        None => format!("{path}/{query}"),
    };
    let mut guesses: Vec<String> = Vec::new();
    for target in [target, &other] {
        for host in &hosts {
            guesses.extend(["https", "http"].map(|scheme| format!("{scheme}://{host}{target}")));
        }
    }
    guesses.truncate(GUESSES_MAX);
    guesses
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variants {
    Twilio,
    HubSpot,
}

/// At most this many spellings are tried.
const SPELLINGS_MAX: usize = 32;
/// A longer URL is taken as it came: no provider that spells it otherwise sends one, and 32 copies of
/// what a stranger sends are many.
const SPELLED_BYTES_MAX: usize = 8 << 10;

/// The spellings to try, most likely first.
///
/// `credentials` are those of an `Authorization: Basic` header, which is what
/// becomes of a user in the URL on its way.
pub(crate) fn spellings(
    url: &str,
    variants: Option<Variants>,
    credentials: Option<&str>,
) -> Vec<String> {
    match variants.filter(|_| url.len() <= SPELLED_BYTES_MAX) {
        None => vec![url.to_owned()],
        Some(Variants::Twilio) => twilio(url, credentials),
        Some(Variants::HubSpot) => hubspot(url),
    }
}

struct Parts<'u> {
    scheme: &'u str,
    userinfo: &'u str,
    host: &'u str,
    port: &'u str,
    path: &'u str,
    query: Option<&'u str>,
}

fn split(url: &str) -> Option<Parts<'_>> {
    let url = url.split('#').next().unwrap_or(url);
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (userinfo, host_port) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    let after_v6 = host_port.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match host_port[after_v6..].find(':') {
        Some(at) => host_port.split_at(after_v6 + at),
        None => (host_port, ""),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    Some(Parts {
        scheme,
        userinfo,
        host,
        port,
        path,
        query,
    })
}

/// Twilio signs with or without the port and the user, and before or after it
/// escapes some characters of the query: <https://www.twilio.com/docs/usage/security>
/// and what its SDKs try. None of this weakens the check: each candidate needs
/// its own signature under the same secret.
fn twilio(url: &str, credentials: Option<&str>) -> Vec<String> {
    let Some(parts) = split(url) else {
        return vec![url.to_owned()];
    };
    let from_header = credentials.map(|user| format!("{user}@"));
    let userinfo = match parts.userinfo {
        "" => from_header.as_deref().unwrap_or(""),
        given => given,
    };
    let default_port = match parts.scheme {
        "https" | "wss" => ":443",
        _ => ":80",
    };
    let ports = match parts.port {
        "" => ["", default_port],
        given => [given, ""],
    };
    let mut tails: Vec<String> = query_spellings(parts.query)
        .into_iter()
        .map(|query| format!("{}{query}", parts.path))
        .collect();
    if parts.scheme == "wss" && parts.query.is_none() && !parts.path.ends_with('/') {
        tails.push(format!("{}/", parts.path));
    }
    let mut out: Vec<String> = Vec::new();
    for tail in &tails {
        for userinfo in ["", userinfo] {
            for port in ports {
                let candidate = format!("{}://{userinfo}{}{port}{tail}", parts.scheme, parts.host);
                if out.len() < SPELLINGS_MAX && !out.contains(&candidate) {
                    out.push(candidate);
                }
            }
        }
    }
    out
}

fn query_spellings(query: Option<&str>) -> Vec<String> {
    let Some(query) = query else {
        return vec![String::new()];
    };
    let mut out: Vec<String> = vec![query.to_owned()];
    let mut add = |spelling: String| {
        if !out.contains(&spelling) {
            out.push(spelling);
        }
    };
    add(unescape(query, b"':@"));
    add(unescape(query, b"'"));
    add(unescape(query, b"':@/,;!()*$"));
    add(escape(query, b"'@"));
    add(escape(query, b"':@"));
    add(escape(query, b"'\"<>"));
    add(rewritten(query));
    out.into_iter().map(|query| format!("?{query}")).collect()
}

/// Upper- or lower-case escapes of `which` as the character itself.
fn unescape(text: &str, which: &[u8]) -> String {
    replace_escapes(text, |byte| which.contains(&byte))
}

fn replace_escapes(text: &str, wanted: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3);
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte.is_ascii() && wanted(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn escape(text: &str, which: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match u8::try_from(char) {
            Ok(byte) if which.contains(&byte) => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char),
        }
    }
    out
}

/// The query decoded and encoded again as Node's `querystring` does, which
/// Twilio's Node SDK tries: blanks as `%20`, `-_.!~*'()` bare.
fn rewritten(query: &str) -> String {
    let encode = |text: Cow<'_, [u8]>| {
        text.iter().fold(String::new(), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(byte) {
                out.push(char::from(*byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
    };
    form::urlencoded(query.as_bytes())
        .map(|pair| format!("{}={}", encode(pair.name), encode(pair.value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// HubSpot v3 signs with some escapes undone:
/// <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>
fn hubspot(url: &str) -> Vec<String> {
    let cut = url.split('#').next().unwrap_or(url);
    let undone = unescape(cut, b":/?@!$'()*,;");
    if undone == cut {
        vec![undone]
    } else {
        vec![cut.to_owned(), undone]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_takes_path_and_query_of_the_request() {
        for origin in ["https://hooks.example.com", "https://hooks.example.com/"] {
            let public = PublicUrl::parse(origin).unwrap();
            assert_eq!(
                public.complete("/in/x?a=%2f"),
                "https://hooks.example.com/in/x?a=%2f"
            );
        }
    }

    #[test]
    fn a_public_path_wins_and_the_query_of_the_request_stays() {
        let public = PublicUrl::parse("https://h.example/in/x#rc=5").unwrap();
        assert_eq!(public.complete("/other"), "https://h.example/in/x");
        assert_eq!(public.complete("/other?a=1"), "https://h.example/in/x?a=1");
        let public = PublicUrl::parse("https://h.example/in/x?t=1").unwrap();
        assert_eq!(public.complete("/in/x"), "https://h.example/in/x?t=1");
        assert_eq!(
            public.complete("/in/x?t=1&bodySHA256=ab"),
            "https://h.example/in/x?t=1&bodySHA256=ab"
        );
        assert_eq!(
            public.complete("/in/x?bodySHA256=ab"),
            "https://h.example/in/x?t=1&bodySHA256=ab"
        );
        // The first field of a form cannot be moved into the query.
        assert_eq!(
            public.complete("/in/x?t=1From1"),
            "https://h.example/in/x?t=1&t=1From1"
        );
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "hooks.example.com",
            "ftp://x",
            "https://",
            "https:///in",
            "https://a b/",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn twilio_spellings_cover_ports_users_and_escapes_and_stay_few() {
        let got = twilio("https://u:p@h.example/in?q=it%27s+%40home#rc=5", None);
        assert_eq!(got[0], "https://h.example/in?q=it%27s+%40home");
        for wanted in [
            "https://u:p@h.example:443/in?q=it%27s+%40home",
            "https://h.example/in?q=it's+@home",
            "https://h.example/in?q=it's+%40home",
            "https://h.example:443/in?q=it's%20%40home",
        ] {
            assert!(got.iter().any(|url| url == wanted), "{wanted} in {got:?}");
        }
        assert!(got.iter().all(|url| !url.contains('#')));
        assert!(got.len() <= SPELLINGS_MAX);
        assert_eq!(
            twilio("http://[::1]:8080/x", None),
            ["http://[::1]:8080/x", "http://[::1]/x"]
        );
        assert_eq!(
            twilio("https://h/x", None),
            ["https://h/x", "https://h:443/x"]
        );
    }
}

//! URLs that a request names and that creel fetches: only those of the provider.

use regex::Regex;
use url::Url;

/// Longer URLs than this are not fetched.
const URL_BYTES_MAX: usize = 1024;

/// A pattern that fixes scheme, host and port, and mostly the path.
#[derive(Debug, Clone)]
pub(crate) struct Pin(Regex);

impl Pin {
    /// # Errors
    /// What is wrong with the pattern, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("^https://") {
            return Err(format!(
                "the pattern has to start with `^https://`: `{text}`"
            ));
        }
        Regex::new(text)
            .map(Self)
            .map_err(|error| format!("`{text}` is no pattern: {error}"))
    }

    /// Whether this URL may be fetched. What the pattern matches has to reach into the path: one that
    /// ends inside the host would let `…amazonaws.com.evil.example` through.
    pub fn allows(&self, url: &str) -> bool {
        let Some(found) = self.0.find(url) else {
            return false;
        };
        plain_host(url).is_some_and(|end| found.end() > end)
    }
}

/// Where the host of a plain https URL ends; `None` for any that could be read in two ways: with a
/// user, a fragment, blanks, or a host that its reader would spell otherwise.
pub(crate) fn plain_host(url: &str) -> Option<usize> {
    let rest = url.strip_prefix("https://")?;
    if url.len() > URL_BYTES_MAX || url.contains('#') || !url.bytes().all(|b| b.is_ascii_graphic())
    {
        return None;
    }
    let authority = rest.split(['/', '?', '\\']).next()?;
    let read = Url::parse(url).ok()?;
    let spelled = match read.port() {
        Some(port) => format!("{}:{port}", read.host_str()?),
        None => read.host_str()?.to_owned(),
    };
    (spelled == authority).then_some(url.len() - rest.len() + authority.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_url_that_the_whole_pattern_fixes_is_fetched() {
        let sns = Pin::parse(r"^https://sns\.[a-z0-9-]{3,}\.amazonaws\.com/").unwrap();
        assert!(sns.allows("https://sns.us-east-1.amazonaws.com/a.pem"));
        for url in [
            "http://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
            "https://sns.us-east-1.amazonaws.com@evil.example/a.pem",
            "https://evil.example/https://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com/a.pem#b",
            "https://sns.us-east-1.amazonaws.com/a b",
            "https://sns.us-east-1.amazonaws.com:8443/a.pem",
            "https://sns.us-east-1.amazonaws.com\\@evil.example/a.pem",
            "https://SNS.us-east-1.amazonaws.com/a.pem",
            "",
        ] {
            assert!(!sns.allows(url), "{url}");
        }
        assert!(!sns.allows(&format!(
            "https://sns.us-east-1.amazonaws.com/{}",
            "a".repeat(1024)
        )));
    }

    #[test]
    fn a_pattern_that_ends_inside_the_host_allows_nothing() {
        let loose = Pin::parse(r"^https://sns\.amazonaws\.com").unwrap();
        assert!(!loose.allows("https://sns.amazonaws.com/a"));
        assert!(!loose.allows("https://sns.amazonaws.com.evil.example/a"));
        for pattern in ["sns", "^http://a/", "^https://[", "^https?://a/"] {
            assert!(Pin::parse(pattern).is_err(), "{pattern}");
        }
    }
}

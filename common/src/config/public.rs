//! The URL of a source, as its sender knows it.

use super::{Config, Source};

impl Config {
    /// The whole URL at which senders reach `source`, without a fragment; none where no `public_url`
    /// says so.
    ///
    /// A source's own URL stands for itself once it has a path. The receiver's is where all sources
    /// are: a path in it is what a proxy takes away.
    pub fn url_of(&self, source: &Source) -> Option<String> {
        let below = |base: &str| format!("{base}/in/{}", source.name);
        match (&source.public_url, &self.receiver.public_url) {
            (Some(own), _) if has_path(own) => Some(own.clone()),
            (Some(own), _) => Some(below(own)),
            (None, Some(all)) => Some(below(all)),
            (None, None) => None,
        }
    }
}

/// Whether anything stands behind host and port. Slashes at the end were cut off.
fn has_path(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.contains('/')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::{Known, parse};

    #[test]
    fn a_sources_own_path_stands_for_itself_and_one_of_all_is_put_before() {
        let cases = [
            ("", "", None),
            ("https://h.example", "", Some("https://h.example/in/s")),
            (
                "https://h.example/hooks/",
                "",
                Some("https://h.example/hooks/in/s"),
            ),
            (
                "https://h.example",
                "https://o.example:8443",
                Some("https://o.example:8443/in/s"),
            ),
            (
                "https://h.example",
                "https://o.example/x",
                Some("https://o.example/x"),
            ),
        ];
        for (all, own, wanted) in cases {
            let line = |url: &str| match url {
                "" => String::new(),
                url => format!("public_url = \"{url}\"\n"),
            };
            let text = format!(
                "[receiver]\n{}[sources.s]\nprovider = \"none\"\n{}",
                line(all),
                line(own)
            );
            let config = parse(&text, Path::new("creel.toml"), &Known::default()).unwrap();
            let url = config.url_of(&config.sources["s"]);
            assert_eq!(url.as_deref(), wanted, "{all} {own}");
        }
    }
}

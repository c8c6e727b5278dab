//! What a file says, and what it is told when it is wrong.

mod body_schema;
mod properties;
mod reference;
mod reports;
mod rotation;
mod secrets;
mod split;
mod values;

use std::path::Path;

use super::*;

/// A worker crate's kinds, as far as these tests go.
struct Kinds;

impl DestinationKinds for Kinds {
    fn names(&self) -> Vec<&'static str> {
        vec!["file", "http", "postgres"]
    }

    fn check(&self, kind: &str, settings: &toml::Table) -> Vec<(String, String)> {
        let wrong = |key: &str, message: &str| (key.to_owned(), message.to_owned());
        match (kind, settings.get("url")) {
            ("http", None) => vec![wrong("url", "is missing")],
            ("http", Some(toml::Value::String(url))) if !url.starts_with("http") => {
                vec![wrong("url", "is neither http nor https")]
            }
            _ => Vec::new(),
        }
    }
}

fn facts(name: &str) -> ProviderFacts {
    ProviderFacts {
        name: name.to_owned(),
        needs_secret: name != "none",
        verifies: name != "none",
        items: (name == "twilio").then(|| ItemFacts {
            path: "/".to_owned(),
            id: Some("/id".to_owned()),
            event_type: Some("/type".to_owned()),
        }),
        options: Vec::new(),
    }
}

fn known() -> Known {
    let hmac = ProviderFacts {
        options: vec![
            OptionFacts {
                name: "header".to_owned(),
                required: true,
            },
            OptionFacts {
                name: "encoding".to_owned(),
                required: false,
            },
        ],
        ..facts("hmac")
    };
    Known {
        providers: vec![
            facts("github"),
            hmac,
            facts("none"),
            facts("stripe"),
            facts("twilio"),
        ],
        pack_problems: Vec::new(),
        destinations: Some(&Kinds),
    }
}

fn parse_text(text: &str) -> Result<Config, Problems> {
    parse(text, Path::new("creel.toml"), &known())
}

fn report(text: &str) -> String {
    parse_text(text).unwrap_err().to_string()
}

/// The example of the reference.
const EXAMPLE: &str = r#"
[receiver]
listen     = "0.0.0.0:8080"       # senders
private    = "127.0.0.1:8081"     # workers, operators, console, metrics
public_url = "https://hooks.example.com"

[log]
engine    = "sled"
path      = "data"
retention = "7d"                  # settled history

[sources.github]
provider = "github"
secrets  = [{ env = "GITHUB_WEBHOOK_SECRET" }, { file = "secrets/github.old" }]

[destinations.builds]
type  = "http"
url   = "http://127.0.0.1:9000/hooks"
allow = ["127.0.0.0/8"]

[destinations.archive]
type = "file"
path = "out"

[[routes]]
source      = "github"
destination = "builds"
match       = { event = ["push", "pull_request"] }
retry       = { max_attempts = 8, initial = "1s", max = "1h" }

[[routes]]
source      = "github"
destination = "archive"
"#;

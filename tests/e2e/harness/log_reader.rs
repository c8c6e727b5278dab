//! Reading a log back with the receiver stopped: `creel log verify` and `export`.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Exit, Process, Site};

const WITHIN: Duration = Duration::from_secs(300);

/// What `creel log verify --json` says.
#[derive(Debug)]
pub struct Verified {
    pub log_id: String,
    pub deliveries: u64,
    /// The offset of the first delivery; without any, the next.
    pub first: u64,
    /// The offset that the next delivery gets.
    pub next: u64,
    /// Offsets that are not there: lost, or never used.
    pub gaps: Vec<Value>,
    pub damaged: Vec<Value>,
    pub exit: Exit,
}

impl Verified {
    /// Whether `offset` is said to be lost or damaged.
    pub fn reports(&self, offset: u64) -> bool {
        let within = |range: &Value| {
            let (first, last) = (range["first"].as_u64(), range["last"].as_u64());
            first.is_some_and(|first| first <= offset) && last.is_some_and(|last| offset <= last)
        };
        let known = |range: &&Value| range["known_lost"] == true;
        self.gaps
            .iter()
            .filter(known)
            .chain(&self.damaged)
            .any(within)
    }
}

/// One delivery as it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub source: String,
    pub body: Vec<u8>,
    pub headers: Vec<(String, String)>,
}

/// Verifies the log of `site`.
///
/// # Errors
/// How the command ended, when it printed no report.
pub async fn verify(site: &Site) -> Result<Verified, Exit> {
    let command = site.creel(&["log", "verify", "--json"]);
    let exit = Process::run("creel log verify", command, WITHIN).await;
    let Ok(report) = serde_json::from_str::<Value>(&exit.stdout) else {
        return Err(exit);
    };
    let number = |name: &str| report[name].as_u64();
    let list = |name: &str| report[name].as_array().cloned();
    let numbers = (
        report["log_id"].as_str(),
        number("deliveries"),
        number("next"),
    );
    let (Some(log_id), Some(deliveries), Some(next)) = numbers else {
        return Err(exit);
    };
    let lists = (list("gaps"), list("damaged"));
    let (Some(gaps), Some(damaged)) = lists else {
        return Err(exit);
    };
    let (log_id, first) = (log_id.to_owned(), number("first").unwrap_or(next));
    Ok(Verified {
        log_id,
        deliveries,
        first,
        next,
        gaps,
        damaged,
        exit,
    })
}

/// Every delivery in the log of `site` by its id.
///
/// # Errors
/// How the command ended, when that was not well.
pub async fn export(site: &Site) -> Result<BTreeMap<String, Exported>, Exit> {
    let (deliveries, exit) = salvage(site).await;
    if exit.code() == Some(0) {
        Ok(deliveries)
    } else {
        Err(exit)
    }
}

/// Every delivery that can still be read, and how the command ended.
pub async fn salvage(site: &Site) -> (BTreeMap<String, Exported>, Exit) {
    let exit = Process::run("creel log export", site.creel(&["log", "export"]), WITHIN).await;
    let mut deliveries = BTreeMap::new();
    for line in exit.stdout.lines() {
        let (id, exported) = delivery(line);
        let twice = deliveries.insert(id, exported);
        assert!(twice.is_none(), "an id is in the log twice: {line:.200}");
    }
    (deliveries, exit)
}

fn delivery(line: &str) -> (String, Exported) {
    let value: Value = serde_json::from_str(line).expect("a JSON line");
    let text = |name: &str| value[name].as_str().expect("a text").to_owned();
    let body = STANDARD.decode(text("body_base64")).expect("base64");
    let pair = |pair: &Value| {
        let side = |nth: usize| pair[nth].as_str().expect("a text").to_owned();
        (side(0), side(1))
    };
    let headers = value["headers"]
        .as_array()
        .expect("pairs")
        .iter()
        .map(pair)
        .collect();
    (
        text("id"),
        Exported {
            source: text("source"),
            body,
            headers,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exported_line_gives_back_every_byte() {
        let line = r#"{"id":"l-3","source":"github","body_base64":"AP8=","headers":[["a","1"],["a","2"]]}"#;
        let (id, exported) = delivery(line);
        assert_eq!(id, "l-3");
        assert_eq!(exported.body, [0, 255]);
        assert_eq!(
            exported.headers,
            [("a".into(), "1".into()), ("a".into(), "2".into())]
        );
    }
}

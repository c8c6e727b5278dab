//! `creel doctor`: what the proxies between a sender and the receiver do to a request.

use std::collections::BTreeMap;

use creel_common::log::OperateError;
use creel_common::log::remote::RemoteLog;
use creel_common::log::wire::{DOCTOR_HEADER, HeaderView, SeenView};
use creel_common::time::{Clock, SystemClock};
use creel_receiver::verify::{SampleRequest, Signed};
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::commands::send::{Target, client, sign, source, verifier};
use crate::commands::{block_on, connect::Connect};
use crate::failure::said;
use crate::output::{BAD, BOLD, GOOD, Output, paint, plain};
use crate::settings::Global;

/// Send a signed request through the public URL, and say what the proxies made of it
///
/// Signs a request as the provider would, sends it to the source's public URL, and asks the receiver
/// what arrived: method, URL, headers, body. It is judged like any other and not stored. Says what was
/// changed on the way, and what to set. Needs an operator's token. Exits with 1 when the request did
/// not arrive or was not genuine any more.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source
    source: String,
    /// Where to send it [default: `public_url` of the source, or the receiver's public listener]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Something that is not as it was sent.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    what: String,
    sent: Option<String>,
    arrived: Option<String>,
}

#[derive(Debug, Serialize)]
struct Findings {
    url: String,
    /// What the sender was answered.
    status: u16,
    arrived: bool,
    genuine: bool,
    changes: Vec<Change>,
    /// What to do, in order of importance.
    advice: Vec<String>,
    seen: Option<SeenView>,
}

/// What was sent.
struct Sent {
    url: String,
    method: String,
    headers: HeaderMap,
    body: Vec<u8>,
    status: u16,
}

/// Sends, asks, compares.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let config = global.load()?;
    let source = source(&config, &args.source)?;
    let log = args.connect.open(global)?;
    let url = args.url.clone().or_else(|| config.url_of(source));
    let target = Target::of(&config, source, url.as_deref(), &global.run_dir())?;
    let verifier = verifier(&config, source)?;
    let (sent, seen) = block_on(async {
        let visit = log.expect_visit().await?;
        let now = i64::try_from(SystemClock::default().wall().millis())?;
        let mut sample = verifier.pack().sample(rand::random::<u32>().into(), now);
        let nonce = HeaderValue::from_str(&visit.nonce)?;
        sample.headers.insert(DOCTOR_HEADER, nonce);
        let signed = sign(&verifier, &sample, &target.signed, now)?;
        let mut sent = send(&target, sample, signed).await?;
        // as the receiver shows it
        sent.url = verifier.masked(&sent.url);
        Ok((sent, seen(&log).await?))
    })?;
    let findings = compare(sent, seen);
    args.output.print(&findings, text)?;
    if findings.genuine {
        Ok(())
    } else {
        Err(said())
    }
}

async fn send(target: &Target, sample: SampleRequest, signed: Signed) -> anyhow::Result<Sent> {
    let url = target.request_url(&signed.url);
    let answer = client(target)?
        .request(sample.method.clone(), &url)
        .headers(signed.headers.clone())
        .body(sample.body.clone())
        .send()
        .await
        .map_err(|error| anyhow::anyhow!("no answer from {url}: {}", error.without_url()))?;
    Ok(Sent {
        url,
        method: sample.method.to_string(),
        headers: signed.headers,
        body: sample.body,
        status: answer.status().as_u16(),
    })
}

async fn seen(log: &RemoteLog) -> anyhow::Result<Option<SeenView>> {
    match log.seen().await {
        Ok(seen) => Ok(Some(seen)),
        Err(OperateError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn compare(sent: Sent, seen: Option<SeenView>) -> Findings {
    let (changes, advice) = match &seen {
        Some(seen) => (changes(&sent, seen), advice(seen)),
        None => (Vec::new(), vec![not_arrived(&sent)]),
    };
    Findings {
        genuine: seen
            .as_ref()
            .is_some_and(|seen| seen.diagnosis == "genuine"),
        arrived: seen.is_some(),
        url: sent.url,
        status: sent.status,
        changes,
        advice,
        seen,
    }
}

fn not_arrived(sent: &Sent) -> String {
    if sent.status == 403 {
        return "it was answered 403: where this command sends from is in none of the source's `allow` \
                networks (the receiver's log then has `reason=\"address\"`), or a proxy refused it"
            .to_owned();
    }
    format!(
        "it was answered {} and did not arrive as a request to this source: the URL leads elsewhere, \
         a proxy answered it itself, changed its path or method, or took the header `{DOCTOR_HEADER}` away",
        sent.status
    )
}

fn changes(sent: &Sent, seen: &SeenView) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |what: &str, before: &str, after: &str| {
        if before != after {
            changes.push(Change {
                what: what.to_owned(),
                sent: Some(before.to_owned()),
                arrived: Some(after.to_owned()),
            });
        }
    };
    compare("method", &sent.method, &seen.method);
    compare("URL", &sent.url, &seen.url);
    let digest = hex::encode(Sha256::digest(&sent.body));
    let body = |bytes: u64, digest: &str| format!("{bytes} bytes, SHA-256 {digest}");
    compare(
        "body",
        &body(sent.body.len() as u64, &digest),
        &body(seen.body_bytes, &seen.body_sha256),
    );
    changes.extend(headers(sent, seen));
    changes
}

/// What any client or server sets itself.
const OWN: [http::HeaderName; 4] = [HOST, CONTENT_LENGTH, CONNECTION, ACCEPT];

fn headers(sent: &Sent, seen: &SeenView) -> Vec<Change> {
    let is_own = |name: &str| OWN.iter().any(|own| own == name) || name == DOCTOR_HEADER;
    let mut before: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &sent.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        before.entry(name.as_str()).or_default().push(value);
    }
    let mut after: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for header in &seen.headers {
        after.entry(&header.name).or_default().push(value(header));
    }
    let names: std::collections::BTreeSet<&str> =
        before.keys().chain(after.keys()).copied().collect();
    let names = names.into_iter().filter(|name| !is_own(name));
    names
        .filter_map(|name| {
            let (sent, arrived) = (before.get(name), after.get(name));
            let same = match (sent, arrived) {
                (Some(sent), Some(arrived)) => {
                    sent.len() == arrived.len()
                        && sent
                            .iter()
                            .zip(arrived)
                            .all(|(a, b)| a == b || digest(a) == *b)
                }
                _ => false,
            };
            // a credential is not shown, not even when it is our own
            let shown = |values: &Vec<String>| values.join(", ");
            let secret =
                arrived.is_some_and(|values| values.iter().any(|v| v.starts_with("sha256:")));
            (!same).then(|| Change {
                what: format!("header {name}"),
                sent: sent.map(|values| match secret || is_credential(name) {
                    true => values
                        .iter()
                        .map(|value| digest(value))
                        .collect::<Vec<_>>()
                        .join(", "),
                    false => shown(values),
                }),
                arrived: arrived.map(shown),
            })
        })
        .collect()
}

fn is_credential(name: &str) -> bool {
    ["authorization", "token", "secret", "key"]
        .iter()
        .any(|part| name.contains(part))
}

fn value(header: &HeaderView) -> String {
    let coded = header
        .value_base64
        .as_ref()
        .map(|coded| format!("(base64) {coded}"));
    header.value.clone().or(coded).unwrap_or_default()
}

/// As the receiver shows credentials.
fn digest(value: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(value)))
}

fn advice(seen: &SeenView) -> Vec<String> {
    let mut advice = Vec::new();
    if seen.diagnosis != "genuine" {
        advice.push(seen.hint.clone());
    }
    let forwarded = seen
        .headers
        .iter()
        .any(|header| header.name.starts_with("x-forwarded-"));
    if forwarded && !seen.peer_trusted {
        advice.push(format!(
            "a proxy at {} adds X-Forwarded headers that are not believed, so every sender looks like \
             {}: if it is yours, and sets them itself, add \"{}\" to `receiver.trusted_proxies`",
            seen.peer, seen.remote, seen.peer
        ));
    }
    advice
}

fn text(findings: &Findings) -> String {
    let (colour, verdict) = match (findings.arrived, findings.genuine) {
        (true, true) => (GOOD, "arrived, and is genuine"),
        (true, false) => (BAD, "arrived, and is not genuine any more"),
        (false, _) => (BAD, "did not arrive"),
    };
    let mut text = format!("{}  {}\n", plain(&findings.url), paint(colour, verdict));
    for change in &findings.changes {
        let part = |side: &Option<String>| {
            side.as_deref()
                .map_or("-".to_owned(), |text| plain(text).into_owned())
        };
        let what = paint(BOLD, &plain(&change.what));
        text += &format!(
            "\n{what}\n  sent     {}\n  arrived  {}\n",
            part(&change.sent),
            part(&change.arrived)
        );
    }
    if findings.arrived && findings.changes.is_empty() {
        text += "\nnothing was changed on the way\n";
    }
    for advice in &findings.advice {
        text += &format!("\n{}\n", plain(advice));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.insert("authorization", HeaderValue::from_static("Bearer canary"));
        Sent {
            url: "https://h.example/in/x".into(),
            method: "POST".into(),
            headers,
            body: b"{}".to_vec(),
            status: 200,
        }
    }

    fn seen(headers: &[(&str, String)]) -> SeenView {
        let view = |(name, value): &(&str, String)| HeaderView {
            name: (*name).to_owned(),
            value: Some(value.clone()),
            value_base64: None,
        };
        SeenView {
            source: "x".into(),
            method: "POST".into(),
            target: "/in/x".into(),
            url: "https://h.example/in/x".into(),
            remote: "127.0.0.1".parse().unwrap(),
            peer: "127.0.0.1".parse().unwrap(),
            peer_trusted: false,
            headers: headers.iter().map(view).collect(),
            body_bytes: 2,
            body_sha256: hex::encode(Sha256::digest(b"{}")),
            diagnosis: "genuine".into(),
            hint: String::new(),
        }
    }

    #[test]
    fn what_arrives_as_it_was_sent_is_no_change_and_credentials_are_not_shown() {
        let untouched = [
            ("x-a", "1".to_owned()),
            ("authorization", digest("Bearer canary")),
            ("host", "h.example".to_owned()),
        ];
        let findings = compare(sent(), Some(seen(&untouched)));
        assert!(
            findings.genuine && findings.changes.is_empty(),
            "{findings:?}"
        );
        let findings = compare(sent(), Some(seen(&[("x-forwarded-for", "::1".to_owned())])));
        let what: Vec<&str> = findings
            .changes
            .iter()
            .map(|change| change.what.as_str())
            .collect();
        assert_eq!(
            what,
            [
                "header authorization",
                "header x-a",
                "header x-forwarded-for"
            ]
        );
        assert!(findings.advice[0].contains("receiver.trusted_proxies"));
        let text = text(&findings) + &serde_json::to_string(&findings).unwrap();
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn a_request_from_a_network_that_is_not_allowed_is_told_so() {
        let refused = Sent {
            status: 403,
            ..sent()
        };
        let found = compare(refused, None);
        assert!(!found.arrived && found.advice[0].contains("`allow`"));
    }

    #[test]
    fn a_request_that_does_not_arrive_is_told_with_its_answer() {
        let findings = compare(sent(), None);
        assert!(!findings.arrived && !findings.genuine);
        assert!(text(&findings).contains("answered 200"));
    }
}

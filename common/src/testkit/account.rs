//! An account of a log: all that it holds, as text, so that two logs can be compared.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::attempt::Attempt;
use crate::delivery::Delivery;
use crate::log::{Find, Found, Operate, PAGE_MAX, Standing};

/// Most acts that an account tells.
const ACTS: u32 = 1000;

/// Every delivery byte for byte (bodies by their digest) with where it stands and its attempts, every
/// route, dead letter and recorded act. The log's id is left out: a restored log has another one.
///
/// # Panics
/// When the log does not answer.
pub async fn account(log: &dyn Operate) -> String {
    let mut text = String::new();
    deliveries(log, &mut text).await;
    for route in log.routes().await.expect("routes") {
        let (waiting, dead) = (route.waiting, route.dead);
        line(
            &mut text,
            format_args!(
                "route {} of {}: paused {}, epoch {}, floor {}, waiting {waiting}, dead {dead}",
                route.name, route.source, route.paused, route.epoch, route.floor
            ),
        );
    }
    dead_letters(log, &mut text).await;
    for act in log.audit(ACTS).await.expect("audit") {
        let why = act.actor.why.as_deref().unwrap_or("-");
        line(
            &mut text,
            format_args!(
                "act {} at {}: {} by {} because {why}, {} of it",
                act.action,
                act.at.millis(),
                act.subject,
                act.actor.who,
                act.count
            ),
        );
    }
    text
}

async fn deliveries(log: &dyn Operate, text: &mut String) {
    let mut from = None;
    loop {
        let find = Find {
            from,
            bodies: true,
            limit: PAGE_MAX,
            ..Find::default()
        };
        let page = log.find(find).await.expect("deliveries");
        for found in &page.items {
            delivery(found, text);
            for (route, standing) in &found.standings {
                line(
                    text,
                    format_args!("  on {route}: {}", standing_text(standing)),
                );
            }
            for attempt in log.attempts(found.id).await.expect("attempts") {
                line(text, format_args!("  tried {}", attempt_text(&attempt)));
            }
        }
        from = page.next;
        if from.is_none() {
            return;
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes all");
}

fn delivery(found: &Found, text: &mut String) {
    let Delivery {
        envelope,
        head,
        body,
    } = &found.delivery;
    let digest = hex::encode(Sha256::digest(body));
    line(
        text,
        format_args!(
            "delivery {} of {}, event {:?}, at {}: {} {}, from {:?}, named {:?}, key {:?}, \
             authenticated {}, {} bytes, sha256 {digest}",
            found.id.offset,
            envelope.source,
            envelope.event_type,
            envelope.received_at.millis(),
            head.method,
            head.target,
            head.remote,
            head.event_id,
            head.key.as_ref().map(|key| &key.0),
            head.body_authenticated,
            found.body_bytes,
        ),
    );
    for header in &head.headers {
        let value = header.value.escape_ascii();
        line(text, format_args!("  {}: {value}", header.name));
    }
}

fn standing_text(standing: &Standing) -> String {
    match standing {
        Standing::Pending => "pending".to_owned(),
        Standing::Open { attempt } => format!("open, try {attempt}"),
        Standing::Waiting { due, attempts } => {
            format!("waiting until {} after {attempts}", due.millis())
        }
        Standing::Settled => "settled".to_owned(),
        Standing::Dead {
            attempts,
            died_at,
            reason,
        } => format!("dead since {} after {attempts}: {reason}", died_at.millis()),
    }
}

fn attempt_text(attempt: &Attempt) -> String {
    let report = &attempt.report;
    format!(
        "{} on {}: {} at {} for {} ms, status {:?}, error {:?}, answer {}",
        attempt.number,
        attempt.route,
        attempt.verdict.word(),
        report.started_at.millis(),
        report.duration_ms,
        report.status,
        report.error,
        report.response.escape_ascii()
    )
}

async fn dead_letters(log: &dyn Operate, text: &mut String) {
    let mut from = None;
    loop {
        let find = Find {
            from,
            limit: PAGE_MAX,
            ..Find::default()
        };
        let page = log.dead(find).await.expect("dead letters");
        for letter in &page.items {
            line(
                text,
                format_args!(
                    "dead {} on {} of {}, event {:?}: died {} after {} tries, status {:?}: {}",
                    letter.id.offset,
                    letter.route,
                    letter.source,
                    letter.event_type,
                    letter.died_at.millis(),
                    letter.attempts,
                    letter.status,
                    letter.reason
                ),
            );
        }
        from = page.next;
        if from.is_none() {
            return;
        }
    }
}

//! The end of the demo: two tables and a verdict.

use std::time::Duration;

use super::ledger::Closed;
use crate::output::{BAD, GOOD, Sheet, Tone, count, length, paint, plain, toned};

/// The reconciliation as text.
pub fn text(closed: &Closed, took: Duration) -> String {
    let mut text = format!("{}\n\n{}\n", sources(closed), routes(closed));
    for fault in &closed.faults {
        text += &format!("\n{} {}", paint(BAD, "✗"), plain(fault));
    }
    let verdict = if closed.adds_up {
        paint(GOOD, "everything adds up")
    } else {
        paint(BAD, "this does not add up")
    };
    format!(
        "{text}\n{verdict}: {} lost, in {}",
        count(closed.lost),
        length(took)
    )
}

fn sources(closed: &Closed) -> String {
    let mut sheet = Sheet::new(&[
        "sender",
        "acknowledged>",
        "duplicates>",
        "refused>",
        "in the log>",
        "lost>",
    ]);
    for row in &closed.sources {
        sheet.row([
            toned(&row.source, Tone::Plain),
            toned(count(row.acknowledged), Tone::Plain),
            toned(count(row.duplicates), Tone::Plain),
            toned(count(row.refused), Tone::Plain),
            toned(count(row.in_log), Tone::Plain),
            toned(count(row.lost), lost(row.lost)),
        ]);
    }
    let sum = |of: fn(&super::ledger::SourceRow) -> u64| closed.sources.iter().map(of).sum();
    sheet.row([
        "all".to_owned(),
        count(sum(|row| row.acknowledged)),
        count(sum(|row| row.duplicates)),
        count(sum(|row| row.refused)),
        count(sum(|row| row.in_log)),
        count(sum(|row| row.lost)),
    ]);
    sheet.text()
}

fn routes(closed: &Closed) -> String {
    let mut sheet = Sheet::new(&[
        "route",
        "acknowledged>",
        "delivered>",
        "again>",
        "dead>",
        "reprocessed>",
        "lost>",
    ]);
    for row in &closed.routes {
        sheet.row([
            toned(&row.route, Tone::Plain),
            toned(count(row.acknowledged), Tone::Plain),
            toned(count(row.delivered), Tone::Plain),
            toned(count(row.again), Tone::Plain),
            toned(count(row.dead), Tone::Plain),
            toned(count(row.reprocessed), Tone::Plain),
            toned(count(row.lost), lost(row.lost)),
        ]);
    }
    sheet.text()
}

fn lost(lost: u64) -> Tone {
    if lost == 0 { Tone::Good } else { Tone::Bad }
}

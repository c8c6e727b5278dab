//! One call of a destination: timed, and survived whatever it does.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use creel_common::attempt::{ERROR_BYTES_MAX, RESPONSE_BYTES_MAX, Report};
use creel_common::outcome::Outcome;
use creel_common::time::Clock;
use futures_util::FutureExt;

use crate::destinations::{Attempted, Destination, Item};

/// Calls `destination` with a batch. Answers one result per item, times filled in.
///
/// What takes longer than `timeout`, panics or answers too little is to be tried again. After a
/// panic the items of the batch are tried one by one: only the one that causes it fails.
pub(crate) async fn call(
    destination: &dyn Destination,
    batch: &mut [Item],
    timeout: Duration,
    clock: &dyn Clock,
) -> Vec<Attempted> {
    if let Some(results) = attempt(destination, batch, timeout, clock).await {
        return results;
    }
    if batch.len() == 1 {
        return vec![panicked()];
    }
    let mut results = Vec::with_capacity(batch.len());
    for at in 0..batch.len() {
        let alone = attempt(destination, &mut batch[at..=at], timeout, clock).await;
        results.extend(alone.unwrap_or_else(|| vec![panicked()]));
    }
    results
}

fn panicked() -> Attempted {
    // what a panic says may hold what the destination was given
    Attempted::retry("the destination panicked")
}

/// One try; `None` when it panicked.
async fn attempt(
    destination: &dyn Destination,
    batch: &mut [Item],
    timeout: Duration,
    clock: &dyn Clock,
) -> Option<Vec<Attempted>> {
    let (started_at, started) = (clock.wall(), clock.mono());
    for item in batch.iter_mut() {
        item.started_at = started_at;
    }
    let calling = AssertUnwindSafe(destination.deliver(batch)).catch_unwind();
    let mut results = match tokio::time::timeout(timeout, calling).await {
        Ok(Ok(results)) => results,
        Ok(Err(_)) => return None,
        Err(_) => vec![Attempted::retry(format!("no answer within {timeout:?}")); batch.len()],
    };
    results.resize_with(batch.len(), || {
        Attempted::retry("the destination said nothing")
    });
    let took = clock.mono().saturating_sub(started);
    for result in &mut results {
        let report = &mut result.report;
        report.started_at = started_at;
        report.duration_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        cut(report);
    }
    Some(results)
}

/// Cuts what is kept of a try to its bounds.
pub(crate) fn cut(report: &mut Report) {
    report.response.truncate(RESPONSE_BYTES_MAX);
    if let Some(error) = &mut report.error {
        truncate(error, ERROR_BYTES_MAX);
    }
}

fn truncate(text: &mut String, bytes_max: usize) {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.truncate(end);
}

/// How a result is logged: what failed is news, what arrived is not.
pub(crate) fn log(item: &Item, result: &Attempted) {
    let source = item.delivery.envelope.source.as_str();
    let report = &result.report;
    let error = report.error.as_deref().unwrap_or_default();
    match &result.outcome {
        Outcome::Reject => tracing::warn!(
            source, delivery = %item.id, route = &*item.route, attempt = item.attempt,
            status = report.status, error, "rejected"
        ),
        Outcome::Retry { .. } => tracing::warn!(
            source, delivery = %item.id, route = &*item.route, attempt = item.attempt,
            status = report.status, error, "failed"
        ),
        _ => tracing::debug!(
            source, delivery = %item.id, route = &*item.route, attempt = item.attempt,
            status = report.status, duration_ms = report.duration_ms, "done"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let mut text = "é".repeat(10);
        truncate(&mut text, 5);
        assert_eq!(text, "éé");
        truncate(&mut text, 100);
        assert_eq!(text, "éé");
    }
}

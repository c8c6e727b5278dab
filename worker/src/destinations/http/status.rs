//! What a status says: the one table of it.

use std::collections::BTreeSet;
use std::time::Duration;

use creel_common::outcome::Outcome;
use creel_common::time::Timestamp;
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::destinations::RETRY_AFTER_MAX;

/// The same request will be refused every time. All else that is not 2xx may pass later: a 401, 403
/// or 404 is most often a destination that is being set up, and a redirect is never followed.
const REJECTED: [u16; 14] = [
    400, 405, 406, 410, 411, 413, 414, 415, 417, 422, 431, 451, 501, 505,
];

/// What each status means for one destination.
#[derive(Debug, Clone)]
pub(super) struct Statuses {
    rejected: BTreeSet<u16>,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            rejected: REJECTED.into(),
        }
    }
}

impl Statuses {
    /// This status is retried from now on; false when it is none that could fail.
    pub(super) fn retry(&mut self, status: u16) -> bool {
        self.rejected.remove(&status);
        (300..600).contains(&status)
    }

    /// A whole class, such as `4xx`, is retried from now on; false when it is none.
    pub(super) fn retry_class(&mut self, class: &str) -> bool {
        let hundred = match class {
            "3xx" => 300,
            "4xx" => 400,
            "5xx" => 500,
            _ => return false,
        };
        self.rejected
            .retain(|status| !(hundred..hundred + 100).contains(status));
        true
    }

    /// What came of a request that was answered with `status`.
    pub(super) fn outcome(&self, status: u16, after: Option<Duration>) -> Outcome {
        match status {
            200..=299 => Outcome::Delivered,
            _ if self.rejected.contains(&status) => Outcome::Reject,
            _ => Outcome::Retry { after },
        }
    }
}

/// The status in words, for people.
pub(super) fn reason(status: u16) -> String {
    let words = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    match (status, words) {
        (300..=399, Some(words)) => {
            format!("answered {status} {words}; redirects are not followed")
        }
        (_, Some(words)) => format!("answered {status} {words}"),
        (_, None) => format!("answered {status}"),
    }
}

/// What `Retry-After` asks for: seconds, or the time to a date (RFC 9110, 10.2.3) from the answer's own
/// `Date`, so that neither clock has to be right; from `now` where there is none.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let answered = headers.get(DATE).and_then(|text| date(text.to_str().ok()?));
        date(text)?.since(answered.unwrap_or(now))
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

fn date(text: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let date = parser.parse_timestamp(text).ok()?;
    u64::try_from(date.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str, now_secs: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, Timestamp::from_secs(now_secs)).map(|after| after.as_secs())
    }

    #[test]
    fn a_date_is_taken_from_the_answers_own_whatever_our_clock_says() {
        let mut headers = HeaderMap::new();
        let text = http::HeaderValue::from_static;
        headers.insert(RETRY_AFTER, text("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert(DATE, text("Sun, 06 Nov 1994 08:49:07 GMT"));
        for now in [0, 784_111_777, 2_000_000_000] {
            let after = retry_after(&headers, Timestamp::from_secs(now));
            assert_eq!(after, Some(Duration::from_secs(30)), "{now}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("120", 0), Some(120));
        assert_eq!(
            after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 30),
            Some(30)
        );
        assert_eq!(
            after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 30),
            Some(0)
        );
        for text in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(text, 0), None, "{text:?}");
        }
    }

    #[test]
    fn nobody_may_ask_for_more_than_the_bound() {
        assert_eq!(
            after("99999999999999999999999", 0),
            Some(RETRY_AFTER_MAX.as_secs())
        );
    }

    #[test]
    fn only_what_will_never_pass_is_rejected() {
        let statuses = Statuses::default();
        for status in [
            300, 301, 308, 401, 403, 404, 408, 409, 418, 425, 429, 500, 502, 503, 599, 999,
        ] {
            let outcome = statuses.outcome(status, None);
            assert_eq!(outcome, Outcome::Retry { after: None }, "{status}");
        }
        for status in REJECTED {
            assert_eq!(statuses.outcome(status, None), Outcome::Reject, "{status}");
        }
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(
                statuses.outcome(status, None),
                Outcome::Delivered,
                "{status}"
            );
        }
    }

    #[test]
    fn configuration_may_ask_for_more_patience() {
        let mut statuses = Statuses::default();
        assert!(statuses.retry(422) && statuses.retry_class("5xx"));
        assert!(!statuses.retry(200) && !statuses.retry_class("2xx"));
        for status in [422, 501, 505] {
            assert_eq!(
                statuses.outcome(status, None),
                Outcome::Retry { after: None }
            );
        }
        assert_eq!(statuses.outcome(400, None), Outcome::Reject);
    }
}

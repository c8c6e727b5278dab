//! Moments as people type them: a date and time, or a duration ago.

use creel_common::time::Timestamp;
use jiff::{SignedDuration, Span, SpanRelativeTo};

/// A moment, typed absolutely (`2026-11-23T17:00:00Z`) or as an age (`90s`, `2h`, `7d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(Timestamp),
    /// This long before the command started.
    Ago(SignedDuration),
}

impl When {
    /// The moment, as seen from `now`.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(age) => {
                let millis = u64::try_from(age.as_millis()).unwrap_or(0);
                Timestamp(now.millis().saturating_sub(millis))
            }
        }
    }
}

/// Reads a moment; for clap.
pub fn parse(text: &str) -> Result<When, String> {
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        let millis =
            u64::try_from(stamp.as_millisecond()).map_err(|_| "a time before 1970".to_owned())?;
        return Ok(When::At(Timestamp(millis)));
    }
    age(text).map(When::Ago).ok_or_else(|| {
        "expected a time such as 2026-11-23T17:00:00Z, or an age such as 90s, 2h or 7d".to_owned()
    })
}

fn age(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (!age.is_negative()).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_counts_back_from_now() {
        let now = Timestamp::from_secs(1_000_000);
        let at = |text: &str| parse(text).map(|when| when.from(now));
        assert_eq!(at("90s"), Ok(Timestamp::from_secs(999_910)));
        assert_eq!(at("2h"), Ok(Timestamp::from_secs(992_800)));
        assert_eq!(at("7d"), Ok(Timestamp::from_secs(395_200)));
    }

    #[test]
    fn a_date_is_taken_as_it_stands() {
        let when = parse("1970-01-01T00:01:00Z").map(|when| when.from(Timestamp(0)));
        assert_eq!(when, Ok(Timestamp::from_secs(60)));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "yesterday", "5", "-2h", "1950-01-01T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! How senders write time, and how far off it may be.

use std::time::Duration;

use super::reason::Reason;

/// A notation of time. All are strict: digits and nothing else, or the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Unix,
    UnixMs,
    UnixUs,
    UnixNs,
    /// Told apart by the number of digits.
    UnixAuto,
    Rfc3339,
    HttpDate,
}

pub(crate) const NAMES: &[(&str, Clock)] = &[
    ("unix", Clock::Unix),
    ("unix-ms", Clock::UnixMs),
    ("unix-us", Clock::UnixUs),
    ("unix-ns", Clock::UnixNs),
    ("unix-auto", Clock::UnixAuto),
    ("rfc3339", Clock::Rfc3339),
    ("http-date", Clock::HttpDate),
];

impl Clock {
    /// Milliseconds since 1970.
    pub fn read(self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?;
        match self {
            Clock::Rfc3339 => text
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|time| time.as_millisecond()),
            Clock::HttpDate => jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_timestamp(text)
                .ok()
                .map(|time| time.as_millisecond()),
            _ => {
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                let number: i64 = text.parse().ok()?;
                match self.unit(text.len()) {
                    Clock::Unix => number.checked_mul(1000),
                    Clock::UnixUs => Some(number / 1000),
                    Clock::UnixNs => Some(number / 1_000_000),
                    _ => Some(number),
                }
            }
        }
    }

    /// The time in this notation.
    pub fn write(self, unix_ms: i64) -> String {
        let instant =
            jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        match self {
            Clock::Unix | Clock::UnixAuto => unix_ms.div_euclid(1000).to_string(),
            Clock::UnixMs => unix_ms.to_string(),
            Clock::UnixUs => format!("{unix_ms}000"),
            Clock::UnixNs => format!("{unix_ms}000000"),
            Clock::Rfc3339 => instant.to_string(),
            Clock::HttpDate => instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        }
    }

    fn unit(self, digits: usize) -> Clock {
        match self {
            Clock::UnixAuto if digits <= 11 => Clock::Unix,
            Clock::UnixAuto if digits <= 14 => Clock::UnixMs,
            Clock::UnixAuto if digits <= 17 => Clock::UnixUs,
            Clock::UnixAuto => Clock::UnixNs,
            other => other,
        }
    }
}

/// How old, and how far ahead, a signed time may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tolerance {
    pub past: Duration,
    pub future: Duration,
}

impl Tolerance {
    /// What Standard Webhooks, Stripe and most others use.
    pub const DEFAULT: Tolerance = Tolerance::both(Duration::from_secs(300));

    pub const fn both(limit: Duration) -> Self {
        Self {
            past: limit,
            future: limit,
        }
    }

    pub fn judge(&self, time_unix_ms: i64, now_unix_ms: i64) -> Result<(), Reason> {
        let age_ms = i128::from(now_unix_ms) - i128::from(time_unix_ms);
        if age_ms > self.past.as_millis() as i128 {
            return Err(Reason::Stale);
        }
        if -age_ms > self.future.as_millis() as i128 {
            return Err(Reason::Future);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_digits_are_a_unix_time() {
        assert_eq!(Clock::Unix.read(b"1767806829"), Some(1_767_806_829_000));
        for text in [
            "",
            " 1",
            "1 ",
            "+1",
            "-1",
            "1e9",
            "1.0",
            "0x1",
            "1767806829abc",
            "\u{661}",
            "99999999999999999999999",
            "9223372036854775807",
        ] {
            assert_eq!(Clock::Unix.read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_notation_reads_what_it_writes() {
        let now_unix_ms = 1_767_806_829_000;
        for (name, clock) in NAMES {
            let text = clock.write(now_unix_ms);
            assert_eq!(
                clock.read(text.as_bytes()),
                Some(now_unix_ms),
                "{name} {text}"
            );
        }
        assert_eq!(
            Clock::UnixAuto.read(b"1767806829123"),
            Some(1_767_806_829_123)
        );
        assert_eq!(
            Clock::HttpDate.read(b"Wed, 07 Jan 2026 17:27:09 GMT"),
            Some(now_unix_ms)
        );
    }

    #[test]
    fn the_tolerance_is_inclusive_and_holds_both_ways() {
        let tolerance = Tolerance::DEFAULT;
        let now = 1_767_806_829_000;
        assert_eq!(tolerance.judge(now - 300_000, now), Ok(()));
        assert_eq!(tolerance.judge(now - 300_001, now), Err(Reason::Stale));
        assert_eq!(tolerance.judge(now + 300_000, now), Ok(()));
        assert_eq!(tolerance.judge(now + 300_001, now), Err(Reason::Future));
        assert_eq!(tolerance.judge(i64::MIN, i64::MAX), Err(Reason::Stale));
    }
}

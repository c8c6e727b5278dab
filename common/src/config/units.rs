//! Durations, sizes, rates and times as people type them: always with a unit, or an offset.

use std::time::Duration;

use crate::time::Timestamp;

const DURATION_UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

/// Reads `7d`, `1h30m`, `250ms`: whole numbers with units, the largest unit first.
///
/// `None` for anything else, for a bare number above all, and for what does not fit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest_unit = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let letters = after
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(after.len());
        let (name, after) = after.split_at(letters);
        let (_, unit) = DURATION_UNITS.iter().find(|(known, _)| *known == name)?;
        if *unit >= smallest_unit {
            return None;
        }
        smallest_unit = *unit;
        total = total.checked_add(number.checked_mul(*unit)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total))
}

/// Writes a duration the way [`parse_duration`] reads it; below a millisecond is cut off.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    // weeks are read but not written: people think of 30 days, not of 4w2d
    for (name, unit) in &DURATION_UNITS[1..] {
        if rest >= *unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Reads `1GiB`, `512KiB`, `10MB`, `4096B` as bytes; `None` for a bare number or another unit.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, name) = leading_number(text)?;
    let (_, unit) = SIZE_UNITS.iter().find(|(known, _)| *known == name)?;
    number.checked_mul(*unit)
}

/// Writes bytes the way [`parse_size`] reads them, with the largest unit that is exact.
pub fn show_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || "0B".to_owned(),
            |(name, unit)| format!("{}{name}", bytes / unit),
        )
}

/// Reads `100/s`, `30/m`, `1000/h` as a number per second.
pub fn parse_rate(text: &str) -> Option<f64> {
    let (number, per) = text.split_once('/')?;
    let seconds = match per {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some(number / seconds)
}

/// Reads `2026-11-23T17:00:00Z` or the same with another offset; `None` without one, and before 1970.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let read: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(read.as_millisecond()).ok().map(Timestamp)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        let read = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(read("7d"), Some(7 * 86_400_000));
        assert_eq!(read("1h30m"), Some(5_400_000));
        assert_eq!(read("250ms"), Some(250));
        assert_eq!(read("1m500ms"), Some(60_500));
        assert_eq!(read("2w"), Some(14 * 86_400_000));
        assert_eq!(read("0s"), Some(0));
    }

    #[test]
    fn a_duration_without_a_unit_is_none() {
        for text in [
            "",
            "7",
            "d",
            "7 d",
            "7d ",
            "-1s",
            "1.5s",
            "30m1h",
            "1s1s",
            "7D",
            "1µs",
            "99999999999999999999d",
            "18446744073709551615w",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_know_powers_of_two_and_of_ten() {
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("512KiB"), Some(512 << 10));
        assert_eq!(parse_size("10MB"), Some(10_000_000));
        assert_eq!(parse_size("4096B"), Some(4096));
        for text in ["", "1", "GiB", "1 GiB", "1gib", "1G", "-1B", "99999999TiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn rates_are_per_second_minute_or_hour() {
        assert_eq!(parse_rate("100/s"), Some(100.0));
        assert_eq!(parse_rate("30/m"), Some(0.5));
        assert_eq!(parse_rate("1800/h"), Some(0.5));
        for text in ["100", "/s", "-1/s", "inf/s", "NaN/s", "1/d", "1e999/s"] {
            assert_eq!(parse_rate(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_time_has_its_offset() {
        let read = |text| parse_time(text).map(Timestamp::millis);
        assert_eq!(read("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(read("1970-01-01T01:00:01.5+01:00"), Some(1500));
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T17:00:00",
            "1969-12-31T23:59:59Z",
            "1h",
        ] {
            assert_eq!(parse_time(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0u64..1 << 50, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
    }
}

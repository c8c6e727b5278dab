//! Bounds of the log's room: what stops which of its growth, and what helps.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::engine::Space;

/// History gives way below the reserve and this part of it again.
const EASE_OF_RESERVE: u64 = 2;
/// It gives way this part of another bound before that is reached, but at least some volumes.
const EASE_OF_BOUND: u64 = 8;
/// A bound that was reached is left this part of it away, so that nothing swings to and fro.
const LEAVE: u64 = 32;

/// What may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// `log.reserve`: nothing is taken in.
    Reserve,
    /// `log.reserve_operate`: operators' changes that make state grow are refused, too.
    ReserveOperate,
    /// `log.max_bytes`: nothing is taken in.
    MaxBytes,
    /// `sources.NAME.quota`: nothing of that source is taken in.
    Quota(Arc<str>),
}

impl Bound {
    /// The word in metrics and answers. A closed list.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::ReserveOperate => "reserve_operate",
            Self::MaxBytes => "max_bytes",
            Self::Quota(_) => "quota",
        }
    }

    /// The source it is about, if it is not about all.
    pub fn source(&self) -> Option<&Arc<str>> {
        match self {
            Self::Quota(source) => Some(source),
            _ => None,
        }
    }

    /// Whether it stops all intake.
    pub fn stops_intake(&self) -> bool {
        matches!(self, Self::Reserve | Self::MaxBytes)
    }
}

/// The setting's place in the configuration.
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota(source) => write!(f, "sources.{source}.quota"),
            of_the_log => write!(f, "log.{}", of_the_log.word()),
        }
    }
}

/// A bound that is reached. Shown, it says what would help: the one text for logs, answers and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Which one.
    pub bound: Bound,
    /// What it is set to, in bytes.
    pub limit_bytes: u64,
    /// Bytes free for a reserve, bytes taken for the others.
    pub at_bytes: u64,
    /// By how many bytes it has to change until this is over.
    pub missing_bytes: u64,
    /// Bytes of ballast that could be given away.
    pub ballast_bytes: u64,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bound,
            limit_bytes: limit,
            at_bytes: at,
            missing_bytes: missing,
            ballast_bytes: ballast,
        } = self;
        match bound {
            Bound::Reserve | Bound::ReserveOperate => {
                write!(
                    f,
                    "the disk is nearly full: {at} bytes are free, below `{bound}` of {limit} bytes; \
                     free {missing} bytes on it, add workers so that volumes can go, "
                )?;
                // reprocessing is what the second reserve refuses
                f.write_str(match bound {
                    Bound::Reserve => "reprocess or discard dead letters",
                    _ => "discard dead letters",
                })?;
                match ballast {
                    0 => Ok(()),
                    ballast => write!(
                        f,
                        ", or delete `ballast` in the log's directory ({ballast} bytes)"
                    ),
                }
            }
            Bound::MaxBytes => write!(
                f,
                "the log takes {at} bytes, and `{bound}` is {limit}: {missing} bytes have to go; \
                 raise it, add workers so that volumes can go, or reprocess or discard dead letters"
            ),
            Bound::Quota(source) => write!(
                f,
                "{at} bytes of source `{source}` are kept, and `{bound}` is {limit}: {missing} bytes \
                 have to go; raise it, add workers so that volumes can go, or reprocess or discard its \
                 dead letters"
            ),
        }
    }
}

/// What is configured.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// Intake stops below so much free space.
    pub reserve_bytes: u64,
    /// Operators' changes, too.
    pub reserve_operate_bytes: u64,
    /// Most bytes that the log takes.
    pub max_bytes: Option<u64>,
    /// A volume is sealed at this size: room comes back so much at a time.
    pub volume_bytes: u64,
    /// Most bytes kept of a source.
    pub quotas: Vec<(Arc<str>, u64)>,
}

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        let quota = |source: &crate::config::Source| {
            Some((Arc::from(source.name.as_str()), source.quota_bytes?))
        };
        Self {
            reserve_bytes: config.log.reserve_bytes,
            reserve_operate_bytes: config.log.reserve_operate_bytes,
            max_bytes: config.log.max_bytes,
            volume_bytes: config.log.volume_bytes,
            quotas: config.sources.values().filter_map(quota).collect(),
        }
    }
}

impl Bounds {
    /// All that are set, with their bytes.
    pub fn all(&self) -> Vec<(Bound, u64)> {
        let quotas = self.quotas.iter();
        let of_the_log = [
            (Bound::Reserve, Some(self.reserve_bytes)),
            (Bound::ReserveOperate, Some(self.reserve_operate_bytes)),
            (Bound::MaxBytes, self.max_bytes),
        ];
        of_the_log
            .into_iter()
            .filter_map(|(bound, bytes)| Some((bound, bytes?)))
            .chain(quotas.map(|(source, bytes)| (Bound::Quota(source.clone()), *bytes)))
            .collect()
    }

    /// Which bounds of the log are reached; `before` are those that were.
    pub fn reached(&self, space: Space, before: &[Reached]) -> Vec<Reached> {
        let was = |bound: &Bound| before.iter().any(|r| r.bound == *bound);
        let reserve = |bound: Bound, limit: u64| {
            let opens_at = limit + limit / LEAVE;
            let closed_below = if was(&bound) { opens_at } else { limit };
            (space.free < closed_below).then(|| Reached {
                bound,
                limit_bytes: limit,
                at_bytes: space.free,
                missing_bytes: opens_at - space.free,
                ballast_bytes: space.ballast,
            })
        };
        let max = |limit: u64| {
            let bound = Bound::MaxBytes;
            let opens_at = limit - limit / LEAVE;
            let closed_from = if was(&bound) { opens_at } else { limit };
            (space.used >= closed_from).then(|| Reached {
                bound,
                limit_bytes: limit,
                at_bytes: space.used,
                missing_bytes: space.used - opens_at + 1,
                ballast_bytes: space.ballast,
            })
        };
        [
            reserve(Bound::Reserve, self.reserve_bytes),
            reserve(Bound::ReserveOperate, self.reserve_operate_bytes),
            self.max_bytes.and_then(max),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether a quota of `limit` bytes is reached with `kept`.
    pub fn quota_reached(source: &Arc<str>, limit: u64, kept: u64) -> Option<Reached> {
        (kept >= limit).then(|| Reached {
            bound: Bound::Quota(source.clone()),
            limit_bytes: limit,
            at_bytes: kept,
            missing_bytes: kept - limit + 1,
            ballast_bytes: 0,
        })
    }

    /// How many bytes of history have to give way for the disk, and for `max_bytes`.
    pub fn short_bytes(&self, space: Space) -> (u64, u64) {
        let wanted = self
            .reserve_bytes
            .saturating_add(self.reserve_bytes / EASE_OF_RESERVE);
        let of_max = self.max_bytes.map_or(0, |max| {
            let ease = (max / EASE_OF_BOUND).max(2 * self.volume_bytes);
            space.used.saturating_sub(max.saturating_sub(ease))
        });
        (wanted.saturating_sub(space.free), of_max)
    }

    /// How many bytes of a source's history have to give way for its quota.
    pub fn short_of_quota(&self, limit: u64, kept: u64) -> u64 {
        let ease = (limit / EASE_OF_BOUND).max(self.volume_bytes);
        kept.saturating_sub(limit.saturating_sub(ease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn bounds() -> Bounds {
        Bounds {
            reserve_bytes: 64 * MIB,
            reserve_operate_bytes: 16 * MIB,
            max_bytes: Some(320 * MIB),
            volume_bytes: 4 * MIB,
            quotas: Vec::new(),
        }
    }

    fn space(free: u64, used: u64) -> Space {
        Space {
            used,
            free,
            ballast: 0,
        }
    }

    fn words(reached: &[Reached]) -> Vec<&'static str> {
        reached.iter().map(|r| r.bound.word()).collect()
    }

    #[test]
    fn each_bound_is_reached_at_its_bytes_and_left_a_little_away_from_them() {
        let bounds = bounds();
        let at = |free, used, before: &[Reached]| bounds.reached(space(free, used), before);
        assert!(at(64 * MIB, 320 * MIB - 1, &[]).is_empty());
        let first = at(64 * MIB - 1, 0, &[]);
        assert_eq!(words(&first), ["reserve"]);
        assert_eq!(
            words(&at(16 * MIB - 1, 0, &first)),
            ["reserve", "reserve_operate"]
        );
        assert_eq!(words(&at(66 * MIB - 1, 0, &first)), ["reserve"]);
        assert_eq!(first[0].missing_bytes, 2 * MIB + 1);
        assert!(at(66 * MIB, 0, &first).is_empty());
        let max = at(u64::MAX, 320 * MIB, &[]);
        assert_eq!(words(&max), ["max_bytes"]);
        assert_eq!(words(&at(u64::MAX, 310 * MIB, &max)), ["max_bytes"]);
        assert_eq!(max[0].missing_bytes, 10 * MIB + 1);
        assert!(at(u64::MAX, 310 * MIB - 1, &max).is_empty());
    }

    #[test]
    fn history_gives_way_before_a_bound_is_reached() {
        let bounds = bounds();
        assert_eq!(bounds.short_bytes(space(96 * MIB, 280 * MIB)), (0, 0));
        assert_eq!(bounds.short_bytes(space(95 * MIB, 281 * MIB)), (MIB, MIB));
        assert_eq!(bounds.short_of_quota(80 * MIB, 70 * MIB), 0);
        assert_eq!(bounds.short_of_quota(80 * MIB, 71 * MIB), MIB);
        assert_eq!(bounds.short_of_quota(12 * MIB, 9 * MIB), MIB);
    }

    #[test]
    fn what_helps_is_said_with_the_bound() {
        let mut reached = bounds().reached(space(MIB, 0), &[]);
        reached[0].ballast_bytes = 77;
        let text = reached[0].to_string();
        for part in [
            "1048576 bytes are free, below `log.reserve` of 67108864 bytes",
            "free 68157440 bytes",
            "reprocess or discard",
            "delete `ballast` in the log's directory (77 bytes)",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        let text = reached[1].to_string();
        assert!(text.contains("`log.reserve_operate`") && !text.contains("reprocess"));
        let quota = Bounds::quota_reached(&"shop".into(), 10, 12).unwrap();
        assert!(
            quota
                .to_string()
                .contains("`sources.shop.quota` is 10: 3 bytes have to go")
        );
    }
}

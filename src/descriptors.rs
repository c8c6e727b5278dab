//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The log's files, the private listener's connections, and some: a log that cannot open a file ends
/// the process, and no sender may bring that about.
const OTHERS: u64 = 2048;
/// Even where hardly any are allowed, senders get a few.
const LEAST: usize = 64;

/// Allows this process as many descriptors as its hard limit does, and answers with the connections
/// of senders that fit beside everything else: `connections_max`, or fewer, which is told.
pub fn places(connections_max: usize) -> usize {
    let allowed = raise();
    let fit = fitting(allowed, connections_max);
    if fit < connections_max {
        tracing::warn!(
            setting = "receiver.connections_max",
            "only {allowed} descriptors are allowed (ulimit -Hn, LimitNOFILE): {fit} connections of \
             senders instead of {connections_max}"
        );
    }
    fit
}

fn raise() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: now.maximum,
        ..now
    };
    let soft = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => now.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of descriptors stays as it is");
            now.current
        }
    };
    // none means that there is no limit
    soft.unwrap_or(u64::MAX)
}

fn fitting(allowed: u64, connections_max: usize) -> usize {
    let fit = allowed.saturating_sub(OTHERS).max(allowed / 2);
    let fit = usize::try_from(fit).unwrap_or(usize::MAX).max(LEAST);
    connections_max.min(fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_never_get_all_descriptors() {
        assert_eq!(fitting(65_536, 10_000), 10_000);
        assert_eq!(fitting(u64::MAX, 1_000_000), 1_000_000);
        assert_eq!(fitting(10_000, 10_000), 7_952);
        assert_eq!(fitting(1024, 10_000), 512);
        assert_eq!(fitting(0, 10), 10);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        places(1);
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
    }
}

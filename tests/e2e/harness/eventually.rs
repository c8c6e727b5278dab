//! Waiting for something to become true, and never for a fixed time.

use std::time::{Duration, Instant};

const BETWEEN_PROBES: Duration = Duration::from_millis(5);

/// Asks `probe` again and again until it answers, and returns the answer.
///
/// # Panics
/// After `within` without an answer, naming `what` was waited for.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(BETWEEN_PROBES).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_answer_is_returned() {
        let mut asked = 0;
        let answer = eventually("an answer", Duration::from_secs(5), async || {
            asked += 1;
            (asked == 3).then_some("there")
        })
        .await;
        assert_eq!((answer, asked), ("there", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "pigs that fly: not within")]
    async fn what_never_comes_fails_and_says_what_it_was() {
        eventually(
            "pigs that fly",
            Duration::from_millis(20),
            async || None::<()>,
        )
        .await;
    }
}

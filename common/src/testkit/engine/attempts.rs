//! Kept attempts: newest first, and only so many.

use super::{Fresh, Sizes};
use crate::engine::Engine;
use crate::ids::Offset;

fn attempts_of(engine: &dyn Engine, about: Option<Offset>, limit: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut visit = |bytes: &[u8]| {
        seen.push(bytes.to_vec());
        seen.len() < limit
    };
    engine.attempts(about, &mut visit).expect("attempts");
    seen
}

pub(super) fn attempts_come_newest_first(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes::default());
    let engine = storage.open();
    assert!(attempts_of(&*engine, None, 9).is_empty());
    engine.append_attempts((1, 5), b"one").expect("append");
    engine.append_attempts((4, 9), b"two").expect("append");
    engine.append_attempts((2, 2), b"").expect("append");
    let check = |engine: &dyn Engine| {
        let all: [&[u8]; 3] = [b"", b"two", b"one"];
        assert_eq!(attempts_of(engine, None, 9), all);
        assert_eq!(attempts_of(engine, None, 2), all[..2]);
        assert_eq!(attempts_of(engine, Some(5), 9), all[1..]);
        assert_eq!(attempts_of(engine, Some(2), 9), [all[0], all[2]]);
        assert!(attempts_of(engine, Some(10), 9).is_empty());
    };
    check(&*engine);
    engine.close().expect("close");
    drop(engine);
    check(&*storage.open());
}

pub(super) fn old_attempts_give_way(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes {
        attempts_bytes: 200_000,
        ..Sizes::default()
    });
    let engine = storage.open();
    for i in 0..1000u64 {
        let bytes = vec![i as u8; 1000];
        engine.append_attempts((i, i), &bytes).expect("append");
    }
    let kept = attempts_of(&*engine, None, usize::MAX);
    assert!((50..=200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0], vec![999u64 as u8; 1000]);
    assert_eq!(kept[kept.len() - 1][0], (1000 - kept.len()) as u8);
    engine.close().expect("close");
    drop(engine);
    let again = attempts_of(&*storage.open(), None, usize::MAX);
    assert!(again.len() <= kept.len() && again.len() >= 50);
    assert_eq!(again, kept[..again.len()]);
}

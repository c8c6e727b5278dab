//! The state store: batches and scans.

use super::{Fresh, Sizes};
use crate::engine::{EngineError, STATE_VALUE_BYTES_MAX, StateBatch};

pub(super) fn a_state_batch_applies_in_order(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let mut batch = StateBatch::default();
    batch.put("a", "1");
    batch.remove("a");
    batch.put("b", "1");
    batch.put("b", "2");
    batch.remove("never there");
    batch.put("empty", "");
    batch.put(vec![0u8, 255], vec![7u8; 20_000]);
    engine.commit(&batch).expect("commit");
    engine.commit(&StateBatch::default()).expect("commit");
    assert_eq!(engine.get(b"a").expect("get"), None);
    assert_eq!(engine.get(b"b").expect("get"), Some(b"2".to_vec()));
    assert_eq!(engine.get(b"empty").expect("get"), Some(Vec::new()));
    assert_eq!(engine.get(&[0, 255]).expect("get"), Some(vec![7u8; 20_000]));
    let mut batch = StateBatch::default();
    batch.remove("b");
    engine.commit(&batch).expect("commit");
    assert_eq!(engine.get(b"b").expect("get"), None);
}

pub(super) fn a_scan_is_ordered_and_bounded(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let mut batch = StateBatch::default();
    for i in (0..300u16).rev() {
        batch.put(i.to_be_bytes(), i.to_le_bytes());
    }
    engine.commit(&batch).expect("commit");
    let (from, to) = (10u16.to_be_bytes(), 290u16.to_be_bytes());
    let keys = |limit| -> Vec<Vec<u8>> {
        let found = engine.scan(&from, &to, limit).expect("scan");
        found.into_iter().map(|(key, _)| key).collect()
    };
    let wanted: Vec<Vec<u8>> = (10..290u16).map(|i| i.to_be_bytes().to_vec()).collect();
    assert_eq!(keys(usize::MAX), wanted);
    assert_eq!(keys(5), wanted[..5]);
    assert!(keys(0).is_empty());
    assert!(engine.scan(&to, &from, 9).expect("scan").is_empty());
    assert!(engine.scan(&to, &to, 9).expect("scan").is_empty());
}

pub(super) fn a_state_entry_too_large_changes_nothing(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let mut batch = StateBatch::default();
    batch.put("first", "1");
    batch.put("k", vec![1u8; STATE_VALUE_BYTES_MAX]);
    let refused = engine.commit(&batch);
    assert!(matches!(refused, Err(EngineError::TooLarge(_))));
    assert_eq!(engine.get(b"first").expect("get"), None);
    let mut batch = StateBatch::default();
    batch.put("k", vec![1u8; STATE_VALUE_BYTES_MAX - 1]);
    engine.commit(&batch).expect("commit");
}

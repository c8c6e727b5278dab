//! All runs of a log: merged, dropped, damaged, reopened.

use super::*;
use crate::log::keys::KeyTable;
use crate::log::keys::page::PAGE_ENTRIES;

fn mark(n: u64) -> KeyMark {
    KeyMark::new("s", None, &n.to_string(), b"")
}

fn write(runs: &Runs, keys: std::ops::Range<u64>, expired: Timestamp) {
    let mut table = KeyTable::default();
    for n in keys.clone() {
        table.note(mark(n), Verdict::New, n, Timestamp::from_secs(n));
    }
    let frozen = table.freeze(keys.end, true).unwrap();
    runs.write(&frozen).unwrap();
    while runs.merge_next(expired, |_| true).unwrap() {}
}

fn open(dir: &Path) -> Runs {
    Runs::open(&dir.join("keys"), &dir.join("damaged"), 1 << 30, &[]).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("keys")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn judge(runs: &Runs, n: u64) -> Verdict {
    runs.judge(mark(n), Timestamp(0))
}

#[test]
fn every_key_is_found_again_through_merges_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    for n in 0..9 {
        write(&runs, n * 1000 + 1..n * 1000 + 1001, Timestamp(0));
    }
    let runs_left = files(dir.path()).len();
    assert!(runs_left <= 4, "{runs_left} runs");
    for runs in [runs, open(dir.path())] {
        assert_eq!(runs.end(), 9001);
        for n in 1..9001 {
            assert_eq!(judge(&runs, n), Verdict::Repeat(n));
        }
        assert_eq!(judge(&runs, 9001), Verdict::New);
    }
}

#[test]
fn of_a_key_seen_twice_the_newest_counts() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    write(&runs, 1..100, Timestamp(0));
    let mut table = KeyTable::default();
    table.note(mark(5), Verdict::New, 500, Timestamp::from_secs(500));
    runs.write(&table.freeze(501, true).unwrap()).unwrap();
    assert_eq!(judge(&runs, 5), Verdict::Repeat(500));
    assert_eq!(runs.judge(mark(5), Timestamp::from_secs(501)), Verdict::New);
}

#[test]
fn a_delivery_that_was_lost_may_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    write(&runs, 1..10, Timestamp(0));
    assert_eq!(judge(&runs, 5), Verdict::Repeat(5));
    runs.set_lost(&[Gap {
        first: 4,
        last: 6,
        known_lost: true,
    }]);
    assert_eq!(judge(&runs, 3), Verdict::Repeat(3));
    assert_eq!(judge(&runs, 5), Verdict::New);
}

#[test]
fn a_merge_leaves_expired_keys_out() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    for n in 0..4 {
        write(&runs, n * 100 + 1..n * 100 + 101, Timestamp::from_secs(250));
    }
    assert_eq!(judge(&runs, 10), Verdict::New);
    assert_eq!(judge(&runs, 300), Verdict::Repeat(300));
}

#[test]
fn runs_that_became_empty_still_say_what_is_covered_and_are_no_others_file() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    for n in 0..3 {
        write(&runs, n * 10 + 1..n * 10 + 2, Timestamp(0));
    }
    // the fourth has the merge, in which only its own five keys are not expired
    write(&runs, 31..36, Timestamp::from_secs(31));
    assert_eq!((runs.count(), runs.stock().keys), (1, 5));
    let again = open(dir.path());
    assert_eq!((again.end(), judge(&again, 33)), (36, Verdict::Repeat(33)));
    assert_eq!(judge(&again, 1), Verdict::New);
}

#[test]
fn above_keys_max_the_oldest_go_first_and_what_is_covered_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Runs::open(
            &dir.path().join("keys"),
            &dir.path().join("damaged"),
            250,
            &[],
        )
    };
    let runs = open().unwrap();
    for keys in [1..101, 101..201, 201..300] {
        write(&runs, keys, Timestamp(0));
    }
    assert_eq!(runs.drop_first(Timestamp(0)).unwrap(), 100);
    assert_eq!(judge(&runs, 100), Verdict::New);
    assert_eq!(judge(&runs, 101), Verdict::Repeat(101));
    assert_eq!(runs.stock().oldest, Some(Timestamp::from_secs(101)));
    // expired ones are no loss, and the last run stays for what it says
    assert_eq!(runs.drop_first(Timestamp::from_secs(1000)).unwrap(), 0);
    assert_eq!((runs.count(), open().unwrap().end()), (1, 300));
}

#[test]
fn the_largest_runs_are_a_small_part_of_all_keys() {
    for (keys_max, largest) in [
        (1_000_000, 1 << 18),
        (50_000_000, 1 << 22),
        (1 << 30, 1 << 26),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path(), dir.path(), keys_max, &[]).unwrap();
        assert_eq!(runs.run_keys_max(), largest);
    }
}

#[test]
fn a_merge_is_given_up_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    let mut table = KeyTable::default();
    for n in 1..5 {
        table.note(mark(n), Verdict::New, n, Timestamp(0));
        runs.write(&table.freeze(n + 1, true).unwrap()).unwrap();
    }
    runs.stop();
    assert!(!runs.merge_next(Timestamp(0), |_| true).unwrap());
    assert!(!runs.wait(Duration::MAX));
    assert_eq!(files(dir.path()).len(), 4);
}

#[test]
fn a_merge_that_died_before_its_runs_were_removed_leaves_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    for n in 0..3 {
        write(&runs, n * 10 + 1..n * 10 + 11, Timestamp(0));
    }
    let before: Vec<_> = files(dir.path())
        .into_iter()
        .map(|path| (std::fs::read(&path).unwrap(), path))
        .collect();
    write(&runs, 31..41, Timestamp(0));
    for (bytes, path) in before {
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(dir.path().join("keys/9.unfinished"), b"half").unwrap();
    let again = open(dir.path());
    assert_eq!((again.count(), again.stock().keys), (1, 40));
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn of_a_damaged_run_only_damaged_pages_are_lost_and_it_is_said_which() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    write(&runs, 1..1001, Timestamp(0));
    write(&runs, 1001..1101, Timestamp(0));
    let path = files(dir.path()).into_iter().min().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let known = |runs: &Runs| {
        let is_known = |n: &u64| judge(runs, *n) == Verdict::Repeat(*n);
        (1..1101).filter(is_known).count()
    };
    assert_eq!(known(&runs), 1100 - PAGE_ENTRIES as usize);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let again = open(dir.path());
    assert_eq!(known(&again), 1100 - PAGE_ENTRIES as usize);
    assert_eq!((again.missing(), again.end()), (&[(0, 1001)][..], 1101));
    let aside = std::fs::read_dir(dir.path().join("damaged")).unwrap();
    assert_eq!(aside.count(), 1);
    // and it is whole from now on
    assert_eq!(open(dir.path()).missing(), []);
}

#[test]
fn a_run_that_is_gone_between_others_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    for n in 0..3 {
        write(&runs, n * 10 + 1..n * 10 + 11, Timestamp(0));
    }
    let mut files = files(dir.path());
    files.sort();
    std::fs::remove_file(&files[1]).unwrap();
    let again = open(dir.path());
    assert_eq!((again.missing(), again.end()), (&[(11, 21)][..], 31));
}

#[test]
fn a_run_of_the_format_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let runs = open(dir.path());
    write(&runs, 1..1001, Timestamp(0));
    let path = files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // its pages were the same; of what followed only its magic is looked at
    bytes.truncate(4096 * 1000usize.div_ceil(PAGE_ENTRIES as usize));
    bytes.extend_from_slice(b"CRK1");
    bytes.extend_from_slice(&[0; 28]);
    std::fs::write(dir.path().join("keys/00000000000000001001-1000.run"), bytes).unwrap();
    let again = open(dir.path());
    assert_eq!((again.stock().keys, again.end()), (1000, 1001));
    assert_eq!(again.stock().oldest, Some(Timestamp::from_secs(1)));
    assert_eq!(judge(&again, 700), Verdict::Repeat(700));
    assert!(!dir.path().join("damaged").exists());
}

//! Keys by URL: wanted, fetched, refreshed, forgotten.

use super::*;

const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}"#;
const URL: &str = "https://keys.example.com/set";
const NOW_MS: i64 = 1_767_225_611_000;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn came() -> Fetched {
    Fetched::Document {
        bytes: SET.to_vec(),
        good_for: secs(600),
    }
}

fn one(ring: &Keyring, now: Duration) -> Option<Wanted> {
    ring.due(now, 9).pop()
}

#[test]
fn a_key_is_wanted_once_and_there_afterwards() {
    let ring = Keyring::default();
    assert_eq!(ring.key_set(URL, NOW_MS).err(), Some(Reason::KeyPending));
    let wanted = one(&ring, secs(0)).unwrap();
    // while it is under way nobody fetches it again
    assert_eq!(ring.key_set(URL, NOW_MS).err(), Some(Reason::KeyPending));
    assert_eq!(one(&ring, secs(0)), None);
    ring.settle(&wanted, &came(), secs(1), NOW_MS).unwrap();
    assert!(ring.key_set(URL, NOW_MS).is_ok());
    // refreshed before it is needed, as it was used
    assert_eq!(one(&ring, secs(600)), None);
    assert_eq!(one(&ring, secs(601)), Some(wanted));
}

#[test]
fn a_name_that_is_not_in_the_set_has_it_fetched_again_but_not_at_every_request() {
    let ring = Keyring::default();
    ring.expect(URL, KeyKind::KeySet);
    let wanted = one(&ring, secs(0)).unwrap();
    ring.settle(&wanted, &came(), secs(0), NOW_MS).unwrap();
    assert_eq!(ring.lacks(URL, NOW_MS + 59_999), Reason::UnknownKey);
    assert_eq!(one(&ring, secs(59)), None);
    assert_eq!(ring.lacks(URL, NOW_MS + 60_000), Reason::KeyPending);
    assert_eq!(one(&ring, secs(60)), Some(wanted));
}

#[test]
fn what_fails_is_tried_again_with_growing_pauses_whoever_asks() {
    let ring = Keyring::default();
    ring.expect(URL, KeyKind::KeySet);
    let mut now = secs(0);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        let wanted = one(&ring, now).unwrap();
        ring.settle(&wanted, &Fetched::Failed, now, NOW_MS).unwrap();
        let _ = ring.key_set(URL, NOW_MS);
        assert_eq!(
            one(&ring, now + secs(pause) - Duration::from_millis(1)),
            None
        );
        now += secs(pause);
    }
    let wanted = one(&ring, now).unwrap();
    let unfit = Fetched::Document {
        bytes: b"<html>".to_vec(),
        good_for: secs(600),
    };
    assert!(ring.settle(&wanted, &unfit, now, NOW_MS).is_err());
    assert_eq!(ring.key_set(URL, NOW_MS).err(), Some(Reason::KeyPending));
}

#[test]
fn a_url_that_does_not_exist_is_not_asked_for_again_at_once() {
    let ring = Keyring::default();
    let _ = ring.certificate(URL, NOW_MS);
    let wanted = one(&ring, secs(0)).unwrap();
    ring.settle(&wanted, &Fetched::Absent, secs(0), NOW_MS)
        .unwrap();
    let again = |ms| ring.certificate(URL, NOW_MS + ms).err();
    assert_eq!(again(59_999), Some(Reason::UnknownKey));
    assert_eq!(one(&ring, secs(59)), None);
    assert_eq!(again(60_000), Some(Reason::KeyPending));
    assert!(one(&ring, secs(60)).is_some());
}

#[test]
fn a_stranger_who_names_many_urls_takes_bounded_room_and_leaves_some_to_others() {
    let ring = Keyring::default();
    let url = |n: usize| format!("https://sns.us-east-1.amazonaws.com/{n}.pem");
    for n in 0..10_000 {
        let _ = ring.certificate(&url(n), NOW_MS);
    }
    assert_eq!(ring.slots.lock().len(), WANTED_MAX);
    for wanted in ring.due(secs(0), usize::MAX) {
        ring.settle(&wanted, &Fetched::Absent, secs(0), NOW_MS)
            .unwrap();
    }
    // those that do not exist make room
    let _ = ring.certificate(&url(20_000), NOW_MS);
    let wanted = one(&ring, secs(0)).unwrap();
    assert_eq!(wanted.url, url(20_000));
    assert_eq!(ring.slots.lock().len(), WANTED_MAX);
}

#[test]
fn what_could_not_be_refreshed_for_a_week_is_missing() {
    let ring = Keyring::default();
    ring.recall(URL, KeyKind::KeySet, SET, NOW_MS).unwrap();
    assert!(ring.key_set(URL, NOW_MS + STALE_AFTER_MS - 1).is_ok());
    let late = ring.key_set(URL, NOW_MS + STALE_AFTER_MS).err();
    assert_eq!(late, Some(Reason::KeyPending));
}

#[tokio::test]
async fn whoever_waits_for_keys_is_woken_by_each_and_by_one_that_came_meanwhile() {
    let ring = Keyring::default();
    ring.expect(URL, KeyKind::KeySet);
    let before = ring.arrivals();
    let wanted = one(&ring, secs(0)).unwrap();
    ring.settle(&wanted, &Fetched::Failed, secs(0), NOW_MS)
        .unwrap();
    ring.announce_after(before);
    let woken = tokio::time::timeout(Duration::ZERO, ring.arrival()).await;
    assert!(woken.is_err());
    let wanted = one(&ring, secs(1)).unwrap();
    ring.settle(&wanted, &came(), secs(1), NOW_MS).unwrap();
    ring.arrival().await;
    // one who looked before it came, and was done after it was announced
    ring.announce_after(before);
    ring.arrival().await;
    ring.announce_after(ring.arrivals());
    let woken = tokio::time::timeout(Duration::ZERO, ring.arrival()).await;
    assert!(woken.is_err());
}

#[test]
fn a_request_of_an_earlier_day_has_an_absent_key_looked_for_again() {
    let ring = Keyring::default();
    let _ = ring.certificate(URL, NOW_MS);
    let wanted = one(&ring, secs(0)).unwrap();
    ring.settle(&wanted, &Fetched::Absent, secs(0), NOW_MS)
        .unwrap();
    let earlier = NOW_MS - 24 * 3_600_000;
    let again = ring.certificate(URL, earlier).err();
    assert_eq!(again, Some(Reason::KeyPending));
}

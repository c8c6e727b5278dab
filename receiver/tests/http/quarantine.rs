//! From a refusal to a delivery: what is kept, what is said of it, and what becomes of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use creel_common::config::Config;
use creel_common::delivery::Delivery;
use creel_common::ids::QuarantineId;
use creel_common::log::remote::RemoteLog;
use creel_common::log::wire::{
    ActCall, Chosen, ChosenCall, PromoteCall, QuarantineFind, QuarantineView, Reverified,
    ReverifyCall,
};
use creel_common::log::{AppendError, Appended, Find, Found, Intake, Operate, OperateError};
use creel_common::secret::SecretRef;
use creel_common::time::{Clock, SystemClock};
use creel_receiver::LogParts;

use super::client::{exchange, github, github_signature, request, twilio_signature};
use super::setup::{
    Changes, GITHUB_SECRET, OPERATE, READ, Running, SLACK_SECRET, WORKER, start, start_in,
    start_with,
};

/// A receiver whose source `gh` has a wrong secret.
fn wrong_secret(config: &mut Config) {
    let github = config.sources.get_mut("gh").unwrap();
    let SecretRef::File(path) = &mut github.secrets[0].from else {
        panic!("a file");
    };
    path.set_file_name("slack");
}

async fn with_wrong_secret() -> Running {
    start_with(Changes {
        config: wrong_secret,
        ..Changes::default()
    })
    .await
}

/// Waits until so many requests are in quarantine, and lists them.
async fn kept(log: &RemoteLog, count: usize) -> Vec<QuarantineView> {
    let find = QuarantineFind {
        limit: 1000,
        ..QuarantineFind::default()
    };
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let items = log.quarantine(&find).await.unwrap().items;
            if items.len() >= count {
                return items;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{count} requests are not in quarantine"))
}

fn all() -> Chosen {
    Chosen {
        all: true,
        ..Chosen::default()
    }
}

async fn reverify(log: &RemoteLog, which: Chosen, dry_run: bool) -> Reverified {
    let call = ReverifyCall {
        which,
        from: None,
        limit: 0,
        dry_run,
        act: ActCall::default(),
    };
    log.reverify(&call).await.unwrap()
}

async fn deliveries(log: &RemoteLog) -> Vec<Found> {
    let find = Find {
        limit: 1000,
        bodies: true,
        ..Find::default()
    };
    log.find(find).await.unwrap().items
}

#[tokio::test]
async fn a_wrong_secret_loses_nothing_once_it_is_mended() {
    let creel = with_wrong_secret().await;
    let before = SystemClock::default().wall();
    for n in 0..20 {
        // one of them comes twice, and one is forged
        let id = format!("id-{}", n.max(1));
        let mut sent = github(&id, b"{}");
        if n == 7 {
            let at = sent.windows(7).position(|part| part == b"sha256=").unwrap() + 10;
            sent[at] = if sent[at] == b'0' { b'1' } else { b'0' };
        }
        assert_eq!(exchange(creel.public, &sent).await.status, 401);
    }
    let after = SystemClock::default().wall();
    let items = kept(&creel.remote(READ), 20).await;
    assert!(items.iter().all(|item| item.reason == "no_match"));
    assert_eq!(items[0].diagnosis.as_deref(), Some("wrong_secret"));
    let still = reverify(&creel.remote(OPERATE), all(), false).await;
    assert_eq!((still.appended, still.refused["no_match"]), (0, 20));
    let metric = r#"creel_quarantine_items{source="gh",reason="no_match"}"#;
    assert_eq!(creel.metric(metric).await, 20.0);
    let directory = creel.finish_keeping().await;

    let creel = start_in(directory, Changes::default()).await;
    let log = creel.remote(OPERATE);
    let items = kept(&log, 20).await;
    let genuine = items
        .iter()
        .filter(|i| i.diagnosis.as_deref() == Some("genuine"));
    assert_eq!(genuine.count(), 19);
    let dry = reverify(&log, all(), true).await;
    assert_eq!(
        (dry.looked_at, dry.appended, creel.deliveries()),
        (20, 19, 0)
    );
    let done = reverify(&log, all(), false).await;
    assert_eq!(
        (done.looked_at, done.appended, done.duplicates),
        (20, 18, 1)
    );
    assert_eq!((done.refused["no_match"], done.next), (1, None));
    let found = deliveries(&log).await;
    let ids: Vec<_> = found
        .iter()
        .map(|found| found.delivery.head.event_id.clone().unwrap())
        .collect();
    let expected: Vec<_> = (1..20)
        .filter(|n| *n != 7)
        .map(|n| format!("id-{n}"))
        .collect();
    assert_eq!(ids, expected);
    for one in &found {
        let at = one.delivery.envelope.received_at;
        assert!(at >= before && at <= after, "the time it came, not now");
        assert_eq!(one.delivery.envelope.event_type.as_deref(), Some("push"));
        assert_eq!(
            one.delivery.head.key.as_ref().map(|key| &key.0),
            one.delivery.head.event_id.as_ref()
        );
        assert!(one.delivery.head.body_authenticated);
    }
    // the sender repeats one that it was refused: it is known now
    assert_eq!(
        exchange(creel.public, &github("id-3", b"{}")).await.json()["duplicate"],
        true
    );
    let left = kept(&log, 1).await;
    assert_eq!(left.len(), 1);
    let again = reverify(&log, all(), false).await;
    assert_eq!((again.looked_at, again.appended), (1, 0));
    let acts = log.audit(10).await.unwrap();
    assert_eq!(
        (acts[0].action.as_str(), acts[0].count),
        ("quarantine reverify", 18)
    );
    assert_eq!(acts.len(), 1);
    creel.finish().await;
}

#[tokio::test]
async fn a_call_goes_on_where_the_one_before_ended() {
    let creel = with_wrong_secret().await;
    for n in 0..10 {
        exchange(creel.public, &github(&n.to_string(), b"{}")).await;
    }
    kept(&creel.remote(READ), 10).await;
    let creel = start_in(creel.finish_keeping().await, Changes::default()).await;
    let log = creel.remote(OPERATE);
    let mut call = ReverifyCall {
        which: all(),
        from: None,
        limit: 3,
        dry_run: false,
        act: ActCall::default(),
    };
    let mut steps = Vec::new();
    loop {
        let step = log.reverify(&call).await.unwrap();
        steps.push(step.appended);
        call.from = step.next;
        if call.from.is_none() {
            break;
        }
    }
    assert_eq!(steps, [3, 3, 3, 1]);
    let ids = deliveries(&log).await;
    let ids: Vec<_> = ids
        .iter()
        .map(|one| one.delivery.head.event_id.as_deref())
        .collect();
    assert_eq!(
        ids,
        (0..10)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .iter()
            .map(|n| Some(n.as_str()))
            .collect::<Vec<_>>()
    );
    creel.finish().await;
}

#[tokio::test]
async fn one_is_promoted_by_name_and_with_a_reason_and_another_discarded() {
    let creel = start().await;
    exchange(
        creel.public,
        &request(
            "POST",
            "/in/gh",
            &[
                ("x-github-event", "push"),
                ("x-github-delivery", "9"),
                ("x-hub-signature-256", &github_signature("no", b"a")),
            ],
            b"a",
        ),
    )
    .await;
    exchange(creel.public, &request("POST", "/in/gh", &[], b"unsigned")).await;
    let log = creel.remote(OPERATE);
    let items = kept(&log, 2).await;
    let id = items[0].id;
    let call = |why: Option<&str>| PromoteCall {
        act: ActCall {
            who: Some("ann".into()),
            why: why.map(str::to_owned),
        },
    };
    let refused = log.promote(id, &call(Some(" "))).await.unwrap_err();
    assert!(matches!(refused, OperateError::Invalid(_)));
    let promoted = log
        .promote(id, &call(Some("seen at the sender")))
        .await
        .unwrap();
    let found = log.show(promoted.delivery).await.unwrap();
    let head = &found.delivery.head;
    assert_eq!(head.key.as_ref().unwrap().0, format!("promoted:{id}"));
    assert_eq!(
        (head.event_id.as_deref(), head.body_authenticated),
        (Some("9"), false)
    );
    assert_eq!(found.delivery.envelope.received_at, items[0].received_at);
    assert!(matches!(
        log.promote(id, &call(Some("again"))).await,
        Err(OperateError::NotFound(_))
    ));
    // a genuine one with the same id is no repeat of it
    assert_eq!(
        exchange(creel.public, &github("9", b"a")).await.json()["duplicate"],
        false
    );

    let call = |which, dry_run| ChosenCall {
        which,
        dry_run,
        act: ActCall::default(),
    };
    let nothing = log
        .discard_quarantined(&call(Chosen::default(), false))
        .await;
    assert!(matches!(nothing, Err(OperateError::Invalid(_))));
    assert_eq!(log.discard_quarantined(&call(all(), true)).await, Ok(1));
    assert_eq!(log.discard_quarantined(&call(all(), false)).await, Ok(1));
    assert!(
        log.quarantine(&QuarantineFind::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let acts = log.audit(10).await.unwrap();
    let acts: Vec<_> = acts
        .iter()
        .map(|act| (act.action.as_str(), act.actor.why.as_deref()))
        .collect();
    assert_eq!(
        acts,
        [
            ("quarantine discard", None),
            ("quarantine promote", Some("seen at the sender"))
        ]
    );
    creel.finish().await;
}

#[tokio::test]
async fn readers_look_operators_change_and_workers_do_neither() {
    let creel = start().await;
    exchange(creel.public, &request("POST", "/in/gh", &[], b"x")).await;
    kept(&creel.remote(READ), 1).await;
    let forbidden = |result: Result<(), OperateError>| {
        assert!(
            matches!(result, Err(OperateError::Forbidden(_))),
            "{result:?}"
        );
    };
    let looks = creel
        .remote(WORKER)
        .quarantine(&QuarantineFind::default())
        .await;
    forbidden(looks.map(drop));
    for token in [READ, WORKER] {
        let log = creel.remote(token);
        let (which, act) = (all(), ActCall::default());
        let call = ChosenCall {
            which: which.clone(),
            dry_run: true,
            act: act.clone(),
        };
        forbidden(log.discard_quarantined(&call).await.map(drop));
        let call = ReverifyCall {
            which,
            from: None,
            limit: 0,
            dry_run: true,
            act: act.clone(),
        };
        forbidden(log.reverify(&call).await.map(drop));
        let promoted = log.promote(QuarantineId(1), &PromoteCall { act }).await;
        forbidden(promoted.map(drop));
    }
    creel.finish().await;
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn a_token_is_kept_for_its_owner_alone_and_shown_as_its_digest() {
    use std::os::unix::fs::PermissionsExt;
    let creel = start().await;
    let headers = [
        ("x-token", "canary-wrong-token"),
        ("authorization", "Bearer canary-too"),
    ];
    exchange(creel.public, &request("POST", "/in/tok", &headers, b"x")).await;
    exchange(creel.public, &request("POST", "/in/nobody", &headers, b"x")).await;
    let log = creel.remote(READ);
    let items = kept(&log, 1).await;
    assert_eq!(items.len(), 1, "an unknown source is not kept");
    let shown = log.quarantined(items[0].id).await.unwrap();
    let text = serde_json::to_string(&(items, shown)).unwrap();
    assert!(
        text.contains("sha256:") && !text.contains("canary"),
        "{text}"
    );
    let all = files(&creel.directory.path().join("quarantine"));
    assert!(all.len() >= 2, "{all:?}");
    for path in all {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
    creel.finish().await;
}

fn slack_signature(time: u64, body: &str) -> String {
    let text = format!("v0:{time}:{body}");
    github_signature(SLACK_SECRET, text.as_bytes()).replace("sha256=", "v0=")
}

#[tokio::test]
async fn reasons_are_told_apart_as_far_as_the_bytes_allow() {
    let creel = start_with(Changes {
        config: |config| {
            let mut other = config.sources["gh"].clone();
            other.name = "gh2".into();
            let SecretRef::File(path) = &mut other.secrets[0].from else {
                panic!("a file");
            };
            path.set_file_name("slack");
            config.sources.insert("gh2".into(), other);
        },
        ..Changes::default()
    })
    .await;
    let now = SystemClock::default().wall().millis() / 1000;
    let github = |secret: &str, signed: &[u8], sent: &[u8]| {
        let signature = github_signature(secret, signed);
        request(
            "POST",
            "/in/gh",
            &[("x-hub-signature-256", &signature)],
            sent,
        )
    };
    let (then, now) = ((now - 3600).to_string(), now.to_string());
    let stale = slack_signature(now.parse::<u64>().unwrap() - 3600, "x");
    let url = "https://hooks.example.com/in/twilio?a=1";
    let sent = [
        (github("another", b"x", b"x"), "wrong_secret", "gh.secrets"),
        (github(SLACK_SECRET, b"x", b"x"), "other_secret", "gh2"),
        (
            github(GITHUB_SECRET, b"{\"a\":1}", b"{\"a\": 1}"),
            "body_changed",
            "without blanks",
        ),
        (
            request("POST", "/in/gh", &[], b"x"),
            "missing_header",
            "x-hub-signature-256",
        ),
        (
            request(
                "POST",
                "/in/slack",
                &[
                    ("x-slack-request-timestamp", &then),
                    ("x-slack-signature", &stale),
                ],
                b"x",
            ),
            "clock",
            "seconds before",
        ),
        (
            request(
                "POST",
                "/in/slack",
                &[("x-slack-signature", &slack_signature(0, "x"))],
                b"x",
            ),
            "missing_header",
            "x-slack-request-timestamp",
        ),
        (
            request(
                "GET",
                "/in/twilio?a=1",
                &[("x-twilio-signature", &twilio_signature(url))],
                b"",
            ),
            "wrong_url",
            "\"https://hooks.example.com\"",
        ),
        (
            request(
                "GET",
                "/in/twilio",
                &[
                    ("x-forwarded-host", "a.example:8443"),
                    (
                        "x-twilio-signature",
                        &twilio_signature("https://a.example:8443/in/twilio"),
                    ),
                ],
                b"",
            ),
            "wrong_url",
            "\"https://a.example:8443\"",
        ),
        (
            request(
                "POST",
                "/in/slack",
                &[
                    ("x-slack-request-timestamp", &now),
                    ("x-slack-signature", "v0=zz"),
                ],
                b"x",
            ),
            "other",
            "bad_encoding",
        ),
    ];
    for (sent, _, _) in &sent {
        let answer = exchange(creel.public, sent).await;
        assert_eq!(
            answer.body, r#"{"error":"not verified"}"#,
            "the sender learns nothing"
        );
    }
    let log = creel.remote(READ);
    let items = kept(&log, sent.len()).await;
    for (item, (_, word, part)) in items.iter().zip(&sent) {
        let hint = item.hint.as_deref().unwrap();
        assert_eq!(item.diagnosis.as_deref(), Some(*word), "{hint}");
        assert!(hint.contains(part), "{word}: {hint}");
        assert!(!hint.contains("canary") && !hint.contains("?a=1"), "{hint}");
    }
    creel.finish().await;
}

/// A log that is cut off right after it has made deliveries durable: nobody hears of them.
struct CutOff {
    log: Arc<dyn Intake>,
    /// So many are answered first.
    answered: AtomicUsize,
}

#[async_trait]
impl Intake for CutOff {
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError> {
        let appended = self.log.append(new).await;
        let more = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        match self.answered.fetch_update(set, fetch, more) {
            Ok(_) => appended,
            Err(_) => Err(AppendError::Stopped),
        }
    }
}

#[tokio::test]
async fn what_is_in_the_log_but_not_yet_gone_from_quarantine_is_not_appended_again() {
    let without_keys = |config: &mut Config| {
        config.sources.get_mut("gh").unwrap().dedupe_window = Duration::ZERO;
    };
    let creel = with_wrong_secret().await;
    for _ in 0..10 {
        // all alike: nothing but the time of arrival tells them apart, if that
        exchange(creel.public, &github("same", b"{}")).await;
    }
    kept(&creel.remote(READ), 10).await;
    let creel = start_in(
        creel.finish_keeping().await,
        Changes {
            config: without_keys,
            log: Box::new(|log| LogParts {
                intake: Arc::new(CutOff {
                    log: log.intake.clone(),
                    answered: AtomicUsize::new(4),
                }),
                ..log
            }),
            ..Changes::default()
        },
    )
    .await;
    let log = creel.remote(OPERATE);
    let mut call = ReverifyCall {
        which: all(),
        from: None,
        limit: 6,
        dry_run: false,
        act: ActCall::default(),
    };
    let cut_off = log.reverify(&call).await;
    assert!(matches!(cut_off, Err(OperateError::Unavailable(_))));
    assert_eq!(creel.deliveries(), 6);
    assert_eq!(kept(&log, 10).await.len(), 10, "nothing is gone yet");
    call.limit = 0;
    // whoever comes next finishes it first; the four that are left are cut off, too
    assert!(log.reverify(&call).await.is_err());
    assert_eq!(creel.deliveries(), 10);
    let done = log.reverify(&call).await.unwrap();
    assert_eq!((done.looked_at, done.appended), (0, 0));
    assert_eq!(creel.deliveries(), 10);
    let acts = log.audit(10).await.unwrap();
    let acts: Vec<_> = acts
        .iter()
        .map(|act| (act.subject.as_str(), act.count))
        .collect();
    assert_eq!(
        acts,
        [("finished after a crash", 4), ("finished after a crash", 6)]
    );
    creel.finish().await;
}

//! Another configuration, other secrets, while requests come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::log::remote::RemoteLog;
use creel_common::log::wire::SecretState;
use creel_common::log::{
    Actor, LeaseRequest, Operate, OperateError, Settled, Want, Work, WorkError,
};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::time::Timestamp;

use super::client::{exchange, github_signature, request};
use super::setup::{Changes, GITHUB_SECRET, OPERATE, READ, Running, WORKER, start, start_with};

/// 2026-01-01T00:00:00Z, the time of the windows below.
const NEW_YEAR: u64 = 1_767_225_600_000;

/// Three secrets of `gh`: the old one until the new year, the new one from a second before it on.
const ROTATION: &str = r#"secrets = [
    { file = "github", id = "old", not_after = "2026-01-01T00:00:00Z" },
    { file = "new", id = "new", not_before = "2025-12-31T23:59:59Z" },
]"#;

const NEW: &str = "canary-new-secret";

fn rotation(config: &str) -> String {
    config.replace("secrets = [{ file = \"github\" }]", ROTATION)
}

fn push(id: &str, secret: &str) -> Vec<u8> {
    let signature = github_signature(secret, b"{}");
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", id),
        ("x-hub-signature-256", &signature[..]),
    ];
    request("POST", "/in/gh", &headers, b"{}")
}

async fn status(creel: &Running, id: &str, secret: &str) -> u16 {
    exchange(creel.public, &push(id, secret)).await.status
}

fn somebody() -> Actor {
    Actor {
        who: "mara".into(),
        why: Some("rotation".into()),
    }
}

async fn reload(creel: &Running) -> Result<String, OperateError> {
    let remote: RemoteLog = creel.remote(OPERATE);
    remote.reload(somebody()).await.map(|view| view.to_string())
}

async fn refusal(creel: &Running) -> String {
    match reload(creel).await {
        Err(OperateError::Invalid(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn old_and_new_verify_in_their_time_and_an_expired_one_does_not() {
    let clock = Arc::new(ManualClock::default());
    clock.set_wall(Timestamp(NEW_YEAR - 500));
    let creel = start_with(Changes {
        clock: clock.clone(),
        ..Changes::default()
    })
    .await;
    creel.write_secret("new", NEW);
    creel.write_config(rotation);
    assert_eq!(reload(&creel).await.unwrap(), "sources ~gh");
    assert_eq!(status(&creel, "1", GITHUB_SECRET).await, 200);
    assert_eq!(status(&creel, "2", NEW).await, 200);
    clock.set_wall(Timestamp(NEW_YEAR));
    assert_eq!(status(&creel, "3", NEW).await, 200);
    let expired = exchange(creel.public, &push("4", GITHUB_SECRET)).await;
    let wrong = exchange(creel.public, &push("5", "canary-wrong")).await;
    assert_eq!(expired.status, 401);
    assert_eq!(expired, wrong, "the sender is not told why");
    let refused = r#"creel_refused_total{source="gh",reason="secret_not_valid"}"#;
    assert_eq!(creel.metric(refused).await, 1.0);
    assert_eq!(creel.deliveries(), 3);
    clock.set_wall(Timestamp(NEW_YEAR - 2000));
    assert_eq!(status(&creel, "6", NEW).await, 401, "not before its time");
    creel.finish().await;
}

#[tokio::test]
async fn each_secret_is_counted_under_its_id_also_by_the_next_process() {
    let clock = Arc::new(ManualClock::default());
    clock.set_wall(Timestamp(NEW_YEAR - 500));
    let creel = start_with(Changes {
        clock: clock.clone(),
        ..Changes::default()
    })
    .await;
    creel.write_secret("new", NEW);
    creel.write_config(rotation);
    reload(&creel).await.unwrap();
    for id in ["1", "2"] {
        assert_eq!(status(&creel, id, NEW).await, 200);
    }
    let used = r#"creel_source_key_used_total{source="gh",key="new"}"#;
    let last = r#"creel_source_key_last_used_seconds{source="gh",key="new"}"#;
    let valid = r#"creel_source_keys_valid{source="gh"}"#;
    assert_eq!(creel.metric(used).await, 2.0);
    assert_eq!(creel.metric(last).await, (NEW_YEAR - 500) as f64 / 1000.0);
    assert_eq!(creel.metric(valid).await, 2.0);
    clock.set_wall(Timestamp(NEW_YEAR));
    let sources = creel.remote(READ).sources().await.unwrap();
    let gh = sources.iter().find(|source| source.name == "gh").unwrap();
    let shown: Vec<_> = gh
        .keys
        .iter()
        .map(|key| (&*key.id, key.state, key.used))
        .collect();
    let expected = [
        ("old", SecretState::Expired, 0),
        ("new", SecretState::Valid, 2),
    ];
    assert_eq!((gh.secrets, &shown[..]), (1, &expected[..]));
    assert_eq!(gh.keys[0].last_used, None);
    assert_eq!(gh.keys[1].last_used, Some(Timestamp(NEW_YEAR - 500)));
    let log = creel.log.clone();
    creel.finish().await;
    // kept at the end: what the next process begins with
    let kept = log.secret_uses().unwrap();
    let of = |secret: &str| kept.iter().find(|one| one.secret == secret).unwrap();
    assert_eq!((of("new").count, of("old").count), (2, 0));
    assert_eq!(of("new").last, Some(Timestamp(NEW_YEAR - 500)));
}

#[tokio::test]
async fn a_configuration_with_problems_is_refused_whole_and_the_old_one_serves() {
    let creel = start().await;
    creel.write_config(|config| {
        config
            .replace("reserve = \"0B\"", "reserve = \"0B\"\nretention = \"1d\"")
            .replace("provider = \"slack\"", "provider = \"slakc\"")
            .replace("file = \"github\" }]", "file = \"no-such\" }]")
    });
    let why = refusal(&creel).await;
    for told in [
        "creel.toml:14",
        "log.retention",
        "needs a restart of the receiver",
        "sources.slack.provider",
        "did you mean `slack`?",
        "sources.gh.secrets[0]",
        "no-such",
    ] {
        assert!(why.contains(told), "{told} is not in\n{why}");
    }
    assert!(!why.contains("canary"), "{why}");
    creel.write_config(|config| format!("{config}nonsense = 1\n"));
    let why = refusal(&creel).await;
    assert!(
        why.contains("unknown key") && why.contains("creel.toml:"),
        "{why}"
    );
    assert_eq!(status(&creel, "1", GITHUB_SECRET).await, 200);
    assert_eq!(creel.metric("creel_config_reload_success").await, 0.0);
    creel.write_config(str::to_owned);
    reload(&creel).await.unwrap();
    assert_eq!(creel.metric("creel_config_reload_success").await, 1.0);
    assert!(creel.metric("creel_config_reload_last_seconds").await > 1e9);
    creel.finish().await;
}

#[tokio::test]
async fn what_a_file_holds_now_is_the_secret_and_what_it_held_is_none() {
    let creel = start().await;
    creel.write_config(str::to_owned);
    creel.write_secret("github", NEW);
    assert_eq!(status(&creel, "1", GITHUB_SECRET).await, 200);
    let told = reload(&creel).await.unwrap();
    assert_eq!(
        told,
        "no source or route has changed; secrets are read again"
    );
    assert_eq!(status(&creel, "2", NEW).await, 200);
    assert_eq!(status(&creel, "3", GITHUB_SECRET).await, 401);
    creel.finish().await;
}

#[tokio::test]
async fn tokens_are_replaced_and_the_act_is_recorded() {
    let creel = start().await;
    creel.write_config(str::to_owned);
    creel.write_secret("read", "canary-another-read-token");
    reload(&creel).await.unwrap();
    assert!(creel.remote(READ).audit(10).await.is_err());
    let audit = creel.remote("canary-another-read-token").audit(10).await;
    let act = &audit.unwrap()[0];
    assert_eq!(act.action, "reload");
    assert_eq!(act.actor.who, "mara (ops)");
    assert_eq!(act.actor.why.as_deref(), Some("rotation"));
    creel.finish().await;
}

#[tokio::test]
async fn routes_come_and_go_as_at_a_start() {
    let creel = start().await;
    for number in ["1", "2"] {
        let sent = request("POST", "/in/open", &[], number.as_bytes());
        assert_eq!(exchange(creel.public, &sent).await.status, 200);
    }
    assert_eq!(status(&creel, "1", GITHUB_SECRET).await, 200);
    let more = "[[routes]]\nsource = \"gh\"\ndestination = \"sink\"\n\
                [[routes]]\nname = \"late\"\nsource = \"open\"\ndestination = \"sink\"\n";
    creel.write_config(|config| format!("{config}{more}"));
    assert_eq!(reload(&creel).await.unwrap(), "routes +gh-sink +late");
    // how many is counted coarsely
    let pending = async || {
        let routes = creel.log.routes().await.unwrap();
        let mut found: Vec<_> = routes
            .into_iter()
            .map(|route| (route.name, route.destination.is_some(), route.pending > 0))
            .collect();
        found.sort();
        found
    };
    let of = |name: &str, configured, pending| (name.to_owned(), configured, pending);
    // the first of its source begins with what is there, another one now
    let expected = [
        of("gh-sink", true, true),
        of("late", true, false),
        of("open-sink", true, true),
    ];
    assert_eq!(pending().await, expected);
    creel.write_config(str::to_owned);
    assert_eq!(reload(&creel).await.unwrap(), "routes -gh-sink -late");
    let left = [
        of("gh-sink", false, true),
        of("late", false, false),
        of("open-sink", true, true),
    ];
    assert_eq!(pending().await, left);
    let moved = "[[routes]]\nname = \"late\"\nsource = \"gh\"\ndestination = \"sink\"\n";
    creel.write_config(|config| format!("{config}{moved}"));
    let why = refusal(&creel).await;
    assert!(
        why.contains("routes[1].source") && why.contains("its identity"),
        "{why}"
    );
    assert_eq!(pending().await, left, "nothing of it was taken over");
    creel.finish().await;
}

#[tokio::test]
async fn what_is_leased_of_a_route_that_leaves_may_still_be_settled() {
    let creel = start().await;
    let sent = request("POST", "/in/open", &[], b"x");
    assert_eq!(exchange(creel.public, &sent).await.status, 200);
    let worker = creel.remote(WORKER);
    let lease = async |request: &str| {
        let want = Want {
            route: "open-sink".into(),
            max_items: 10,
            max_bytes: 1 << 20,
        };
        let request = LeaseRequest {
            request: request.into(),
            worker: "w".into(),
            wants: vec![want],
            wait: Duration::ZERO,
        };
        worker.lease(request).await
    };
    let held = lease("1").await.unwrap().remove(0);
    creel.write_config(|config| config.split("[[routes]]").next().unwrap().to_owned());
    assert_eq!(reload(&creel).await.unwrap(), "routes -open-sink");
    assert!(matches!(lease("2").await, Err(WorkError::NoRoute(_))));
    let delivered = Settled {
        offset: held.items[0].offset,
        outcome: Outcome::Delivered,
        report: Report::default(),
    };
    worker.settle(held.id, vec![delivered]).await.unwrap();
    creel.write_config(str::to_owned);
    assert_eq!(reload(&creel).await.unwrap(), "routes +open-sink");
    let route = creel.log.routes().await.unwrap().remove(0);
    assert_eq!((route.pending, route.open, route.delivered), (0, 0, 1));
    creel.finish().await;
}

#[tokio::test]
async fn sources_come_and_go_and_a_quota_holds_from_now_on() {
    let creel = start().await;
    let more = "[sources.more]\nprovider = \"none\"\n";
    creel.write_config(|config| format!("{config}{more}"));
    let sent = request("POST", "/in/more", &[], b"x");
    assert_eq!(exchange(creel.public, &sent).await.status, 401);
    reload(&creel).await.unwrap();
    assert_eq!(exchange(creel.public, &sent).await.status, 200);
    creel.write_config(str::to_owned);
    reload(&creel).await.unwrap();
    assert_eq!(exchange(creel.public, &sent).await.status, 401);
    creel.write_config(|config| {
        config.replace("[sources.open]", "[sources.open]\nquota = \"3GiB\"")
    });
    reload(&creel).await.unwrap();
    let bound = r#"creel_log_bound_bytes{bound="quota",source="open"}"#;
    assert_eq!(creel.metric(bound).await, (3u64 << 30) as f64);
    creel.write_config(str::to_owned);
    reload(&creel).await.unwrap();
    assert_eq!(creel.metric(bound).await, 0.0, "it is not shown any more");
    creel.finish().await;
}

/// Two sets of secrets take turns; the senders' own is in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_refused_while_secrets_are_replaced_again_and_again() {
    let creel = Arc::new(start().await);
    creel.write_secret("new", NEW);
    let done = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (creel, done) = (creel.clone(), done.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while !done.load(Ordering::SeqCst) {
                    sent += 1;
                    let id = format!("{sender}-{sent}");
                    assert_eq!(status(&creel, &id, GITHUB_SECRET).await, 200);
                }
                sent
            })
        })
        .collect();
    let both = "secrets = [{ file = \"new\" }, { file = \"github\" }]";
    for turn in 0..50 {
        creel.write_config(|config| match turn % 2 {
            0 => config.replace("secrets = [{ file = \"github\" }]", both),
            _ => config.to_owned(),
        });
        assert_eq!(reload(&creel).await.unwrap(), "sources ~gh");
    }
    done.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    assert_eq!(creel.deliveries(), sent);
    Arc::into_inner(creel).unwrap().finish().await;
}

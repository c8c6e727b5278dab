//! Another configuration and other secrets for processes that run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::{TO_FILES, creel, json};
use crate::harness::{Answer, Load, Process, Receiver, Sink, Site, Sizes, Up, eventually, github};

const SOON: Duration = Duration::from_secs(30);
const RELOADS: usize = 50;
/// A secret that is nobody's but these tests'.
const CANARY: &str = "canary-of-a-secret-in-a-file";

/// A secret in a file of the site, for its owner alone.
fn write_secret(site: &Site, name: &str, secret: &str) {
    let path = site.path(name);
    fs::write(&path, secret).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn change_config(site: &Site, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), change(&text)).unwrap();
}

/// Waits until a process has said something so many times.
async fn until_said(process: &Process, what: &str, times: usize) {
    eventually(what, SOON, async || {
        (process.log().matches(what).count() >= times).then_some(())
    })
    .await;
}

/// Full speed, two sets of secrets in turn; the senders' own is in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_hangups_under_load_refuse_drop_and_misjudge_nothing() {
    let _alone = crate::faults::alone().await;
    let site = Site::new("", "");
    let plain = fs::read_to_string(site.config()).unwrap();
    write_secret(&site, "other", CANARY);
    let own = format!("{{ env = \"{}\" }}", github::SECRET_VARIABLE);
    let both = plain.replace(
        &own,
        &format!("{{ file = \"other\", id = \"other\" }}, {own}"),
    );
    assert_ne!(plain, both);
    let mut receiver = Receiver::start(&site).await;
    let stop = CancellationToken::new();
    let load = Load::new(16, Sizes::Between(200, 2000));
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
        async move { load.run(to, None, &stop).await }
    });
    for turn in 1..=RELOADS {
        let config = if turn % 2 == 0 { &plain } else { &both };
        fs::write(site.config(), config).unwrap();
        let begun = load.begun();
        receiver.signal(Signal::HUP);
        until_said(
            &receiver,
            "the configuration was reloaded: sources ~github",
            turn,
        )
        .await;
        eventually("some more deliveries", SOON, async || {
            (load.begun() > begun + 16).then_some(())
        })
        .await;
    }
    stop.cancel();
    let tally = senders.await.unwrap();
    assert!(tally.refused.is_empty(), "{:?}", tally.refused);
    assert_eq!(tally.unanswered + tally.unconnected, 0);
    assert!(tally.acked.len() > 16 * RELOADS);
    let kept = json(&site, &["log", "stat"]).await;
    assert!(!kept.to_string().contains(CANARY));
    let exit = receiver.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains(CANARY) && !exit.stderr.contains(github::SECRET));
    let verified = json(&site, &["log", "verify"]).await;
    assert_eq!(verified["clean_shutdown"], true);
    println!(
        "{RELOADS} reloads, {} acknowledged, none refused: PASS",
        tally.acked.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_answers_with_every_problem_and_changes_nothing_then() {
    let site = Site::new("", "");
    let good = fs::read_to_string(site.config()).unwrap();
    let mut receiver = Receiver::start(&site).await;
    let private = format!("http://{}", receiver.private);
    let ask = [
        "reload",
        "--receiver",
        &private,
        "--token-file",
        "tokens/operate",
    ];
    receiver.allow_errors("the configuration was not reloaded");
    change_config(&site, |text| {
        text.replace("reserve = \"1MiB\"", "reserve = \"2MiB\"")
            .replace("[sources.github]", "[sources.github]\nbody_maks = \"1MiB\"")
    });
    let refused = creel(&site, &ask).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    for told in ["body_maks", "did you mean `body_max`?", "creel.toml:"] {
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    change_config(&site, |text| text.replace("body_maks = \"1MiB\"\n", ""));
    let refused = creel(&site, &ask).await;
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused.stderr.contains("log.reserve") && refused.stderr.contains("needs a restart"),
        "{}",
        refused.stderr
    );
    receiver.signal(Signal::HUP);
    until_said(&receiver, "the configuration was not reloaded", 3).await;
    fs::write(site.config(), &good).unwrap();
    let sent = creel(&site, &["send", "github"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let reloaded = creel(&site, &ask).await;
    assert_eq!(reloaded.code(), Some(0), "{}", reloaded.stderr);
    assert!(reloaded.stdout.contains("secrets are read again"));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_by_file_is_seen_in_sources_and_survives_a_restart() {
    let site = Site::new("", "");
    write_secret(&site, "current", CANARY);
    change_config(&site, |text| {
        let env = format!("{{ env = \"{}\" }}", github::SECRET_VARIABLE);
        let old = "{ file = \"old\", id = \"old\", not_after = \"2020-01-01T00:00:00Z\" }";
        text.replace(
            &env,
            &format!("{{ file = \"current\", id = \"current\" }}, {old}"),
        )
    });
    write_secret(&site, "old", github::SECRET);
    let mut receiver = Receiver::start(&site).await;
    let sent = creel(&site, &["send", "github", "--count", "3"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    // what the expired one signs is not taken
    let load = Load::new(1, Sizes::Fixed(100));
    let tally = load
        .run(receiver.public, Some(2), &CancellationToken::new())
        .await;
    assert_eq!(tally.refused.get(&401), Some(&2));
    assert!(receiver.log().contains("secret_not_valid"));
    // its file changes, and it is the same secret by name
    write_secret(&site, "current", &format!("{CANARY}-2"));
    receiver.signal(Signal::HUP);
    until_said(&receiver, "the configuration was reloaded", 1).await;
    let sent = creel(&site, &["send", "github"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let exit = receiver.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains(CANARY), "{}", exit.stderr);

    let mut receiver = Receiver::start(&site).await;
    let listed = json(&site, &["sources", "list"]).await;
    let keys = &listed[0]["keys"];
    assert_eq!(
        (&keys[0]["id"], &keys[0]["used"]),
        (&"current".into(), &4.into())
    );
    assert!(keys[0]["last_used"].is_u64() && keys[1]["last_used"].is_null());
    assert_eq!(keys[1]["state"], "expired");
    let shown = creel(&site, &["sources", "show", "github"]).await;
    assert!(
        shown.stdout.contains("not used since 20"),
        "{}",
        shown.stdout
    );
    assert!(!shown.stdout.contains(CANARY) && !listed.to_string().contains(CANARY));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_goes_on_with_other_destinations_and_delivers_nothing_twice() {
    let (first, second) = (
        Sink::start(|_| Answer::Status(204)).await,
        Sink::start(|_| Answer::Status(204)).await,
    );
    let to = |sink: &Sink| format!("url = \"http://{}/\"", sink.address());
    let rest = format!(
        "[destinations.sink]\ntype = \"http\"\n{}\nallow = [\"127.0.0.0/8\"]\n\n\
         [[routes]]\nsource = \"github\"\ndestination = \"sink\"\n",
        to(&first)
    );
    let site = Site::new("", &rest);
    let mut receiver = Receiver::start(&site).await;
    let mut worker = Process::worker(&site, &receiver, "w1").await;
    let load = Load::new(4, Sizes::Fixed(300));
    let before = load.push(receiver.public, 50).await;
    eventually("all at the first", SOON, async || {
        (first.count() == 50).then_some(())
    })
    .await;
    worker.allow_errors("the configuration has problems");
    change_config(&site, |text| {
        text.replace("type = \"http\"", "type = \"htpt\"")
    });
    worker.signal(Signal::HUP);
    until_said(&worker, "the configuration has problems", 1).await;
    let stay = load.push(receiver.public, 20).await;
    change_config(&site, |text| {
        text.replace("type = \"htpt\"", "type = \"http\"")
            .replace(&to(&first), &to(&second))
    });
    eventually("these, too", SOON, async || {
        (first.count() == 70).then_some(())
    })
    .await;
    worker.signal(Signal::HUP);
    until_said(&worker, "the configuration was reloaded", 1).await;
    until_said(&worker, "stopped", 1).await;
    let after = load.push(receiver.public, 50).await;
    eventually("all at the second", SOON, async || {
        (second.count() == 50).then_some(())
    })
    .await;
    assert_eq!(worker.terminate(SOON).await.code(), Some(0));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    let (firsts, seconds) = (first.times(), second.times());
    for one in before.iter().chain(&stay) {
        assert_eq!(firsts.get(&one.id), Some(&1), "{}", one.id);
    }
    for one in &after {
        assert_eq!(seconds.get(&one.id), Some(&1), "{}", one.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_reloads_the_receiver_first_and_then_the_workers() {
    let site = Site::new("", TO_FILES);
    let mut up = Up::start(&site).await;
    until_said(&up.process, "worker leases", 2).await;
    change_config(&site, |text| {
        let more = "[destinations.two]\ntype = \"file\"\npath = \"two\"\n\n\
             [[routes]]\nsource = \"github\"\ndestination = \"two\"\n";
        format!("{text}\n{more}")
    });
    up.process.signal(Signal::HUP);
    until_said(&up.process, "worker leases", 4).await;
    let sent = creel(&site, &["send", "github", "--count", "3"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let lines = |directory: &str| -> usize {
        let files = fs::read_dir(site.path(directory)).into_iter().flatten();
        let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        texts.map(|text| text.lines().count()).sum()
    };
    eventually("both destinations", SOON, async || {
        (lines("out") == 3 && lines("two") == 3).then_some(())
    })
    .await;
    // the same over the private listener, without a change
    assert_eq!(creel(&site, &["reload"]).await.code(), Some(0));
    until_said(&up.process, "worker leases", 6).await;
    // what the receiver cannot take over leaves the workers alone
    up.process
        .allow_errors("the configuration was not reloaded");
    up.process
        .allow_errors("the receiver keeps its configuration");
    change_config(&site, |text| {
        text.replace("reserve = \"1MiB\"", "reserve = \"2MiB\"")
    });
    up.process.signal(Signal::HUP);
    until_said(&up.process, "the workers are left alone", 1).await;
    assert_eq!(up.process.log().matches("worker started").count(), 6);
    let exit = up.process.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
}

//! `creel up`: processes that are watched over.

use std::collections::HashSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{TO_FILES, creel, json, route};
use crate::faults::audit;
use crate::harness::{
    Answer, Load, Process, Sink, Site, Sizes, Strace, Up, eventually, strace_or_left_out,
};

const SOON: Duration = Duration::from_secs(30);

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn processes(site: &Site) -> Option<Value> {
    read(&site.path(".creel/up.json"))
}

fn receiver_of(site: &Site) -> Option<Pid> {
    let pid = processes(site)?["receiver"].as_i64()?;
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn workers_of(site: &Site) -> Vec<Pid> {
    let found = processes(site).unwrap_or_default();
    let pids = found["workers"].as_array().cloned().unwrap_or_default();
    pids.iter()
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid.as_i64()?).ok()?))
        .collect()
}

/// Whether a process runs; one that only waits to be reaped does not.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    test_kill_process(pid).is_ok() && !matches!(state, None | Some('Z'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_lands_and_a_killed_receiver_refuses_no_connection() {
    let site = Site::new("", TO_FILES);
    let mut up = Up::start(&site).await;
    let sent = creel(&site, &["send", "github", "--count", "5"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);

    let killed = receiver_of(&site).unwrap();
    kill_process(killed, Signal::KILL).unwrap();
    let mut connections = 0;
    eventually("another receiver", SOON, async || {
        // waits in the queue of the socket that `up` holds
        TcpStream::connect_timeout(&up.public, Duration::from_secs(5)).expect("never refused");
        connections += 1;
        receiver_of(&site).filter(|&pid| pid != killed)
    })
    .await;
    assert!(connections > 0);

    let sent = creel(&site, &["send", "github", "--count", "5"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    eventually("all delivered", SOON, async || {
        let exit = creel(&site, &["undelivered"]).await;
        (exit.code() == Some(0)).then_some(())
    })
    .await;
    let lines: usize = fs::read_dir(site.path("out"))
        .unwrap()
        .map(|file| {
            fs::read_to_string(file.unwrap().path())
                .unwrap()
                .lines()
                .count()
        })
        .sum();
    assert!(lines >= 10, "{lines} lines for 10 deliveries");

    let family: Vec<Pid> = workers_of(&site)
        .into_iter()
        .chain(receiver_of(&site))
        .collect();
    assert_eq!(family.len(), 3);
    let exit = up.process.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert!(!family.into_iter().any(runs), "a child outlived `creel up`");
    assert_eq!(
        json(&site, &["log", "verify"]).await["clean_shutdown"],
        true
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_stop_when_up_is_killed() {
    let site = Site::new("", TO_FILES);
    let mut up = Up::start(&site).await;
    let family: Vec<Pid> = workers_of(&site)
        .into_iter()
        .chain(receiver_of(&site))
        .collect();
    assert_eq!(family.len(), 3);
    up.process.kill().await;
    eventually("the children's end", SOON, async || {
        (!family.iter().copied().any(runs)).then_some(())
    })
    .await;
    let mut again = Up::start(&site).await;
    assert_eq!(again.process.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_started_again() {
    let site = Site::new("", TO_FILES);
    let mut up = Up::start(&site).await;
    let before = workers_of(&site);
    kill_process(before[0], Signal::KILL).unwrap();
    eventually("another worker", SOON, async || {
        let now = workers_of(&site);
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    })
    .await;
    assert_eq!(up.process.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_use_stops_a_second_up_and_leaves_the_first_alone() {
    let site = Site::new("", TO_FILES);
    let mut up = Up::start(&site).await;
    let run = site.path("elsewhere");
    let second = creel(&site, &["up", "--run-dir", run.to_str().unwrap()]).await;
    assert_eq!(second.code(), Some(1));
    assert!(
        second.stderr.contains("in use by another process"),
        "{}",
        second.stderr
    );
    assert_eq!(creel(&site, &["send", "github"]).await.code(), Some(0));
    assert_eq!(route(&site, "github-out").await["paused"], false);
    assert_eq!(up.process.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_for_their_owner_alone_and_never_on_a_command_line() {
    let site = Site::new("", TO_FILES);
    let text = fs::read_to_string(site.config()).unwrap();
    let without: String = text
        .lines()
        .filter(|line| !line.starts_with("tokens"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(site.config(), without).unwrap();
    let mut up = Up::start(&site).await;

    let mode = |path: &str| fs::metadata(site.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".creel"), 0o700);
    let mut family = workers_of(&site);
    family.extend(receiver_of(&site));
    for role in ["operate", "read", "worker"] {
        let file = format!(".creel/tokens/{role}");
        assert_eq!(mode(&file), 0o600, "{file}");
        let token = fs::read_to_string(site.path(&file)).unwrap();
        for pid in &family {
            let seen = |file| fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_pid()));
            for shown in ["cmdline", "environ"] {
                assert!(
                    !seen(shown).unwrap().contains(token.trim()),
                    "{role} in {shown}"
                );
            }
        }
    }
    assert_eq!(route(&site, "github-out").await["destination"], "out");
    let public = creel(&site, &["routes", "list", "--token-file", "tokens/operate"]).await;
    assert_eq!(public.code(), Some(1), "another token must not be known");
    assert_eq!(up.process.terminate(SOON).await.code(), Some(0));
}

/// 200 requests a second, a destination that takes its time, three workers, restarted three times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_restarted_one_after_the_other_and_everything_arrives_once() {
    let _alone = crate::faults::alone().await;
    let late = Duration::from_millis(20);
    let sink = Sink::start(move |_| Answer::Late(late, 200)).await;
    let route = "[[routes]]\nsource = \"github\"\ndestination = \"sink\"\n";
    let site = Site::new("", &format!("{}{route}", sink.destination()));
    let mut up = Up::start_with(&site, 3).await;
    let stop = CancellationToken::new();
    let load = Load::new(8, Sizes::Fixed(500)).at_rate(200);
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), up.public);
        async move { load.run(to, None, &stop).await }
    });
    let receiver = receiver_of(&site);
    for round in 1..=3 {
        until_leasing(&up, 3 * round).await;
        eventually("deliveries", SOON, async || {
            (sink.count() > 100 * round).then_some(())
        })
        .await;
        let before = workers_of(&site);
        up.process.signal(Signal::HUP);
        let mut fewest = before.len();
        eventually("three other workers", SOON, async || {
            let now = workers_of(&site);
            fewest = fewest.min(now.len());
            (now.len() == 3 && !now.iter().any(|pid| before.contains(pid))).then_some(())
        })
        .await;
        assert!(fewest >= 2, "only {fewest} workers were left");
    }
    until_leasing(&up, 12).await;
    stop.cancel();
    let tally = senders.await.unwrap();
    assert_eq!(receiver_of(&site), receiver, "the receiver was left alone");
    assert!(tally.refused.is_empty() && tally.unanswered + tally.unconnected == 0);
    eventually("all deliveries", SOON, async || {
        (sink.count() >= tally.acked.len()).then_some(())
    })
    .await;
    let exit = up.process.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let times = sink.times();
    for one in &tally.acked {
        assert_eq!(times.get(&one.id), Some(&1), "{}", one.id);
    }
    assert_eq!(sink.count(), tally.acked.len());
    // the next was started again only when the one before leased
    let told = |line: &&str| line.contains("worker leases") || line.contains("worker started");
    let turns: Vec<&str> = exit.stderr.lines().filter(told).skip(6).collect();
    let expected = (0..9).flat_map(|nth| {
        let number = nth % 3 + 1;
        ["started", "leases"].map(|what| (what, format!("number={number}")))
    });
    assert_eq!(turns.len(), 18, "{}", exit.stderr);
    for (turn, (what, number)) in turns.into_iter().zip(expected) {
        assert!(
            turn.contains(what) && turn.ends_with(&number),
            "{}",
            exit.stderr
        );
    }
    println!(
        "rolling restart: 3 of 3 workers, {} delivered once: PASS",
        tally.acked.len()
    );
}

/// Waits until workers have begun to lease so many times.
async fn until_leasing(up: &Up, times: usize) {
    eventually("leasing workers", SOON, async || {
        let leased = up.process.log().matches("worker leases").count();
        (leased >= times).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_with_a_wrong_configuration_restarts_nothing() {
    let site = Site::new("", TO_FILES);
    let mut up = Up::start(&site).await;
    let before = workers_of(&site);
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(
        site.config(),
        text.replace("type = \"file\"", "type = \"fiel\""),
    )
    .unwrap();
    up.process.allow_errors("the configuration has problems");
    up.process.signal(Signal::HUP);
    eventually("word of it", SOON, async || {
        let log = up.process.log();
        log.contains("the configuration has problems").then_some(())
    })
    .await;
    assert_eq!(workers_of(&site), before);
    assert_eq!(creel_send(&site, &text).await, Some(0));
    assert_eq!(up.process.terminate(SOON).await.code(), Some(0));
}

/// Sends with the configuration as it was.
async fn creel_send(site: &Site, config: &str) -> Option<i32> {
    fs::write(site.config(), config).unwrap();
    creel(site, &["send", "github"]).await.code()
}

/// Strace counts the calls of each thread: it is a sync of a commit under load that fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_under_load_ends_up_and_all_its_children_with_74() {
    if !strace_or_left_out("a_failed_sync_under_load_ends_up_and_all_its_children_with_74") {
        return;
    }
    let _alone = crate::faults::alone().await;
    let site = Site::new("", TO_FILES);
    let strace = Strace::Inject {
        what: "fdatasync,fsync:error=EIO:when=90".into(),
        into: site.path("up.trace"),
    };
    let addresses = site.path(".creel/addresses.json");
    let command = site.creel_under(&strace, &["up", "--workers", "2"]);
    let mut up = Process::start("creel up", command, true).await;
    up.allow_errors("");
    let found = eventually("addresses", SOON, async || read(&addresses)).await;
    let public = found["public"].as_str().unwrap().parse().unwrap();
    let load = Load::new(16, Sizes::Between(200, 2000));
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop) = (load.clone(), stop.clone());
        async move { load.run(public, None, &stop).await }
    });
    let exit = up.exit_within(2 * SOON).await;
    stop.cancel();
    let tally = senders.await.unwrap();
    assert_eq!(exit.code(), Some(74), "{}", exit.stderr);
    assert!(processes(&site).is_none(), "nothing is said to run");
    assert!(!tally.acked.is_empty(), "it failed before any load");
    let audit = audit(&site, &load, &tally.acked, &HashSet::new()).await;
    assert!(audit.is_clean(), "{audit}");
    println!("failed sync under up: {audit}, exit 74: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_disk_ends_up_and_all_its_children_with_74() {
    if !strace_or_left_out("a_failed_disk_ends_up_and_all_its_children_with_74") {
        return;
    }
    let site = Site::new("", TO_FILES);
    let strace = Strace::Inject {
        what: "fdatasync,fsync:error=EIO:when=14+".into(),
        into: site.path("up.trace"),
    };
    let command = site.creel_under(&strace, &["up", "--workers", "2"]);
    let mut up = Process::start("creel up", command, true).await;
    let exit = up.exit_within(SOON).await;
    assert_eq!(exit.code(), Some(74), "{}", exit.stderr);
    assert!(processes(&site).is_none(), "nothing is said to run");
}

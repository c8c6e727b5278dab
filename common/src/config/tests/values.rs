//! What a file that is in order becomes.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

#[test]
fn the_example_says_what_it_says() {
    let config = parse(EXAMPLE, Path::new("/etc/creel/creel.toml"), &known()).unwrap();
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    assert_eq!(config.receiver.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(
        config.receiver.public_url.as_deref(),
        Some("https://hooks.example.com")
    );
    assert_eq!(config.log.path, PathBuf::from("/etc/creel/data"));
    assert_eq!(config.log.retention, Duration::from_secs(7 * 86_400));
    let secrets = config.sources["github"].secrets.iter();
    let from: Vec<SecretRef> = secrets.map(|secret| secret.from.clone()).collect();
    assert_eq!(
        from,
        [
            SecretRef::Env("GITHUB_WEBHOOK_SECRET".to_owned()),
            SecretRef::File(PathBuf::from("/etc/creel/secrets/github.old")),
        ]
    );
    let builds = &config.destinations["builds"];
    assert_eq!(builds.kind, "http");
    assert_eq!(
        builds.settings["url"].as_str(),
        Some("http://127.0.0.1:9000/hooks")
    );
    assert!(!builds.settings.contains_key("type"));
    let names: Vec<&str> = config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["github-builds", "github-archive"]);
    assert_eq!(config.routes[0].events, ["push", "pull_request"]);
    assert_eq!(config.routes[0].retry.max_attempts, 8);
    assert!(config.routes[1].events.is_empty());
    assert_eq!(config.worker.receivers, ["http://127.0.0.1:8081"]);
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse_text("").unwrap();
    assert_eq!(config.receiver.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.log.volume_bytes, 1 << 30);
    assert_eq!(config.worker.concurrency, 256);
    assert_eq!(
        config.quarantine.path,
        config.log.path.with_file_name("quarantine")
    );
    assert_eq!(config.quarantine.max_bytes, 2 << 30);
    assert!(config.warnings.is_empty());
}

#[test]
fn a_small_reserve_has_a_small_second_one_and_a_small_ballast() {
    let of = |reserve: &str| {
        let log = parse_text(&format!("[log]\nreserve = \"{reserve}\"\n"))
            .unwrap()
            .log;
        (log.reserve_operate_bytes, log.ballast_bytes, log.max_bytes)
    };
    assert_eq!(of("1GiB"), (256 << 20, 64 << 20, None));
    assert_eq!(of("8MiB"), (2 << 20, 2 << 20, None));
    assert_eq!(of("0B"), (0, 0, None));
}

#[test]
fn every_setting_arrives_where_it_belongs() {
    let config = parse_text(
        r#"
[receiver]
listen = "[::1]:1"
private = "127.0.0.2:2"
public_url = "https://a.example/hooks//"
trusted_proxies = ["10.0.0.0/8", "192.0.2.1"]
connections_max = 3
connections_per_address_max = 2
waiting_max = 16
source_share = 0.25
rate_per_address = "90/m"
bodies_max = "4MiB"
header_timeout = "5s"
body_timeout = "6s"
idle_timeout = "7s"
drain_timeout = "8s"
tokens = [
  { role = "worker", env = "W" },
  { role = "read", env = "R", name = "grafana" },
  { role = "operate", file = "o" },
]
[log]
engine = "memory"
path = "/var/lib/creel"
retention = "9d"
volume = "10MiB"
reserve = "11MiB"
reserve_operate = "10MiB"
max_bytes = "95MiB"
ballast = "9MiB"
attempts = "12MiB"
cache = "13MiB"
lease = "14s"
lost_max = 15
[dedupe]
keys_max = 15000001
[worker]
receivers = ["https://b.example/"]
token = { env = "T" }
concurrency = 16
drain_timeout = "17s"
processes = 18
[sources.s]
provider = "hmac"
secrets = [{ env = "S" }]
options = { header = "X-Sign" }
public_url = "http://c.example"
tolerance = "19s"
body_max = "20KiB"
allow = ["192.0.2.0/24", "2001:db8::1"]
rate = "30/m"
burst = 33
rate_per_address = 0.25
quota = "54MiB"
dedupe = { window = "21h", key = "header:X-Id" }
[destinations.d]
type = "file"
[[routes]]
name = "r"
source = "s"
destination = "d"
match = { event = "push" }
open_max = 22
rate = "120/m"
start = "now"
timeout = "23s"
[routes.retry]
max_attempts = 24
initial = "25s"
max = "26s"
multiplier = 27
give_up_after = "28h"
retry_after_max = "29s"
[routes.breaker]
failures = 30
pause = "31s"
pause_max = "32s"
"#,
    )
    .unwrap();
    let secs = Duration::from_secs;

    let receiver = &config.receiver;
    assert_eq!(receiver.listen.to_string(), "[::1]:1");
    assert_eq!(receiver.private.to_string(), "127.0.0.2:2");
    assert_eq!(
        receiver.public_url.as_deref(),
        Some("https://a.example/hooks")
    );
    let proxies: Vec<String> = receiver
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(
        (receiver.connections_max, receiver.bodies_bytes_max),
        (3, 4 << 20)
    );
    assert_eq!(
        (receiver.connections_per_address_max, receiver.waiting_max),
        (2, 16)
    );
    let rate = |per_second, burst| Some(Rate { per_second, burst });
    assert_eq!(
        (receiver.source_share, receiver.rate_per_address),
        (0.25, rate(1.5, 3))
    );
    assert_eq!(
        (receiver.header_timeout, receiver.body_timeout),
        (secs(5), secs(6))
    );
    assert_eq!(
        (receiver.idle_timeout, receiver.drain_timeout),
        (secs(7), secs(8))
    );
    let tokens: Vec<(Role, &str)> = receiver
        .tokens
        .iter()
        .map(|t| (t.role, t.name.as_str()))
        .collect();
    assert_eq!(
        tokens,
        [
            (Role::Worker, "worker"),
            (Role::Read, "grafana"),
            (Role::Operate, "operate")
        ]
    );
    assert_eq!(
        receiver.tokens[2].secret,
        SecretRef::File(PathBuf::from("o"))
    );

    let log = &config.log;
    assert_eq!(log.engine, EngineKind::Memory);
    assert_eq!(log.path, PathBuf::from("/var/lib/creel"));
    assert_eq!(
        (log.retention, log.lease, log.lost_max),
        (secs(9 * 86_400), secs(14), 15)
    );
    assert_eq!((log.volume_bytes, log.reserve_bytes), (10 << 20, 11 << 20));
    assert_eq!((log.attempts_bytes, log.cache_bytes), (12 << 20, 13 << 20));
    assert_eq!(
        (log.reserve_operate_bytes, log.ballast_bytes),
        (10 << 20, 9 << 20)
    );
    assert_eq!(log.max_bytes, Some(95 << 20));
    assert_eq!(config.sources["s"].quota_bytes, Some(54 << 20));

    let worker = &config.worker;
    assert_eq!(worker.receivers, ["https://b.example"]);
    assert_eq!(worker.token, Some(SecretRef::Env("T".to_owned())));
    assert_eq!(
        (worker.concurrency, worker.drain_timeout, worker.processes),
        (16, secs(17), 18)
    );

    assert_eq!(config.dedupe.keys_max, 15_000_001);
    let source = &config.sources["s"];
    assert_eq!(
        (source.name.as_str(), source.provider.as_str()),
        ("s", "hmac")
    );
    assert_eq!(source.options["header"], "X-Sign");
    assert_eq!(source.public_url.as_deref(), Some("http://c.example"));
    assert_eq!(
        (source.tolerance, source.body_max),
        (Some(secs(19)), Some(20 << 10))
    );
    let allowed: Vec<String> = source.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!(
        (source.rate, source.rate_per_address),
        (rate(0.5, 33), rate(0.25, 1))
    );
    assert_eq!(source.dedupe_window, secs(21 * 3600));
    assert_eq!(source.idempotency_key.as_deref(), Some("header:X-Id"));

    let route = &config.routes[0];
    assert_eq!(
        (
            route.name.as_str(),
            route.source.as_str(),
            route.destination.as_str()
        ),
        ("r", "s", "d")
    );
    assert_eq!(route.events, ["push"]);
    assert_eq!(
        (route.open_max, route.rate, route.timeout),
        (22, Some(2.0), secs(23))
    );
    assert_eq!(route.start, Some(Start::Now));
    let retry = RetryPolicy {
        max_attempts: 24,
        initial: secs(25),
        max: secs(26),
        multiplier: 27.0,
        give_up_after: Some(secs(28 * 3600)),
        retry_after_max: secs(29),
    };
    assert_eq!(route.retry, retry);
    let breaker = Breaker {
        failures: 30,
        pause: secs(31),
        pause_max: secs(32),
    };
    assert_eq!(route.breaker, breaker);
}

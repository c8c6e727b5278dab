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
    assert_eq!(
        config.sources["github"].secrets,
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
    assert!(config.warnings.is_empty());
}

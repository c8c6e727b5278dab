//! Commands that need no running receiver.

use std::fs;

use super::{creel, json};
use crate::harness::Site;

#[tokio::test]
async fn check_reports_every_problem_at_once_with_its_line_and_a_suggestion() {
    let site = Site::new(
        "",
        "[destinations.out]\ntype = \"flie\"\n\n[sources.pay]\nprovider = \"strip\"\n\n\
         [[routes]]\nsource = \"github\"\ndestination = \"aut\"\n",
    );
    let exit = creel(&site, &["check"]).await;
    assert_eq!(exit.code(), Some(2));
    for told in [
        "did you mean `file`?",
        "did you mean `stripe`?",
        "routes[0].destination",
        "creel.toml:",
    ] {
        assert!(exit.stderr.contains(told), "{told}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn check_resolves_only_what_the_role_needs() {
    let site = Site::new(
        "",
        "[destinations.out]\ntype = \"http\"\nurl = \"https://example.com\"\n\
         headers = { authorization = { env = \"CREEL_E2E_NOT_SET\" } }\n",
    );
    assert_eq!(
        creel(&site, &["check", "--role", "receiver"]).await.code(),
        Some(0)
    );
    let exit = creel(&site, &["check", "--role", "worker"]).await;
    assert_eq!(exit.code(), Some(2));
    assert!(exit.stderr.contains("CREEL_E2E_NOT_SET"), "{}", exit.stderr);
}

#[tokio::test]
async fn check_warns_of_bounds_that_the_disk_does_not_allow() {
    let log = "reserve = \"16TiB\"\nmax_bytes = \"1024TiB\"";
    let site = Site::new(log, "");
    let exit = creel(&site, &["check"]).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    for told in ["nothing would be taken in", "it is never reached"] {
        assert!(exit.stdout.contains(told), "{told}: {}", exit.stdout);
    }
    let exit = creel(&site, &["check", "--role", "worker"]).await;
    assert!(!exit.stdout.contains("never reached"), "{}", exit.stdout);
}

#[tokio::test]
async fn nothing_is_started_or_made_with_a_wrong_configuration() {
    let site = Site::new("", "[sources.pay]\nprovider = \"strip\"\n");
    for command in ["up", "receiver", "worker"] {
        let exit = creel(&site, &[command]).await;
        assert_eq!(exit.code(), Some(2), "{command}: {}", exit.stderr);
    }
    assert!(!site.data().exists());
}

#[tokio::test]
async fn wrong_usage_ends_with_two() {
    let site = Site::new("", "");
    for wrong in [
        &["frobnicate"][..],
        &["routes", "rewind", "r", "--to", "whenever"],
        &["deliveries", "show", "not-an-id"],
        &["dead", "reprocess", "--yes"],
        &["send", "nobody"],
        &["providers", "show", "githb"],
    ] {
        let exit = creel(&site, wrong).await;
        assert_eq!(exit.code(), Some(2), "{wrong:?}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn vectors_that_agree_end_with_zero_and_one_that_does_not_with_one() {
    let site = Site::new("", "");
    // the example of GitHub's documentation, "Validating webhook deliveries"
    let vector = |signature: &str| {
        serde_json::json!([{
            "id": "documented", "provider": "github", "kind": "verify", "class": "crypto",
            "secret": "It's a Secret to Everybody",
            "method": "POST", "url": "https://example.com/in/github",
            "headers": [["X-Hub-Signature-256", signature], ["X-GitHub-Event", "ping"]],
            "body": "SGVsbG8sIFdvcmxkIQ==", "now": null, "config": {}, "expected": "valid",
        }])
    };
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let file = site.path("vectors.json");
    let named = file.to_str().unwrap();
    fs::write(&file, vector(good).to_string()).unwrap();
    let report = json(&site, &["providers", "test", named]).await;
    assert_eq!(report["totals"]["passed"], 1, "{report}");
    fs::write(&file, vector(&good.replace('7', "8")).to_string()).unwrap();
    let exit = creel(&site, &["providers", "test", named]).await;
    assert_eq!(exit.code(), Some(1));
    assert!(exit.stdout.contains("documented"), "{}", exit.stdout);
}

#[tokio::test]
async fn schema_and_completions_are_what_editors_and_shells_read() {
    let site = Site::new("", "");
    let schema = creel(&site, &["schema"]).await;
    let schema: serde_json::Value = serde_json::from_str(&schema.stdout).unwrap();
    assert!(schema["properties"]["sources"].is_object(), "{schema}");
    for shell in ["bash", "zsh", "fish"] {
        let script = creel(&site, &["completions", shell]).await.stdout;
        assert!(script.contains("undelivered"), "{shell}");
    }
}

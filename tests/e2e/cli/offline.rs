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

const OWN_PACK: &str = "title = \"Acme\"\n[verify]\nalg = \"hmac-sha256\"\n\
                        sig = \"header:Acme-Signature | hex\"\nsigned = \"{body}\"\n";

#[tokio::test]
async fn packs_of_ones_own_are_checked_with_the_configuration_and_known_everywhere() {
    let site = Site::new(
        "",
        "[sources.acme]\nprovider = \"acme\"\nsecrets = [{ env = \"CREEL_E2E_ACME\" }]\n",
    );
    let config = fs::read_to_string(site.path("creel.toml")).unwrap();
    let config = config.replacen("[receiver]\n", "[receiver]\nproviders = \"packs\"\n", 1);
    fs::write(site.path("creel.toml"), config).unwrap();
    fs::create_dir(site.path("packs")).unwrap();
    let file = site.path("packs/acme.toml");
    fs::write(&file, OWN_PACK.replace("sha256", "sha265")).unwrap();
    let exit = creel(&site, &["check", "--role", "worker"]).await;
    assert_eq!(exit.code(), Some(2));
    for told in ["acme.toml, line 3, column 7", "did you mean `hmac-sha256`?"] {
        assert!(exit.stderr.contains(told), "{told}: {}", exit.stderr);
    }
    fs::write(&file, OWN_PACK).unwrap();
    let exit = creel(&site, &["check", "--role", "worker"]).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let facts = json(&site, &["providers", "show", "acme"]).await;
    assert_eq!(facts["checks"][0]["algorithm"], "HMAC-SHA256", "{facts}");
    fs::rename(&file, site.path("packs/github.toml")).unwrap();
    let exit = creel(&site, &["check", "--role", "worker"]).await;
    assert!(exit.stderr.contains("replaces_built_in"), "{}", exit.stderr);
    // what is left out leaves the built-in one as it is
    let facts = json(&site, &["providers", "show", "github"]).await;
    assert_eq!(facts["title"], "GitHub");
}

#[tokio::test]
async fn the_list_of_providers_says_how_each_is_verified_and_what_proves_it() {
    let site = Site::new("", "");
    let facts = json(&site, &["providers", "list"]).await;
    let facts = facts.as_array().unwrap();
    assert!(facts.len() >= 120, "{}", facts.len());
    let square = facts.iter().find(|fact| fact["name"] == "square").unwrap();
    assert_eq!(square["proof"], "vendor-vectors");
    let text = creel(&site, &["providers", "list"]).await.stdout;
    let square = text
        .lines()
        .find(|line| line.starts_with("square "))
        .unwrap();
    assert!(
        square.contains("HMAC-SHA256 in header x-square-hmacsha256-signature"),
        "{square}"
    );
    let table = creel(&site, &["providers", "doc"]).await.stdout;
    assert!(table.contains("| `square` | [Square]("), "{table}");
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

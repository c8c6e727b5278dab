//! What keeps a receiver from starting: everything at once, before anything is opened.

use creel_common::config;
use creel_receiver::Prepared;
use creel_receiver::verify::Registry;

const CONFIG: &str = r#"
[receiver]
tokens = [{ role = "read", file = "no-such-token" }]
[sources.a]
provider = "github"
secrets = [{ file = "no-such-secret" }]
[sources.b]
provider = "githup"
secrets = [{ file = "good" }]
[sources.c]
provider = "stripe"
[sources.d]
provider = "github"
secrets = [{ file = "good" }]
tolerance = "5m"
[sources.e]
provider = "none"
[sources.e.dedupe]
key = "heeder:x"
"#;

#[test]
fn every_problem_is_told_at_once_and_no_secret_is() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("good"), "canary-secret").unwrap();
    let path = directory.path().join("creel.toml");
    let config = config::parse(CONFIG, &path, &config::Known::default()).unwrap();
    let problems = Prepared::new(&config, &Registry::built_in(), "0").unwrap_err();
    let text = problems.to_string();
    for expected in [
        "receiver.tokens[0]",
        "sources.a.secrets[0]",
        "did you mean `github`?",
        "sources.c.secrets",
        "sources.d.tolerance",
        "sources.e.dedupe.key",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("canary"));
}

//! Secrets: only by reference, found by the role that needs them, shown to nobody.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const CANARY: &str = "whsec_4f1cbead90";

/// Everything that a file's problems can be shown as.
fn shown(problems: &Problems) -> String {
    let json = serde_json::to_string(problems).unwrap();
    format!(
        "{problems}\n{problems:?}\n{json}\n{}\n{}",
        problems.excerpts(false),
        problems.excerpts(true)
    )
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    let text = format!("[sources.a]\nprovider = \"stripe\"\nsecrets = [\"{CANARY}\"] # typed\n");
    let problems = parse_text(&text).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "\
creel.toml has 1 problem and 1 warning
  creel.toml:1  sources.a             warning: no route takes from it: its deliveries are kept until one does
  creel.toml:3  sources.a.secrets[0]  a secret does not belong into this file, which gets copied, shown and committed; name where it is: { env = \"NAME\" } or { file = \"PATH\" }"
    );
    assert!(
        problems
            .excerpts(false)
            .contains("3 | secrets = [******************] # typed"),
        "{}",
        problems.excerpts(false)
    );
    assert!(!shown(&problems).contains(CANARY));
}

#[test]
fn no_report_shows_what_was_typed_where_a_secret_may_be() {
    for text in [
        format!("[sources.a]\nprovidr = 1\nsecrets = [{{ value = \"{CANARY}\" }}]\n"),
        format!("[sources.a]\nsecrets = [{{ env = \"A B\", secret = \"{CANARY}\" }}]\n"),
        format!("[sources.a]\nsecret = \"{CANARY}\"\n"),
        format!("[sources]\na = {{ secrets = \"{CANARY}\" }}\n"),
        format!("[worker]\ntoken = \"{CANARY}\"\n"),
        format!("[worker]\ntoken = {{ file = \"a\", env = \"{CANARY}-\" }}\n"),
        format!(
            "[receiver]\ntokens = [\"{CANARY}\", {{ role = \"wroker\", token = '''\n{CANARY}''' }}]\n"
        ),
        format!("[receiver]\npublic_url = \"https://user:{CANARY}@example.com\"\n"),
        format!("[worker]\nreceivers = [\"https://example.com?token={CANARY}\"]\n"),
        format!("[destinations.b]\ntype = \"http\"\nurl = \"postgres://me:{CANARY}@db\"\n"),
        format!(
            "[destinations.b]\ntype = \"http\"\nheaders = {{ Authorization = \"Bearer {CANARY}\" }}\n"
        ),
        format!("[destinations.b]\ntype = \"htp\", password = \"{CANARY}\"\n"),
        format!("[sources.a]\nsecrets = [\"{CANARY}]\n"),
        format!("[sources.a]\nsecrets = [\n  \"{CANARY}\n]\n"),
        format!("[sources.a]\nsecrets = [{CANARY}]\n"),
        format!("[sources.a]\nsecrets = {{ env = {CANARY} }}\n"),
        format!("[sources.a]\nsecrets = [\n  {{ env = \"A\" }},\n  \"{CANARY}==\n]\n"),
        format!("[sources.a]\nsecrets = [\n  {CANARY}==\n]\n"),
        format!("[worker]\ntoken = {CANARY}\n"),
        format!("[worker]\ntoken =\n{CANARY}\n"),
        format!("[worker]\ntoken = \"\"\"\n{CANARY}\n"),
        format!("x = [\n[worker]\ntoken = \"{CANARY}\"\n"),
    ] {
        if let Err(problems) = parse_text(&text) {
            assert!(
                !shown(&problems).contains(CANARY),
                "{text}\n{}",
                shown(&problems)
            );
        } else {
            panic!("nothing is wrong with\n{text}");
        }
    }
}

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, text: &[u8], mode: u32) {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn config(&self, text: &str) -> Config {
        let path = self.directory.path().join("creel.toml");
        parse(text, &path, &Known::default()).unwrap()
    }

    /// Without the directory, which differs from run to run.
    fn plain(&self, problems: &Problems) -> String {
        let directory = format!("{}/", self.directory.path().display());
        problems.to_string().replace(&directory, "")
    }
}

const SOURCES: &str = "
[sources.a]
provider = \"stripe\"
secrets = [
  { file = \"good\" },
  { env = \"CREEL_TEST_NEVER_SET\" },
]
[sources.b]
provider = \"stripe\"
secrets = [{ file = \"missing\" }, { file = \"empty\" }, { file = \"binary\" }]
";

#[test]
fn every_secret_that_cannot_be_had_is_told_with_its_line() {
    let files = Files::new();
    files.write("good", b"abc\n", 0o600);
    files.write("empty", b"\n", 0o600);
    files.write("binary", b"\xff\xfe", 0o600);
    let problems = files.config(SOURCES).resolve_source_secrets().unwrap_err();
    assert_eq!(
        files.plain(&problems),
        "\
creel.toml has 4 problems
  creel.toml:6  sources.a.secrets[1]  environment variable CREEL_TEST_NEVER_SET is not set
  creel.toml:10  sources.b.secrets[0]  cannot read missing: No such file or directory (os error 2)
  creel.toml:10  sources.b.secrets[1]  file empty is empty
  creel.toml:10  sources.b.secrets[2]  file binary is not UTF-8"
            .replace("creel.toml:6  ", "creel.toml:6   ")
    );
    assert!(
        problems
            .excerpts(false)
            .contains("{ env = \"CREEL_TEST_NEVER_SET\" }")
    );
}

#[test]
fn secrets_come_in_the_order_of_the_file() {
    let files = Files::new();
    files.write("new", b"n3w\n", 0o600);
    files.write("old", b"0ld", 0o600);
    let config = files.config(
        "[sources.a]\nprovider = \"x\"\nsecrets = [{ file = \"new\" }, { file = \"old\" }]\n",
    );
    let resolved = config.resolve_source_secrets().unwrap();
    let exposed: Vec<&str> = resolved.secrets["a"]
        .iter()
        .map(|secret| secret.expose())
        .collect();
    assert_eq!(exposed, ["n3w", "0ld"]);
    assert!(resolved.warnings.is_empty());
    assert!(!format!("{resolved:?}").contains("n3w"));
}

#[test]
fn a_secret_file_that_others_can_use_is_warned_about() {
    let files = Files::new();
    files.write("open", b"abc", 0o640);
    let config = files.config("\n[worker]\ntoken = { file = \"open\" }\n");
    let resolved = config.resolve_worker_token().unwrap();
    assert_eq!(resolved.secrets.unwrap().expose(), "abc");
    assert_eq!(
        files.plain(&resolved.warnings),
        "creel.toml has 1 warning\n  creel.toml:3  worker.token  warning: open can be used by others on this machine (mode 640); chmod 600 open"
    );
}

#[test]
fn each_role_resolves_only_its_own() {
    let files = Files::new();
    let config = files.config(
        "
[receiver]
tokens = [{ role = \"worker\", file = \"no\" }, { role = \"operate\", file = \"no\", name = \"ann\" }]
[worker]
token = { file = \"no\" }
[sources.a]
provider = \"x\"
secrets = [{ file = \"no\" }]
[destinations.b]
type = \"http\"
secret = { file = \"no\" }
headers = { x-a = { env = \"CREEL_TEST_NEVER_SET\" }, x-b = \"b\" }
[destinations.c]
type = \"http\"
token = { file = \"no\" }
",
    );
    let paths = |problems: Problems| -> Vec<String> {
        problems
            .iter()
            .map(|problem| problem.path.clone())
            .collect()
    };
    assert_eq!(
        paths(config.resolve_source_secrets().unwrap_err()),
        ["sources.a.secrets[0]"]
    );
    assert_eq!(
        paths(config.resolve_tokens().unwrap_err()),
        ["receiver.tokens[0]", "receiver.tokens[1]"]
    );
    assert_eq!(
        paths(config.resolve_worker_token().unwrap_err()),
        ["worker.token"]
    );
    let destinations = config.resolve_destination_secrets(&Kinds, |name| name == "b");
    assert_eq!(
        paths(destinations.unwrap_err()),
        ["destinations.b.secret", "destinations.b.headers.x-a"]
    );
}

#[test]
fn tokens_and_destinations_secrets_are_handed_over_by_name() {
    let files = Files::new();
    files.write("t", b"tok", 0o600);
    let config = files.config(
        "
[receiver]
tokens = [{ role = \"read\", file = \"t\" }, { role = \"operate\", file = \"t\", name = \"ann\" }]
[destinations.\"b.c\"]
type = \"http\"
deep = [{ x = { file = \"t\" } }]
",
    );
    let tokens = config.resolve_tokens().unwrap().secrets;
    let who: Vec<(Role, &str)> = tokens
        .iter()
        .map(|token| (token.role, token.name.as_str()))
        .collect();
    assert_eq!(who, [(Role::Read, "read"), (Role::Operate, "ann")]);
    assert_eq!(tokens[0].secret.expose(), "tok");
    let destinations = config
        .resolve_destination_secrets(&Kinds, |_| true)
        .unwrap()
        .secrets;
    assert_eq!(destinations["b.c"]["deep[0].x"].expose(), "tok");
}

#[test]
fn a_secret_names_one_place() {
    let told = |secret: &str| report(&format!("[worker]\ntoken = {secret}\n"));
    assert!(told("{}").contains("worker.token  needs `env` or `file`"));
    assert!(
        told("{ env = \"A\", file = \"b\" }")
            .contains("worker.token  takes only one of `env` and `file`")
    );
    assert!(
        told("{ env = \"1A\" }")
            .contains("worker.token.env  is no name of an environment variable")
    );
    let token = parse_text("[worker]\ntoken = { file = \"b\" }\n")
        .unwrap()
        .worker
        .token;
    assert_eq!(token, Some(SecretRef::File(PathBuf::from("b"))));
}

//! What is on the disk is for its owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Process, Role, Site, eventually};

const SOON: Duration = Duration::from_secs(30);

/// The same command by a shell whose files are anybody's unless creel says otherwise.
fn careless(command: &Command) -> Command {
    let mut careless = Command::new("sh");
    careless.args(["-c", "umask 0; exec \"$@\"", "sh"]);
    careless.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => careless.env(name, value),
            None => careless.env_remove(name),
        };
    }
    careless.current_dir(command.get_current_dir().expect("a site's command has one"));
    careless
}

/// Everything below a directory, and itself.
fn below(directory: &Path, found: &mut Vec<PathBuf>) {
    found.push(directory.to_owned());
    for entry in fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => below(&path, found),
            false => found.push(path),
        }
    }
}

/// What others than its owner may read or change.
fn is_open_to_others(path: &Path) -> bool {
    let mode = fs::symlink_metadata(path)
        .expect("there")
        .permissions()
        .mode();
    mode & 0o077 != 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_its_owners_alone_whatever_the_umask() {
    let site = Site::new("", "");
    let addresses = site.path("addresses.json");
    let shown = addresses.to_str().unwrap();
    let command = careless(&site.creel(&["receiver", "--addresses-file", shown]));
    let mut receiver = Process::start("creel receiver", command, false).await;
    let public = eventually("an address", SOON, async || {
        let text = fs::read_to_string(&addresses).ok()?;
        let told: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(told["public"].as_str()?.to_owned())
    })
    .await;
    let url = format!("http://{public}/in/github");
    for (secret, code) in [(None, 0), (Some("another secret"), 1)] {
        let mut send = site.creel(&["send", "github", "--url", &url, "--count", "3"]);
        if let Some(secret) = secret {
            send.env(crate::harness::github::SECRET_VARIABLE, secret);
        }
        let sent = Process::run("creel send", send, SOON).await;
        assert_eq!(sent.code(), Some(code), "{}", sent.stderr);
    }
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    let mut kept = Vec::new();
    below(site.data(), &mut kept);
    below(&site.disk().join("quarantine"), &mut kept);
    assert!(kept.len() > 8, "{kept:?}");
    kept.retain(|path| is_open_to_others(path));
    assert!(kept.is_empty(), "{kept:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_secrets_are_nowhere_in_what_is_kept() {
    let site = Site::new("", "");
    let mut receiver = crate::harness::Receiver::start(&site).await;
    for role in [Role::Worker, Role::Read, Role::Operate] {
        receiver.api(&site, role).get("/v1/log").await;
    }
    let url = format!("http://{}/in/github", receiver.public);
    let sent = site.creel(&["send", "github", "--url", &url, "--count", "3"]);
    let sent = Process::run("creel send", sent, SOON).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    receiver.terminate(SOON).await;
    let tokens = [Role::Worker, Role::Read, Role::Operate].map(|role| site.token(role));
    let secrets = tokens.iter().map(String::as_str);
    let secrets: Vec<&str> = secrets.chain([crate::harness::github::SECRET]).collect();
    let mut files = Vec::new();
    below(site.disk(), &mut files);
    assert!(files.len() > 5, "{files:?}");
    for path in files.into_iter().filter(|path| path.is_file()) {
        let bytes = fs::read(&path).unwrap();
        for secret in &secrets {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{}", path.display());
        }
    }
}

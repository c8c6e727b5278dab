//! What senders write forges no line of a log and commands no terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Process, Receiver, Site};

const SOON: Duration = Duration::from_secs(60);
/// A JSON event whose id and type clear the screen and begin lines of their own.
const EVENT: &str = r#"{"id":"evt_1\u001b[2J\r\nERROR forged by an id","type":"\u001b[31mred\u009b2J\nERROR forged by a type"}"#;

fn site() -> Site {
    let site = Site::new(
        "",
        "[sources.stripe]\nprovider = \"stripe\"\nsecrets = [{ file = \"stripe\" }]\n",
    );
    let secret = site.path("stripe");
    fs::write(&secret, "whsec_of_stripe_0123456789").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(site.path("event"), EVENT).unwrap();
    site
}

/// Control characters in a text, but for line breaks and tabs.
fn control_characters(text: &str) -> Vec<char> {
    let control = |c: &char| c.is_control() && !"\n\t".contains(*c);
    text.chars().filter(control).collect()
}

fn is_clean(what: &str, text: &str) {
    assert_eq!(
        control_characters(text),
        Vec::<char>::new(),
        "{what}: {text}"
    );
    let forged = text.lines().find(|line| line.starts_with("ERROR forged"));
    assert_eq!(forged, None, "{what}: {text}");
}

/// A request that nobody signed, with everything that can stand in a head.
async fn stranger(receiver: &Receiver) {
    let mut stream = TcpStream::connect(receiver.public).await.unwrap();
    let head = b"POST /in/x%1b%5b2J%0aERROR%20forged HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
        user-agent: \xc2\x9b2J \x9b2J\r\nx-github-event: \xc2\x9b31m\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 401"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sender_writes_forges_no_line_and_commands_no_terminal() {
    for format in ["text", "json"] {
        let site = site();
        let mut receiver = Receiver::start_with_log(&site, format).await;
        stranger(&receiver).await;
        let url = format!("http://{}/in/stripe", receiver.public);
        let arguments = ["send", "stripe", "--url", &url, "--body-file", "event"];
        let sent = Process::run("creel send", site.creel(&arguments), SOON).await;
        assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
        let forged = Process::run("creel send", forger(&site, &arguments), SOON).await;
        assert_eq!(forged.code(), Some(1), "{}", forged.stderr);
        for command in [
            &["deliveries", "list"][..],
            &["quarantine", "list"],
            &["sources"],
            &["doctor"],
        ] {
            let exit = Process::run("creel", site.creel(command), SOON).await;
            is_clean(&command.join(" "), &exit.stdout);
            is_clean(&command.join(" "), &exit.stderr);
        }
        let listed = Process::run("creel", site.creel(&["deliveries", "list", "--json"]), SOON);
        let listed: Value = serde_json::from_str(&listed.await.stdout).unwrap();
        let id = listed["items"][0]["id"].as_str().unwrap();
        let shown = Process::run("creel", site.creel(&["deliveries", "show", id]), SOON).await;
        is_clean("deliveries show", &shown.stdout);
        assert!(
            shown.stdout.contains("forged by a type"),
            "{}",
            shown.stdout
        );
        let exit = receiver.terminate(SOON).await;
        is_clean(&format!("the log as {format}"), &exit.stderr);
        assert!(exit.stderr.lines().count() > 10, "{}", exit.stderr);
    }
}

/// The same by somebody with another secret.
fn forger(site: &Site, arguments: &[&str]) -> std::process::Command {
    let other = site.path("other.toml");
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(site.path("not-stripe"), "whsec_of_nobody_0123456789").unwrap();
    fs::set_permissions(site.path("not-stripe"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(
        &other,
        text.replace("file = \"stripe\"", "file = \"not-stripe\""),
    )
    .unwrap();
    let mut command = std::process::Command::new(site.creel(&[]).get_program());
    command.args(arguments).arg("--config").arg(&other);
    command.current_dir(site.root());
    command.env(
        crate::harness::github::SECRET_VARIABLE,
        crate::harness::github::SECRET,
    );
    command
}

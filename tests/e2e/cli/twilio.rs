//! The guide `docs/TWILIO.md`, as somebody follows it; and what its commands say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{creel, json};
use crate::docs::{blocks, root};
use crate::harness::{Exit, Process, Site, Up, eventually};

const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "6f1ed002ab5595859014ebf0951522d9";

fn guide() -> String {
    fs::read_to_string(root().join("docs/TWILIO.md")).unwrap()
}

/// The configuration of the guide, on ports of its own.
fn of_the_guide() -> Site {
    let site = Site::new("", "");
    let config = blocks(&guide(), "toml").remove(0);
    let config = config
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:8081", "127.0.0.1:0");
    let room = "\n[log]\nreserve = \"1MiB\"\n";
    fs::write(site.config(), config + room).unwrap();
    site
}

/// A block of commands of the guide, in a shell that finds `creel`.
async fn follow(site: &Site, commands: &str) -> Exit {
    let binary = PathBuf::from(site.creel(&[]).get_program());
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!(
        "{}:{path}",
        binary.parent().unwrap_or(Path::new(".")).display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", commands]);
    shell.current_dir(site.root()).env("PATH", path);
    shell
        .env("TWILIO_AUTH_TOKEN", TOKEN)
        .env_remove("CREEL_CONFIG")
        .env_remove("CREEL_TOKEN");
    Process::run("sh", shell, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_leads_from_nothing_to_a_message_in_a_file() {
    let site = of_the_guide();
    let steps = blocks(&guide(), "sh");
    let [check, send, landed, doc, bare] = steps.as_slice() else {
        panic!("five blocks of commands: {steps:?}");
    };
    let told = follow(&site, check).await;
    assert_eq!(told.code(), Some(0), "{}{}", told.stdout, told.stderr);
    let url = &blocks(&guide(), "text")[1];
    assert!(told.stdout.ends_with(url), "{} is not {url}", told.stdout);
    assert!(told.stderr.contains("rp=all"), "{}", told.stderr);

    let mut command = site.creel(&["up", "--workers", "1"]);
    command.env("TWILIO_AUTH_TOKEN", TOKEN);
    let mut up = Up::run(&site, command).await;
    let told = follow(&site, send).await;
    assert_eq!(told.code(), Some(0), "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("<Response/>"), "{}", told.stdout);
    let told = eventually("all has landed", SOON, async || {
        Some(follow(&site, landed).await).filter(|told| told.code() == Some(0))
    })
    .await;
    assert!(
        told.stdout.contains(r#""source":"twilio""#),
        "{}",
        told.stdout
    );
    assert!(told.stdout.contains("MessageSid"), "{}", told.stdout);
    for step in [doc, bare] {
        let told = follow(&site, step).await;
        assert_eq!(told.code(), Some(0), "{}", told.stderr);
        assert!(
            told.stdout.contains("https://hooks.example.com/in/twilio"),
            "{}",
            told.stdout
        );
        assert!(!told.stdout.contains(TOKEN) && !told.stderr.contains(TOKEN));
    }
    let exit = up.process.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
}

#[tokio::test]
async fn every_configuration_of_the_guide_is_accepted() {
    let all = blocks(&guide(), "toml");
    assert!(all.len() >= 3, "{all:?}");
    let site = Site::new("", "");
    fs::write(site.config(), all.join("\n")).unwrap();
    let exit = creel(&site, &["check", "--role", "none"]).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
}

/// Sources whose senders need something in the URL, and one that needs nothing.
fn with_sources() -> Site {
    let site = Site::new(
        "",
        "[sources.sms]\nprovider = \"twilio\"\nsecrets = [{ env = \"CREEL_E2E_NOT_SET\", id = \"AC01\" }]\n\
         reply = { type = \"text/xml\", body = \"<Response><Message>Thanks</Message></Response>\" }\n\
         [sources.list]\nprovider = \"mailchimp\"\nsecrets = [{ env = \"CREEL_E2E_NOT_SET\" }]\n\
         [sources.own]\nprovider = \"github\"\nsecrets = [{ env = \"CREEL_E2E_NOT_SET\" }]\n\
         public_url = \"https://other.example/hooks/gh\"\n",
    );
    let config = fs::read_to_string(site.config()).unwrap();
    let url = "[receiver]\npublic_url = \"https://hooks.example.com/creel/\"\n";
    fs::write(site.config(), config.replacen("[receiver]\n", url, 1)).unwrap();
    site
}

#[tokio::test]
async fn the_url_to_paste_is_all_of_stdout_and_has_what_its_sender_needs() {
    let site = with_sources();
    for (source, url, why) in [
        (
            "sms",
            "https://hooks.example.com/creel/in/sms#rc=5&rp=all",
            "within 15 s",
        ),
        (
            "list",
            "https://hooks.example.com/creel/in/list?token=SECRET",
            "percent-encoded",
        ),
        ("github", "https://hooks.example.com/creel/in/github", ""),
        ("own", "https://other.example/hooks/gh", ""),
    ] {
        let told = creel(&site, &["providers", "url", source]).await;
        assert_eq!(told.code(), Some(0), "{}", told.stderr);
        assert_eq!(told.stdout, format!("{url}\n"));
        let said = told.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(why), "{said}");
    }
    let bare = creel(&site, &["providers", "url", "sms", "--bare"]).await;
    assert_eq!(bare.stdout, "https://hooks.example.com/creel/in/sms\n");
    let url = json(&site, &["providers", "url", "sms"]).await;
    assert_eq!(url["parts"][0]["text"], "#rc=5&rp=all", "{url}");
    assert_eq!(
        creel(&site, &["providers", "url", "nobody"]).await.code(),
        Some(2)
    );
    let without = creel(&Site::new("", ""), &["providers", "url", "github"]).await;
    assert_eq!(without.code(), Some(2));
    assert!(
        without.stderr.contains("receiver.public_url"),
        "{}",
        without.stderr
    );
}

#[tokio::test]
async fn what_a_sender_has_to_be_told_is_written_in_four_forms() {
    let site = with_sources();
    let doc = json(&site, &["sources", "doc", "sms"]).await;
    assert_eq!(doc["secret"]["ids"][0], "AC01", "{doc}");
    assert_eq!(doc["reply"]["by"], "source");
    assert!(
        doc["secret"]["kind"]
            .as_str()
            .unwrap()
            .contains("auth token")
    );
    let all = json(&site, &["sources", "doc"]).await;
    assert_eq!(all.as_array().unwrap().len(), 4);
    for (form, wanted) in [
        ("text", "At the sender"),
        ("markdown", "## At the sender"),
        ("html", "<h2>At the sender</h2>"),
    ] {
        let told = creel(&site, &["sources", "doc", "sms", "--format", form]).await;
        assert_eq!(told.code(), Some(0), "{}", told.stderr);
        let url = "https://hooks.example.com/creel/in/sms#rc=5&";
        for wanted in [wanted, url, "creel send sms", "AC01", "Ahoy"] {
            assert!(told.stdout.contains(wanted), "{wanted}: {}", told.stdout);
        }
        let markup = told.stdout.contains("<Message>");
        assert_eq!(markup, form != "html", "{}", told.stdout);
    }
    let every = creel(&site, &["sources", "doc", "--format", "html"]).await;
    assert_eq!(every.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_ones_own_is_what_the_sender_gets_and_is_taken_over_by_a_reload() {
    let site = of_the_guide();
    let token = "TWILIO_AUTH_TOKEN";
    let mut command = site.creel(&["up", "--workers", "0"]);
    command.env(token, TOKEN);
    let mut up = Up::run(&site, command).await;
    let send = "creel send twilio --json";
    let config = fs::read_to_string(site.config()).unwrap();
    for (reply, status, wanted) in [
        ("", 200, "<Response/>"),
        (
            "reply = { type = \"text/xml\", body = \"<Response><Reject/></Response>\" }\n",
            200,
            "<Reject/>",
        ),
        ("reply = { status = 204 }\n", 204, ""),
    ] {
        let changed = config.replacen(
            "provider = \"twilio\"\n",
            &format!("provider = \"twilio\"\n{reply}"),
            1,
        );
        fs::write(site.config(), changed).unwrap();
        let told = follow(&site, "creel reload").await;
        assert_eq!(told.code(), Some(0), "{}", told.stderr);
        let told = follow(&site, send).await;
        let answer: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(answer["status"], status, "{answer}");
        assert!(
            answer["reply"].as_str().unwrap().contains(wanted),
            "{answer}"
        );
    }
    assert_eq!(up.process.terminate(SOON).await.code(), Some(0));
}

//! TLS as other programs see it: curl, openssl, and creel's own workers and commands.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{TO_FILES, creel};
use crate::harness::{Certified, Exit, Process, Receiver, eventually};

const SOON: Duration = Duration::from_secs(30);
/// The private listener under TLS, and who connects to it.
const PRIVATE: &str =
    "private_tls = { cert = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\" }";
const WORKER: &str = "[worker.tls]\nca = \"ca.pem\"\ncert = \"client.pem\"\nkey = \"client.key\"\n";

/// Runs a program of this machine; `None`, and a word, where it has none.
async fn run(program: &str, arguments: &[String]) -> Option<Exit> {
    if Command::new(program).arg("--version").output().is_err() {
        println!("left out: what {program} sees: there is none on this machine");
        eprintln!("left out: what {program} sees: there is none on this machine");
        return None;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    Some(Process::run(program, command, SOON).await)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_and_1_3_are_spoken_and_1_1_is_not() {
    let certified = Certified::public("");
    let receiver = Receiver::start(&certified.site).await;
    for (version, more, fine) in [
        ("-tls1_3", "", true),
        ("-tls1_2", "", true),
        // the client has to be talked into these
        ("-tls1_1", "-cipher DEFAULT@SECLEVEL=0", false),
        ("-tls1", "-cipher DEFAULT@SECLEVEL=0", false),
    ] {
        let arguments = words(&format!(
            "s_client -connect {} -servername hooks.example.com -CAfile {} -verify_return_error \
             {version} {more}",
            receiver.public,
            certified.site.path("ca.pem").display()
        ));
        let Some(exit) = run("openssl", &arguments).await else {
            return;
        };
        let shown = format!("{version}: {}{}", exit.stdout, exit.stderr);
        assert_eq!(exit.code() == Some(0), fine, "{shown}");
        if fine {
            assert!(
                exit.stdout.contains("Verify return code: 0 (ok)"),
                "{shown}"
            );
        } else {
            assert!(shown.contains("SSL alert number"), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_creel_send_deliver_over_both_versions_of_http() {
    let certified = Certified::public("public_url = \"https://hooks.example.com\"");
    let site = &certified.site;
    let receiver = Receiver::start(site).await;
    let sent = creel(site, &["send", "github", "--count", "3"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    for (version, spoken) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let arguments = words(&format!(
            "-sS --cacert {} {version} --resolve hooks.example.com:{port}:127.0.0.1 -o /dev/null \
             -w %{{http_version}}:%{{http_code}} -d x https://hooks.example.com:{port}/in/github",
            site.path("ca.pem").display(),
            port = receiver.public.port(),
        ));
        let Some(exit) = run("curl", &arguments).await else {
            return;
        };
        // unsigned
        assert_eq!(exit.stdout, format!("{spoken}:401"), "{}", exit.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_takes_a_renewed_certificate_over_and_refuses_a_wrong_one() {
    let certified = Certified::public("public_url = \"https://hooks.example.com\"");
    let site = &certified.site;
    let mut receiver = Receiver::start(site).await;
    receiver.allow_errors("the configuration was not reloaded");
    fs::write(site.path("server.key"), "canary").unwrap();
    receiver.signal(Signal::HUP);
    let log = |what: &'static str| {
        let receiver = &receiver;
        async move {
            eventually(what, SOON, async || {
                receiver.log().contains(what).then_some(())
            })
            .await
        }
    };
    log("has no private key in PEM form").await;
    certified.renew();
    receiver.signal(Signal::HUP);
    log("the configuration was reloaded").await;
    // believes what is in the file now, so that only the new one is shown
    let sent = creel(site, &["send", "github"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    assert!(!receiver.log().contains("canary"));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

/// Bound to all addresses, which is only allowed under TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_and_commands_show_their_certificate_and_nobody_else_is_answered() {
    let certified = Certified::new(PRIVATE, &format!("{TO_FILES}\n{WORKER}"));
    let site = &certified.site;
    let everywhere =
        |text: &str| text.replace("private = \"127.0.0.1:0\"", "private = \"0.0.0.0:0\"");
    let text = everywhere(&fs::read_to_string(site.config()).unwrap());
    fs::write(site.config(), &text).unwrap();
    let mut receiver = Receiver::bind(site, None).await.unwrap();
    let url = format!("https://127.0.0.1:{}", receiver.private.port());
    let mut worker = {
        let command = site.creel(&["worker", "--receiver", &url, "--name", "w1"]);
        Process::start("creel worker w1", command, false).await
    };
    let sent = creel(site, &["send", "github", "--count", "3"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let delivered = || {
        let files = fs::read_dir(site.path("out")).into_iter().flatten();
        let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        texts.map(|text| text.lines().count()).sum::<usize>()
    };
    eventually("deliveries", SOON, async || {
        (delivered() == 3).then_some(())
    })
    .await;
    // found by the configuration
    let listed = creel(site, &["routes", "list"]).await;
    assert_eq!(listed.code(), Some(0), "{}", listed.stderr);
    // neither without a certificate, nor in clear
    fs::write(
        site.config(),
        text.replace(WORKER, "[worker.tls]\nca = \"ca.pem\"\n"),
    )
    .unwrap();
    let refused = creel(site, &["routes", "list"]).await;
    assert_eq!(refused.code(), Some(1), "{}", refused.stderr);
    let clear = url.replace("https", "http");
    let refused = creel(site, &["routes", "list", "--receiver", &clear]).await;
    assert_eq!(refused.code(), Some(1), "{}", refused.stderr);
    assert_eq!(worker.terminate(SOON).await.code(), Some(0));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_runs_its_workers_under_tls() {
    let both = format!("tls = {{ cert = \"server.pem\", key = \"server.key\" }}\n{PRIVATE}");
    let certified = Certified::new(
        &format!("{both}\npublic_url = \"https://hooks.example.com\""),
        &format!("{TO_FILES}\n{WORKER}"),
    );
    let site = &certified.site;
    let mut up = Process::start("creel up", site.creel(&["up"]), false).await;
    eventually("workers", SOON, async || {
        (up.log().matches("worker leases").count() >= 2).then_some(())
    })
    .await;
    let sent = creel(site, &["send", "github", "--count", "2"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let exit = up.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert!(
        exit.stdout.contains("senders     https://"),
        "{}",
        exit.stdout
    );
    assert!(
        exit.stdout.contains("operators   https://"),
        "{}",
        exit.stdout
    );
}

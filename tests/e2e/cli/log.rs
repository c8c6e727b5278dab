//! `creel log`: the log looked at while nobody serves it.

use std::time::Duration;

use super::{creel, json};
use crate::harness::{Receiver, Site, export, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_looked_at_only_while_no_receiver_runs() {
    let site = Site::new("", "");
    let none = creel(&site, &["log", "verify"]).await;
    assert_eq!(none.code(), Some(1));
    assert!(!site.data().exists(), "looking does not make a log");

    let mut receiver = Receiver::start(&site).await;
    assert_eq!(
        creel(&site, &["send", "github", "--count", "7"])
            .await
            .code(),
        Some(0)
    );
    for command in ["verify", "export"] {
        let refused = creel(&site, &["log", command]).await;
        assert_eq!(refused.code(), Some(1), "{command}");
        assert!(
            refused.stderr.contains("in use"),
            "{command}: {}",
            refused.stderr
        );
    }
    let listed = json(&site, &["deliveries", "list", "--oldest"]).await;
    assert_eq!(
        receiver.terminate(Duration::from_secs(20)).await.code(),
        Some(0)
    );

    let verified = verify(&site).await.expect("a sound log");
    assert_eq!(
        (verified.deliveries, verified.first, verified.next),
        (7, 1, 8)
    );
    assert_eq!(verified.exit.code(), Some(0));
    let exported = export(&site).await.expect("a sound log");
    for item in listed["items"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        assert_eq!(
            exported[id].body.len() as u64,
            item["body_bytes"].as_u64().unwrap()
        );
    }
    assert_eq!(exported.len(), 7);

    // `creel log export | head`: a reader that has gone is no error
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut export = site.creel(&["log", "export"]);
    export.stdout(writer).stderr(std::process::Stdio::piped());
    let exit = export.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&exit.stderr);
    assert_eq!(exit.status.code(), Some(0), "{said}");
    assert!(!said.contains("pipe"), "{said}");
}

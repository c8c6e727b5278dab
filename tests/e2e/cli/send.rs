//! `creel send`: the receiver believes what it signs, for every provider.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::{creel, json};
use crate::harness::{Receiver, Site};

/// Provider, secret, options.
const PROVIDERS: [(&str, &str, &str); 17] = [
    ("github", "s3cret of github", ""),
    ("gitlab", "s3cret-of-gitlab", ""),
    ("stripe", "whsec_of_stripe_0123456789", ""),
    ("shopify", "s3cret of shopify", ""),
    ("slack", "8f742231b10e8888abcd99yyyzzz85a5", ""),
    ("twilio", "12345678901234567890123456789012", ""),
    (
        "standardwebhooks",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "",
    ),
    ("svix", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""),
    ("hmac", "s3cret of nobody", ""),
    ("token", "s3cret-token", ""),
    ("basic", "user:password", ""),
    ("none", "", ""),
    // signatures and credentials in the body and in the query
    ("mailgun", "s3cret of mailgun", ""),
    ("dropbox-sign", "s3cret of dropbox-sign", ""),
    ("figma", "s3cret \"of\" figma", ""),
    ("pandadoc", "s3cret of pandadoc", ""),
    ("mailchimp", "s3cret of mailchimp", ""),
];

fn site() -> Site {
    let mut rest = String::new();
    for (provider, secret, options) in PROVIDERS {
        let secrets = match secret {
            "" => String::new(),
            _ => format!("secrets = [{{ file = \"secret-{provider}\" }}]\n"),
        };
        rest += &format!("[sources.x-{provider}]\nprovider = \"{provider}\"\n{secrets}{options}\n");
    }
    let site = Site::new("", &rest);
    for (provider, secret, _) in PROVIDERS {
        let file = site.path(&format!("secret-{provider}"));
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_of_every_provider_is_believed_and_shown() {
    let site = site();
    let mut receiver = Receiver::start(&site).await;
    for (provider, ..) in PROVIDERS {
        let source = format!("x-{provider}");
        let sent = creel(&site, &["send", &source, "--count", "3", "--json"]).await;
        assert_eq!(
            sent.code(),
            Some(0),
            "{provider}: {}{}",
            sent.stdout,
            sent.stderr
        );
        let listed = json(&site, &["deliveries", "list", "--source", &source]).await;
        let items = listed["items"].as_array().unwrap();
        assert_eq!(
            items.len(),
            3,
            "{provider}: three events, not repeats of one"
        );
        let shown = json(
            &site,
            &["deliveries", "show", items[0]["id"].as_str().unwrap()],
        )
        .await;
        assert_eq!(shown["delivery"]["source"], source);
        if provider == "mailchimp" {
            let shown = shown.to_string();
            assert!(shown.contains("?token=sha256:"), "{shown}");
            assert!(!shown.contains("of%20mailchimp"), "{shown}");
        }
    }
    assert_eq!(
        receiver.terminate(Duration::from_secs(20)).await.code(),
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_ones_own_arrives_byte_for_byte_and_is_shown_so() {
    let site = Site::new("", "");
    let mut receiver = Receiver::start(&site).await;
    let body: Vec<u8> = (0..=255).collect();
    fs::write(site.path("body"), &body).unwrap();
    let arguments = [
        "send",
        "github",
        "--body-file",
        "body",
        "--event",
        "push",
        "--id",
        "mine",
    ];
    assert_eq!(creel(&site, &arguments).await.code(), Some(0));
    let again = creel(&site, &arguments).await;
    assert!(
        again.stdout.contains("\"duplicate\":true"),
        "{}",
        again.stdout
    );
    let listed = json(&site, &["deliveries", "list", "--event", "push"]).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let id = listed["items"][0]["id"].as_str().unwrap();
    let output = site
        .creel(&["deliveries", "show", id, "--body"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, body);
    assert_eq!(
        receiver.terminate(Duration::from_secs(20)).await.code(),
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_ends_with_one() {
    let site = Site::new("", "");
    let receiver = Receiver::start(&site).await;
    let url = format!("http://{}/in/somebody-else", receiver.public);
    let exit = creel(&site, &["send", "github", "--url", &url]).await;
    assert_eq!(exit.code(), Some(1));
    assert!(exit.stdout.contains("401"), "{}", exit.stdout);
}

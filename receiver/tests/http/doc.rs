//! What to tell a sender, over HTTP; and the replies that a source may have of its own.

use creel_common::config::Reply;

use super::client::{Answer, exchange, github, request};
use super::setup::{Changes, GITHUB_SECRET, READ, Running, start, start_with};

async fn doc(creel: &Running, name: &str, accept: &str) -> Answer {
    let bearer = format!("Bearer {READ}");
    let headers = [("authorization", &bearer[..]), ("accept", accept)];
    let path = format!("/v1/sources/{name}/doc");
    exchange(creel.private, &request("GET", &path, &headers, b"")).await
}

async fn with_public_url() -> Running {
    start_with(Changes {
        config: |config| {
            config.receiver.public_url = Some("https://hooks.example.com".into());
        },
        ..Changes::default()
    })
    .await
}

#[tokio::test]
async fn a_source_says_what_to_enter_at_its_sender_and_no_secret() {
    let creel = with_public_url().await;
    let answer = doc(&creel, "twilio", "application/json").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let bare = "https://hooks.example.com/in/twilio";
    assert_eq!(json["url_bare"], bare);
    assert_eq!(json["url"], format!("{bare}#rc=5&rp=all"));
    assert_eq!(json["url_parts"][0]["text"], "#rc=5&rp=all");
    assert_eq!(json["secret"]["ids"][0], "twilio");
    assert_eq!(json["reply"]["by"], "pack");
    assert_eq!(json["reply"]["body"], "<Response/>");
    assert_eq!(json["limits"]["deadline_ms"], 15_000);
    assert_eq!(json["commands"][0]["command"], "creel send twilio");
    for accept in ["application/json", "text/html", "text/markdown"] {
        let answer = doc(&creel, "twilio", accept).await;
        assert_eq!(answer.header("vary"), Some("accept"));
        assert!(!answer.body.contains("canary"), "{}", answer.body);
        assert!(answer.body.contains(bare), "{}", answer.body);
    }
    // the URL of the list is the one to enter, too
    let sources = creel.remote(READ).sources().await.unwrap();
    let twilio = sources
        .iter()
        .find(|source| source.name == "twilio")
        .unwrap();
    assert_eq!(twilio.url.as_deref(), json["url"].as_str());
    creel.finish().await;
}

#[tokio::test]
async fn a_browser_gets_a_page_that_runs_nothing_and_loads_nothing() {
    let creel = with_public_url().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = doc(&creel, "gh", browser).await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        answer.body.starts_with("<!doctype html>"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("<script") && !answer.body.contains("src="));
    assert_eq!(doc(&creel, "nobody", browser).await.status, 404);
    creel.finish().await;
}

#[tokio::test]
async fn a_sender_that_signs_nothing_gets_a_mark_where_its_secret_belongs() {
    let creel = start_with(Changes {
        config: |config| {
            config.receiver.public_url = Some("https://hooks.example.com".into());
            let source = config.sources.get_mut("tok").unwrap();
            source.options = [("query".to_owned(), "key".to_owned())].into();
        },
        ..Changes::default()
    })
    .await;
    let json = doc(&creel, "tok", "*/*").await.json();
    assert_eq!(json["url"], "https://hooks.example.com/in/tok?key=SECRET");
    assert!(!json.to_string().contains("canary"));
    let unknown = start().await;
    let json = doc(&unknown, "twilio", "*/*").await.json();
    assert!(
        json["url"].is_null() && json["path"] == "/in/twilio",
        "{json}"
    );
    assert!(json["notes"].to_string().contains("public_url"), "{json}");
    unknown.finish().await;
    creel.finish().await;
}

#[tokio::test]
async fn a_source_may_answer_in_its_own_words_once_it_is_durable() {
    let creel = start_with(Changes {
        config: |config| {
            let reply = |status, kind: Option<&str>, body: &str| {
                Some(Reply {
                    status,
                    content_type: kind.map(str::to_owned),
                    body: body.to_owned(),
                })
            };
            let thanks = "<Response><Message>Thanks</Message></Response>";
            config.sources.get_mut("open").unwrap().reply = reply(200, Some("text/xml"), thanks);
            config.sources.get_mut("gh").unwrap().reply = reply(204, None, "");
        },
        ..Changes::default()
    })
    .await;
    let answer = exchange(creel.public, &request("POST", "/in/open", &[], b"x")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/xml"))
    );
    assert_eq!(
        answer.body,
        "<Response><Message>Thanks</Message></Response>"
    );
    // a repeat is answered alike
    for _ in 0..2 {
        let answer = exchange(creel.public, &github("same", b"{}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        assert_eq!(answer.header("content-type"), None, "{answer:?}");
    }
    assert_eq!(creel.deliveries(), 2);
    let json = doc(&creel, "open", "*/*").await.json();
    assert_eq!(
        (&json["reply"]["by"], &json["reply"]["status"]),
        (&"source".into(), &200.into())
    );
    // what is not taken is refused as ever
    let forged = request(
        "POST",
        "/in/gh",
        &[("x-hub-signature-256", GITHUB_SECRET)],
        b"x",
    );
    assert_eq!(exchange(creel.public, &forged).await.status, 401);
    creel.finish().await;
}

//! Who may do what on the private listener; every documented route is asked.

use creel_receiver::private::openapi;

use super::client::{exchange, request};
use super::setup::{OPERATE, READ, Running, WORKER, start};

/// Routes that need no token.
const OPEN: [&str; 3] = ["/health", "/metrics", "/ready"];

/// Every documented route: method and path with its parameters filled in.
fn documented() -> Vec<(String, String)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let filled = path.replace("{name}", "nothing").replace("{id}", "1");
            routes.push((method.to_uppercase(), filled));
        }
    }
    routes
}

async fn ask(creel: &Running, method: &str, path: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("authorization", &b[..])).collect();
    let request = request(method, path, &headers, b"");
    exchange(creel.private, &request).await.status
}

#[test]
fn the_document_lists_what_the_command_line_needs() {
    let mut listed: Vec<String> = documented()
        .into_iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    listed.sort();
    let expected = [
        "GET /health",
        "GET /metrics",
        "GET /ready",
        "GET /v1/audit",
        "GET /v1/backup",
        "GET /v1/dead",
        "GET /v1/deliveries",
        "GET /v1/deliveries/1",
        "GET /v1/deliveries/1/attempts",
        "GET /v1/deliveries/1/body",
        "GET /v1/doctor",
        "GET /v1/log",
        "GET /v1/quarantine",
        "GET /v1/quarantine/1",
        "GET /v1/routes",
        "GET /v1/sources",
        "GET /v1/sources/nothing/doc",
        "POST /v1/backup",
        "POST /v1/dead/discard",
        "POST /v1/dead/reprocess",
        "POST /v1/doctor",
        "POST /v1/lease",
        "POST /v1/leases/1/extend",
        "POST /v1/leases/1/settle",
        "POST /v1/quarantine/1/promote",
        "POST /v1/quarantine/discard",
        "POST /v1/quarantine/reverify",
        "POST /v1/reload",
        "POST /v1/routes/nothing/forget",
        "POST /v1/routes/nothing/pause",
        "POST /v1/routes/nothing/rename",
        "POST /v1/routes/nothing/resume",
        "POST /v1/routes/nothing/rewind",
    ];
    assert_eq!(listed, expected);
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(openapi()).unwrap();
    let text = document.to_string();
    let mut references = 0;
    for part in text.split(r##""$ref":"#"##).skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        references += 1;
    }
    assert!(references > 50, "{references}");
}

#[tokio::test]
async fn without_a_known_token_everything_but_health_is_401() {
    let creel = start().await;
    for (method, path) in documented() {
        let open = OPEN.contains(&&path[..]);
        let status = ask(&creel, &method, &path, None).await;
        assert_eq!(status == 401, !open, "{method} {path}: {status}");
        if !open {
            let unknown = ask(&creel, &method, &path, Some("unknown")).await;
            assert_eq!(unknown, 401, "{method} {path}");
            let in_url = format!("{path}?token={OPERATE}");
            assert_eq!(
                ask(&creel, &method, &in_url, Some(OPERATE)).await,
                401,
                "{path}"
            );
        }
    }
    creel.finish().await;
}

#[tokio::test]
async fn each_role_does_its_own_and_no_more() {
    let creel = start().await;
    for (method, path) in documented() {
        if OPEN.contains(&&path[..]) {
            continue;
        }
        let leases = path.starts_with("/v1/lease");
        let looks = method == "GET";
        let any = path == "/v1/log";
        for (token, allowed) in [(WORKER, leases || any), (READ, looks), (OPERATE, !leases)] {
            let status = ask(&creel, &method, &path, Some(token)).await;
            assert_eq!(status != 403, allowed, "{method} {path} {token}: {status}");
            assert_ne!(status, 401, "{method} {path}");
        }
    }
    creel.finish().await;
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused_by_name() {
    let creel = start().await;
    let bearer = format!("Bearer {WORKER}");
    for version in ["2", "0", "x"] {
        let headers = [("authorization", &bearer[..]), ("creel-protocol", version)];
        let answer = exchange(creel.private, &request("GET", "/v1/log", &headers, b"")).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["kind"], "protocol");
        assert!(answer.body.contains("supported: 1"), "{}", answer.body);
        assert_eq!(answer.header("creel-protocol"), Some("1"));
    }
    creel.finish().await;
}

#[tokio::test]
async fn nonsense_is_422_with_a_reason() {
    let creel = start().await;
    let bearer = format!("Bearer {OPERATE}");
    let headers = [("authorization", &bearer[..])];
    for path in [
        "/v1/deliveries?limit=1001",
        "/v1/deliveries?since=yesterday",
        "/v1/deliveries?sauce=x",
        "/v1/deliveries/nonsense",
        "/v1/audit?limit=-1",
    ] {
        let answer = exchange(creel.private, &request("GET", path, &headers, b"")).await;
        assert_eq!(
            (answer.status, &answer.json()["kind"]),
            (422, &"invalid".into()),
            "{path}"
        );
    }
    let since = "/v1/deliveries?since=2026-01-31T00:00:00Z&until=1900000000000";
    assert_eq!(
        exchange(creel.private, &request("GET", since, &headers, b""))
            .await
            .status,
        200
    );
    let selection = br#"{"which":{"rout":"x"}}"#;
    let path = "/v1/dead/discard";
    let answer = exchange(creel.private, &request("POST", path, &headers, selection)).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("rout"), "{}", answer.body);
    creel.finish().await;
}

#[tokio::test]
async fn what_is_open_answers_and_the_rest_is_404() {
    let creel = start().await;
    for (path, status) in [
        ("/health", 200),
        ("/openapi.json", 200),
        ("/", 200),
        ("/v2", 404),
    ] {
        assert_eq!(ask(&creel, "GET", path, None).await, status, "{path}");
    }
    assert_eq!(ask(&creel, "DELETE", "/health", None).await, 405);
    creel.finish().await;
}

//! Sources that say themselves how they sign, or that they do not; a handshake.

use super::*;

#[test]
fn options_are_checked() {
    let wrong = |options: &[(&str, &str)]| {
        let source = with_options("geheim", options);
        pack("hmac").prepare(&source).unwrap_err().to_string()
    };
    assert!(wrong(&[("heder", "X")]).contains("did you mean `header`?"));
    assert!(wrong(&[("encoding", "hexx")]).contains("did you mean `hex`?"));
    assert!(wrong(&[("header", "not a header")]).contains("no header name"));
    assert!(wrong(&[("prefix", "a | b")]).contains("` | `"));
    assert!(wrong(&[("signed", "{time}.{body}")]).contains("{time}"));
    assert!(
        wrong(&[("signed", "{time}"), ("timestamp_header", "X-T")])
            .contains("does not cover the body")
    );
    assert!(wrong(&[("signed", "{bdy}")]).contains("did you mean `body`?"));
    assert!(wrong(&[("timestamp_header", "X-Time")]).contains("protects nothing"));
    let unused = SourceKeys {
        tolerance: Some(std::time::Duration::from_secs(60)),
        ..source(&["geheim"])
    };
    let error = pack("github").prepare(&unused).unwrap_err().to_string();
    assert!(error.contains("signs no time"), "{error}");
    let error = pack("github")
        .prepare(&with_options("geheim", &[("header", "X")]))
        .unwrap_err();
    assert!(error.to_string().contains("this provider has none"));
}

#[test]
fn a_configured_hmac_source_checks_what_its_options_say() {
    let options = [
        ("header", "X-Acme-Signature"),
        ("prefix", "v1:"),
        ("encoding", "base64url"),
        ("algorithm", "sha512"),
        ("key", "hex"),
        ("timestamp_header", "X-Acme-Time"),
        ("timestamp_format", "unix-ms"),
        ("signed", "acme {time} {id} {method} {path} {body}"),
        ("id_header", "X-Acme-Id"),
        ("type_json", "/kind"),
    ];
    let verifier = pack("hmac")
        .prepare(&with_options("00ff10", &options))
        .unwrap();
    let body = br#"{"kind":"order.paid"}"#.to_vec();
    let delivery = Delivery::signed(
        &verifier,
        Method::POST,
        URL,
        HeaderMap::new(),
        body,
        "a-1",
        None,
    );
    let value = delivery.headers["x-acme-signature"].to_str().unwrap();
    assert!(value.starts_with("v1:") && value.len() == 3 + 86, "{value}");
    let got = accepted(delivery.check(&verifier));
    assert_eq!(got.event_type.as_deref(), Some("order.paid"));
    let key = IdempotencyKey::Id("a-1".into());
    let event_type = got.event_type.clone();
    assert_eq!(got.idempotency, Some(Idempotency { key, event_type }));
    assert_eq!(
        refused(delivery.check_at(&verifier, NOW_UNIX_MS + 301_000)),
        Reason::Stale
    );
    assert_eq!(
        refused(delivery.with("x-acme-id", b"a-2").check(&verifier)),
        Reason::NoMatch
    );
    let mut elsewhere = delivery.clone();
    elsewhere.url = elsewhere.url.replace("/test", "/other");
    assert_eq!(refused(elsewhere.check(&verifier)), Reason::NoMatch);
}

#[test]
fn a_token_may_stand_in_its_own_header_or_as_bearer() {
    let plain = verifier("token");
    let bearer = Delivery::sample(&plain, 0);
    assert!(
        bearer.headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Bearer ")
    );
    accepted(bearer.check(&plain));
    accepted(
        bearer
            .with("authorization", format!("bearer {SECRET_A}").as_bytes())
            .check(&plain),
    );
    let named = with_options(SECRET_A, &[("header", "X-Webhook-Token")]);
    let named = pack("token").prepare(&named).unwrap();
    let delivery = Delivery::sample(&named, 0);
    assert_eq!(delivery.headers["x-webhook-token"], SECRET_A);
    accepted(delivery.check(&named));
    assert!(
        named
            .secret_headers()
            .iter()
            .any(|name| name == "x-webhook-token")
    );
    assert!(
        named
            .secret_headers()
            .iter()
            .any(|name| name == "authorization")
    );
}

#[test]
fn none_accepts_everything_and_knows_no_key() {
    let open = pack("none").prepare(&SourceKeys::default()).unwrap();
    let delivery = Delivery::sample(&open, 0);
    let got = accepted(delivery.check(&open));
    assert!(!got.body_authenticated);
    assert_eq!(got.idempotency, None);
}

#[test]
fn slack_is_answered_its_challenge_only_if_it_signed() {
    let slack = verifier("slack");
    let body = br#"{"token":"x","challenge":"3eZbrw1aBm2r","type":"url_verification"}"#.to_vec();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let delivery = Delivery::signed(&slack, Method::POST, URL, headers, body, "", None);
    let Verdict::Handshake(reply) = delivery.check(&slack) else {
        panic!("no handshake");
    };
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"3eZbrw1aBm2r"[..])
    );
    assert_eq!(reply.content_type.as_deref(), Some("text/plain"));
    let stale = delivery.check_at(&slack, NOW_UNIX_MS + 301_000);
    assert_eq!(refused(stale), Reason::Stale);
    let mut unsigned = delivery.clone();
    unsigned.headers.remove("x-slack-signature");
    assert_eq!(refused(unsigned.check(&slack)), Reason::MissingSignature);
}

//! What a sender wrote becomes no header of an answer beside the one that it was meant for.

use super::*;

const PACK: &str = r#"
title = "Echo"
methods = ["POST", "GET"]

[verify]
alg = "equal"
sig = "header:X-Token | text"

[[handshake]]
when  = ["method=GET"]
auth  = "none"
reply = { status = 200, headers = { X-Challenge = "{query:challenge}" } }

[ack]
headers = { X-Echo = "{json:/id}" }
"#;

fn echo() -> Verifier {
    let pack = Pack::parse("echo", PACK).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(pack).prepare(&source(&["secret"])).unwrap()
}

/// An answer's headers for a body, or a query.
fn answered(method: Method, target: &str, body: &str) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert("x-token", HeaderValue::from_static("secret"));
    let request = Request {
        method: &method,
        scheme: "https",
        host: "hooks.example.com",
        target,
        headers: &headers,
        body: body.as_bytes(),
    };
    echo().check(&request, NOW_UNIX_MS)
}

#[test]
fn a_line_break_of_a_senders_ends_no_header_of_an_answer() {
    let ack = |body: &str| accepted(answered(Method::POST, "/in/echo", body)).ack_headers;
    let plain = ack(r#"{"id":"plain"}"#);
    assert_eq!(plain.len(), 1);
    assert_eq!(plain[0].1, "plain");
    for break_ in ["\\r\\nx-forged: 1", "\\nx", "\\r", "\\u0000"] {
        let body = format!(r#"{{"id":"a{break_}"}}"#);
        assert_eq!(
            ack(&body),
            [],
            "{break_}: the delivery counts, the header does not"
        );
    }
}

#[test]
fn a_line_break_in_a_handshake_refuses_it() {
    let plain = answered(Method::GET, "/in/echo?challenge=abc", "");
    assert!(matches!(plain, Verdict::Handshake(_)), "{plain:?}");
    for break_ in ["%0d%0ax-forged:%201", "%0a", "%00"] {
        let target = format!("/in/echo?challenge=a{break_}");
        assert_eq!(
            refused(answered(Method::GET, &target, "")),
            Reason::BadEncoding
        );
    }
}

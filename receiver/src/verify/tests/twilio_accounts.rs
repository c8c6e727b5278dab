//! Twilio's accounts and shared keys: which of several secrets may speak for whom.

use super::*;

const MAIN: &str = "AC00000000000000000000000000000001";
const SUB: &str = "AC00000000000000000000000000000002";
const KEY: &str = "webhooks_sharedkey_alkrfhbvxlj6ekzy8czenjglmu";
const SETTINGS: &str = "x-twilio-webhooks-signature-settings";
const TOKENS: [&str; 3] = [
    "6f1ed002ab5595859014ebf0951522d9",
    "0c1d2e3f405162738495a6b7c8d9eafb",
    "ffeeddccbbaa99887766554433221100",
];

fn prepared(secrets: &[(&str, &str)]) -> Verifier {
    let keys = SourceKeys {
        secrets: secrets
            .iter()
            .map(|(id, secret)| SourceKey::new(*id, *secret))
            .collect(),
        ..SourceKeys::default()
    };
    pack("twilio").prepare(&keys).unwrap()
}

/// Signed with that token, whoever it says it is of.
fn signed(token: &str, body: &str, settings: Option<&'static str>) -> Delivery {
    let signer = prepared(&[("signer", token)]);
    let mut headers = HeaderMap::new();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert("content-type", form);
    if let Some(settings) = settings {
        headers.insert(SETTINGS, HeaderValue::from_static(settings));
    }
    let body = body.as_bytes().to_vec();
    let mut delivery = Delivery::signed(&signer, Method::POST, URL, headers, body, "1", None);
    delivery.headers.remove("i-twilio-idempotency-token");
    delivery
}

fn message(account: &str) -> String {
    format!("AccountSid={account}&MessageSid=SM1&SmsStatus=received&Body=hello")
}

#[test]
fn each_account_is_known_by_the_id_of_the_secret_that_signed() {
    let twilio = prepared(&[(MAIN, TOKENS[0]), (SUB, TOKENS[1])]);
    for (account, token, index) in [(MAIN, TOKENS[0], 0), (SUB, TOKENS[1], 1)] {
        let got = accepted(signed(token, &message(account), None).check(&twilio));
        assert_eq!(got.key_index, index);
        assert_eq!(twilio.key_id(got.key_index), Some(account));
    }
}

#[test]
fn no_account_speaks_for_another_whose_secret_is_named_after_it() {
    let twilio = prepared(&[(MAIN, TOKENS[0]), (SUB, TOKENS[1])]);
    let forged = signed(TOKENS[1], &message(MAIN), None);
    assert_eq!(refused(forged.check(&twilio)), Reason::NoMatch);
    // nor by naming both
    let both = format!("AccountSid={SUB}&{}", message(MAIN));
    let forged = signed(TOKENS[1], &both, None);
    assert_eq!(refused(forged.check(&twilio)), Reason::NoMatch);
    // by GET either
    let url = format!("{URL}?{}", message(MAIN));
    let signer = prepared(&[("signer", TOKENS[1])]);
    let get = |url: &str| {
        Delivery::signed(
            &signer,
            Method::GET,
            url,
            HeaderMap::new(),
            Vec::new(),
            "1",
            None,
        )
    };
    assert_eq!(refused(get(&url).check(&twilio)), Reason::NoMatch);
    accepted(get(&url.replace(MAIN, SUB)).check(&twilio));
}

#[test]
fn an_account_without_a_secret_of_its_name_may_be_signed_by_any() {
    let twilio = prepared(&[("TWILIO_AUTH_TOKEN", TOKENS[0]), (SUB, TOKENS[1])]);
    accepted(signed(TOKENS[0], &message(MAIN), None).check(&twilio));
    let unnamed = "MessageSid=SM1&SmsStatus=received";
    accepted(signed(TOKENS[1], unnamed, None).check(&twilio));
}

#[test]
fn while_an_accounts_token_is_changed_both_of_its_secrets_sign() {
    let new = format!("{SUB}.new");
    let twilio = prepared(&[(MAIN, TOKENS[0]), (SUB, TOKENS[1]), (&new, TOKENS[2])]);
    for (token, index) in [(TOKENS[1], 1), (TOKENS[2], 2)] {
        let got = accepted(signed(token, &message(SUB), None).check(&twilio));
        assert_eq!(got.key_index, index);
    }
}

#[test]
fn a_shared_key_goes_before_the_account() {
    let twilio = prepared(&[(MAIN, TOKENS[0]), (KEY, TOKENS[2])]);
    let by_key = "key=webhooks_sharedkey_alkrfhbvxlj6ekzy8czenjglmu,algorithm=HMAC_SHA256";
    let got = accepted(signed(TOKENS[2], &message(MAIN), Some(by_key)).check(&twilio));
    assert_eq!(twilio.key_id(got.key_index), Some(KEY));
    let stolen = signed(TOKENS[0], &message(MAIN), Some(by_key));
    assert_eq!(refused(stolen.check(&twilio)), Reason::NoMatch);
    // a key that is configured under another id
    let twilio = prepared(&[(MAIN, TOKENS[0]), ("shared", TOKENS[2])]);
    accepted(signed(TOKENS[2], &message(MAIN), Some(by_key)).check(&twilio));
}

#[test]
fn a_wrong_secret_of_an_account_is_told_by_its_name() {
    let twilio = prepared(&[(MAIN, TOKENS[0]), (SUB, TOKENS[2])]);
    let delivery = signed(TOKENS[1], &message(SUB), None);
    let request = Request {
        method: &delivery.method,
        scheme: "https",
        host: "hooks.example.com",
        target: "/in/test",
        headers: &delivery.headers,
        body: &delivery.body,
    };
    let around = Around {
        source: "sms",
        others: &[],
        arrived_unix_ms: NOW_UNIX_MS,
    };
    let told = diagnose(&twilio, &request, &around);
    assert_eq!(told.word, "wrong_secret");
    assert!(told.hint.contains(SUB), "{}", told.hint);
}

#[test]
fn a_message_with_its_status_is_the_event_where_no_token_is_sent_and_a_call_is_none() {
    let twilio = prepared(&[(MAIN, TOKENS[0])]);
    let of = |body: &str| accepted(signed(TOKENS[0], body, None).check(&twilio)).idempotency;
    let sent = of("MessageSid=SM1&MessageStatus=sent");
    assert!(sent.is_some());
    assert_eq!(sent, of("MessageSid=SM1&MessageStatus=sent&x=1"));
    assert_ne!(sent, of("MessageSid=SM1&MessageStatus=delivered"));
    assert_ne!(sent, of("MessageSid=SM2&MessageStatus=sent"));
    assert_eq!(of("CallSid=CA1&CallStatus=in-progress&Digits=1"), None);
    let token = signed(TOKENS[0], "CallSid=CA1&CallStatus=in-progress", None)
        .with("i-twilio-idempotency-token", b"t1");
    assert!(accepted(token.check(&twilio)).idempotency.is_some());
}

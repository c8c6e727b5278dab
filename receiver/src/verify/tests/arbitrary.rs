//! Requests, signatures and packs that nobody wrote.

use proptest::prelude::*;

use super::*;

fn header_values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "(v1,|sha256=|v0=|t=[0-9]{1,20},v1=|Basic |Bearer |)[A-Za-z0-9+/=, ]{0,60}"
            .prop_map(String::into_bytes),
        "[0-9]{0,22}".prop_map(String::into_bytes),
        Just(b"application/x-www-form-urlencoded".to_vec()),
        Just(b"application/json".to_vec()),
        Just(b"multipart/form-data; boundary=b".to_vec()),
    ]
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[a-z%+&=0-9{}\\[\\]\":,/]{0,120}".prop_map(String::into_bytes),
        Just(br#"{"type":"url_verification","challenge":"x","id":"1"}"#.to_vec()),
        Just(b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\r\n--b--\r\n".to_vec()),
    ]
}

const HEADERS: &[&str] = &[
    "x-hub-signature-256",
    "stripe-signature",
    "x-shopify-hmac-sha256",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "svix-id",
    "svix-signature",
    "svix-timestamp",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-twilio-signature",
    "x-twilio-webhooks-signature-settings",
    "authorization",
    "x-gitlab-token",
    "x-signature",
    "content-type",
    "x-github-delivery",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_requests_are_refused_and_break_nothing(
        headers in proptest::collection::vec((0..HEADERS.len(), header_values()), 0..8),
        body in bodies(),
        target in "/[a-z?&=%0-9#']{0,40}",
        post in any::<bool>(),
        now in any::<i64>(),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(HEADERS[name], value);
            }
        }
        let method = if post { Method::POST } else { Method::GET };
        let request = Request {
            method: &method, scheme: "https", host: "h:1", target: &target, headers: &map, body: &body,
        };
        for name in SIGNABLE {
            let verifier = verifier(name);
            let refused = matches!(verifier.check(&request, now), Verdict::Refused(_));
            prop_assert!(refused, "{name}");
            verifier.items(&request);
            verifier.order_key(&request);
        }
    }

    #[test]
    fn one_flipped_bit_in_the_body_is_refused(
        which in 0..SIGNABLE.len(), n in 0u64..8, at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let name = SIGNABLE[which];
        let verifier = verifier(name);
        let mut delivery = Delivery::sample(&verifier, n);
        let at = at.index(delivery.body.len());
        let before = delivery.body[at];
        delivery.body[at] ^= 1 << bit;
        // Upper and lower case of a percent escape are the same form.
        let same_form = name == "twilio" && n % 2 == 0 && bit == 5 && before.is_ascii_alphabetic()
            && delivery.body[at.saturating_sub(2)..at].contains(&b'%');
        let verdict = delivery.check(&verifier);
        let covered = verifier.pack().facts().body_authenticated;
        prop_assert_eq!(matches!(verdict, Verdict::Refused(_)), covered && !same_form, "{} {:?}", name, verdict);
    }

    #[test]
    fn one_flipped_bit_in_the_signature_is_refused(
        which in 0..SIGNABLE.len(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let name = SIGNABLE[which];
        let verifier = verifier(name);
        let header = signature_header(name);
        let delivery = Delivery::sample(&verifier, 0);
        let before = delivery.headers[header.as_str()].as_bytes().to_vec();
        let mut value = before.clone();
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        // Hexadecimal digits and the names of authorization schemes have no case.
        let hexadecimal = ["github", "hmac", "slack", "stripe"].contains(&name);
        let scheme_name = ["basic", "token"].contains(&name) && at < 7;
        if (hexadecimal || scheme_name) && value.eq_ignore_ascii_case(&before) {
            return Ok(());
        }
        if HeaderValue::from_bytes(&value).is_ok() {
            let verdict = delivery.with(&header, &value).check(&verifier);
            prop_assert!(matches!(verdict, Verdict::Refused(_)), "{name} {verdict:?}");
        }
    }

    #[test]
    fn any_body_signed_is_accepted(which in 0..SIGNABLE.len(), body in bodies(), id in "[a-zA-Z0-9_-]{1,40}") {
        let name = SIGNABLE[which];
        let verifier = verifier(name);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let delivery = Delivery::signed(&verifier, Method::POST, URL, headers, body, &id, Some("some.type".into()));
        prop_assert!(!matches!(delivery.check(&verifier), Verdict::Refused(_)), "{name}");
    }

    #[test]
    fn any_text_is_a_pack_or_a_list_of_problems(text in "(\\[verify\\]\n)?([a-z_]{1,9} ?= ?(\"[^\"\n]{0,30}\"|[0-9]+|true|\\[\\])\n){0,6}") {
        if let Err(error) = Pack::parse("any", &text) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.problems.iter().all(|p| p.line > 0 && p.column > 0));
        }
    }
}

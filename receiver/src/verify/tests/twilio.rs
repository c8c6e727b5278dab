//! Twilio: what covers a body that is not signed itself, and the spellings of a URL.

use super::*;

#[test]
fn a_twilio_batch_is_known_by_the_ids_of_its_items() {
    let twilio = verifier("twilio");
    let mut delivery = Delivery::sample(&twilio, 1);
    assert!(delivery.url.contains("?bodySHA256="));
    delivery.headers.remove("i-twilio-idempotency-token");
    let got = accepted(delivery.check(&twilio));
    assert_eq!(got.event_id, None);
    assert!(matches!(
        got.idempotency.unwrap().key,
        IdempotencyKey::ItemIds(_)
    ));
    assert_eq!(
        got.event_type.as_deref(),
        Some("com.twilio.messaging.message.delivered")
    );
}

#[test]
fn twilio_is_answered_with_twiml_that_does_nothing() {
    let ack = pack("twilio").ack().unwrap().clone();
    assert_eq!(
        (ack.status, ack.content_type.as_str(), ack.body.as_str()),
        (200, "text/xml", "<Response/>")
    );
    assert!(pack("github").ack().is_none());
}

#[test]
fn a_twilio_body_that_no_hash_and_no_form_covers_is_refused() {
    let twilio = verifier("twilio");
    let get = Delivery::signed(
        &twilio,
        Method::GET,
        URL,
        HeaderMap::new(),
        Vec::new(),
        "",
        None,
    );
    accepted(get.check(&twilio));
    let mut forged = get.clone();
    forged.method = Method::POST;
    forged.body = b"{\"evil\":1}".to_vec();
    assert_eq!(refused(forged.check(&twilio)), Reason::BodyHashMissing);
    let forged = forged.with("content-type", b"multipart/form-data; boundary=x");
    assert_eq!(refused(forged.check(&twilio)), Reason::BadBody);
    let forged = forged.with("content-type", b"application/x-www-form-urlencoded");
    assert_eq!(refused(forged.check(&twilio)), Reason::NoMatch);
}

#[test]
fn behind_a_proxy_the_public_url_is_what_twilio_signed() {
    let twilio = verifier("twilio");
    let mut delivery = Delivery::sample(&twilio, 1);
    delivery.url = delivery
        .url
        .replace("https://hooks.example.com", "http://10.0.0.7:8080");
    assert_eq!(refused(delivery.check(&twilio)), Reason::NoMatch);
    for public in [
        "https://hooks.example.com",
        "https://hooks.example.com/in/test#rc=5&rp=all",
    ] {
        let behind = SourceKeys {
            public_url: Some(public.into()),
            ..source(&[SECRET_A])
        };
        accepted(delivery.check(&pack("twilio").prepare(&behind).unwrap()));
    }
}

#[test]
fn a_user_in_the_twilio_url_may_or_may_not_be_signed() {
    let twilio = verifier("twilio");
    let sample = twilio.pack().sample(0, NOW_UNIX_MS);
    let with_user = "https://bob:s3cret@hooks.example.com/in/test";
    let mut delivery = Delivery::sample(&twilio, 0);
    delivery.url = with_user.into();
    accepted(delivery.check(&twilio));
    // Over the URL with the user, as the tests of Twilio's SDKs have it.
    use hmac::{KeyInit, Mac};
    let mut signed = with_user.as_bytes().to_vec();
    signed.extend(form::sorted(
        &form::urlencoded(&sample.body).collect::<Vec<_>>(),
    ));
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(SECRET_A.as_bytes()).unwrap();
    mac.update(&signed);
    let tag = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        mac.finalize().into_bytes(),
    );
    let mut delivery = delivery.with("x-twilio-signature", tag.as_bytes());
    accepted(delivery.check(&twilio));
    delivery.url = URL.into();
    assert_eq!(refused(delivery.check(&twilio)), Reason::NoMatch);
    let known = delivery.with("authorization", b"Basic Ym9iOnMzY3JldA==");
    accepted(known.check(&twilio));
}

#[test]
fn twilio_keys_may_name_their_algorithm() {
    let twilio = verifier("twilio");
    let sample = twilio.pack().sample(0, NOW_UNIX_MS);
    let settings = "x-twilio-webhooks-signature-settings";
    let signed_with = |value: &'static str| {
        let mut headers = sample.headers.clone();
        headers.insert(settings, HeaderValue::from_static(value));
        Delivery::signed(
            &twilio,
            Method::POST,
            URL,
            headers,
            sample.body.clone(),
            "1",
            None,
        )
    };
    let strong = signed_with("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256");
    assert_eq!(strong.headers["x-twilio-signature"].len(), 44);
    accepted(strong.check(&twilio));
    // As the SDKs do: no algorithm in the header means SHA-1.
    accepted(signed_with("key=webhooks_sharedkey_1").check(&twilio));
    let md5 = strong.with(settings, b"key=1,algorithm=HMAC_MD5");
    assert_eq!(refused(md5.check(&twilio)), Reason::UnknownAlgorithm);
}

//! What holds for every pack, and for single ones what goes by the same rules.

use super::*;

#[test]
fn every_built_in_pack_reads_without_a_problem_and_says_what_it_is() {
    for pack in Registry::built_in().packs() {
        let facts = pack.facts();
        assert_ne!(facts.title, facts.name, "{}", facts.name);
        let configurable = ["hmac", "token", "none"].contains(&pack.name());
        assert!(configurable || facts.docs.is_some(), "{}", facts.name);
        assert!(
            facts.secret.is_some() || pack.name() == "none",
            "{}",
            facts.name
        );
        assert!(
            !facts.retry.on.is_empty() || facts.retry.note.is_some(),
            "{}",
            facts.name
        );
    }
}

#[test]
fn what_a_pack_signs_its_verifier_accepts() {
    for name in SIGNABLE {
        let verifier = verifier(name);
        for n in 0..4 {
            let sample = verifier.pack().sample(n, NOW_UNIX_MS);
            let got = accepted(Delivery::sample(&verifier, n).check(&verifier));
            assert_eq!(got.key_index, 0);
            let covered = !["basic", "gitlab", "token"].contains(name);
            assert_eq!(got.body_authenticated, covered, "{name}");
            if !["basic", "hmac", "token"].contains(name) {
                assert_eq!(got.event_type, sample.event_type, "{name}");
                assert!(got.event_id.is_some(), "{name}");
                assert!(
                    matches!(got.idempotency.unwrap().key, IdempotencyKey::Id(_)),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn two_samples_are_two_events_and_one_sample_is_one() {
    for name in ["github", "stripe", "slack", "twilio", "standardwebhooks"] {
        let verifier = verifier(name);
        let id = |n| accepted(Delivery::sample(&verifier, n).check(&verifier)).event_id;
        assert_eq!(id(5), id(5), "{name}");
        assert_ne!(id(5), id(6), "{name}");
    }
}

#[test]
fn every_bad_signature_is_refused_by_every_pack() {
    for name in SIGNABLE {
        let verifier = verifier(name);
        let header = signature_header(name);
        let good = Delivery::sample(&verifier, 0);
        let value = good.headers[header.as_str()].as_bytes().to_vec();
        let prefix_end = value
            .iter()
            .rposition(|b| b"=, ".contains(b) && *b != b'=')
            .map_or(0, |at| at + 1);
        let zeroes: Vec<u8> = value
            .iter()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    b'0'
                } else {
                    *byte
                }
            })
            .collect();
        let variants: Vec<(&str, Vec<u8>)> = vec![
            ("empty", Vec::new()),
            ("one less", value[..value.len() - 1].to_vec()),
            ("one more", [&value[..], b"0"].concat()),
            ("half", value[..value.len() / 2].to_vec()),
            ("prefix", value[..prefix_end].to_vec()),
            ("zeroes", zeroes),
            ("v1,", b"v1,".to_vec()),
            ("v1=", b"t=1767806829,v1=".to_vec()),
            ("v0=", b"v0=".to_vec()),
            ("sha256=", b"sha256=".to_vec()),
            ("Basic", b"Basic Og==".to_vec()),
            ("Bearer", b"Bearer ".to_vec()),
            ("null", b"null".to_vec()),
            ("bytes", b"\xff\xfe\x80".to_vec()),
            ("secret", SECRET_B.as_bytes().to_vec()),
            ("many", b"v1,AAAA ".repeat(200)),
            ("long", vec![b'a'; 9000]),
        ];
        accepted(good.check(&verifier));
        for (variant, value) in variants {
            let verdict = good.with(&header, &value).check(&verifier);
            assert!(
                matches!(verdict, Verdict::Refused(_)),
                "{name} {variant}: {verdict:?}"
            );
        }
        let mut missing = good.clone();
        missing.headers.remove(header.as_str());
        assert_eq!(
            refused(missing.check(&verifier)),
            Reason::MissingSignature,
            "{name}"
        );
        let mut twice = good.clone();
        let other = HeaderValue::from_static("other");
        twice.headers.append(
            http::HeaderName::from_bytes(header.as_bytes()).unwrap(),
            other,
        );
        assert_eq!(
            refused(twice.check(&verifier)),
            Reason::DuplicateHeader,
            "{name}"
        );
    }
}

#[test]
fn the_same_header_twice_with_one_value_passes() {
    let verifier = verifier("github");
    let mut delivery = Delivery::sample(&verifier, 0);
    let name = http::HeaderName::from_static("x-hub-signature-256");
    let value = delivery.headers[&name].clone();
    delivery.headers.append(name, value);
    accepted(delivery.check(&verifier));
}

#[test]
fn a_signed_time_is_good_for_its_tolerance_and_no_longer() {
    for name in [
        "gitlab-signed",
        "slack",
        "standardwebhooks",
        "stripe",
        "svix",
    ] {
        let verifier = verifier(name);
        let delivery = Delivery::sample(&verifier, 0);
        accepted(delivery.check_at(&verifier, NOW_UNIX_MS + 299_000));
        accepted(delivery.check_at(&verifier, NOW_UNIX_MS - 299_000));
        let late = delivery.check_at(&verifier, NOW_UNIX_MS + 301_000);
        let early = delivery.check_at(&verifier, NOW_UNIX_MS - 301_000);
        assert_eq!(refused(late), Reason::Stale, "{name}");
        assert_eq!(refused(early), Reason::Future, "{name}");
    }
}

#[test]
fn a_source_can_widen_the_tolerance() {
    let wide = SourceKeys {
        tolerance: Some(std::time::Duration::from_secs(3600)),
        ..source(&[SECRET_A])
    };
    let wide = pack("stripe").prepare(&wide).unwrap();
    let delivery = Delivery::sample(&wide, 0);
    accepted(delivery.check_at(&wide, NOW_UNIX_MS + 3_599_000));
    assert_eq!(
        refused(delivery.check_at(&wide, NOW_UNIX_MS + 3_601_000)),
        Reason::Stale
    );
}

#[test]
fn two_times_in_one_header_are_refused() {
    let verifier = verifier("stripe");
    let delivery = Delivery::sample(&verifier, 0);
    let value = delivery.headers["stripe-signature"].to_str().unwrap();
    let two = delivery.with("stripe-signature", format!("{value},t=1").as_bytes());
    assert_eq!(refused(two.check(&verifier)), Reason::BadTimestamp);
}

#[test]
fn a_method_the_pack_does_not_name_is_refused() {
    let verifier = verifier("github");
    let mut delivery = Delivery::sample(&verifier, 0);
    delivery.method = Method::PUT;
    assert_eq!(refused(delivery.check(&verifier)), Reason::Method);
    assert_eq!(verifier.methods(), [Method::POST]);
}

#[test]
fn an_idempotency_key_needs_a_unique_id_or_a_signed_time() {
    let key = |verifier: &Verifier, delivery: &Delivery| {
        accepted(delivery.check(verifier))
            .idempotency
            .map(|i| i.key)
    };
    let slack = verifier("slack");
    let mut headers = HeaderMap::new();
    headers.insert(
        "content-type",
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let command = |body: &str| {
        let body = body.as_bytes().to_vec();
        Delivery::signed(&slack, Method::POST, URL, headers.clone(), body, "", None)
    };
    let one = key(&slack, &command("command=%2Fdeploy&text=a"));
    assert!(matches!(one, Some(IdempotencyKey::Signed(_))));
    assert_eq!(one, key(&slack, &command("command=%2Fdeploy&text=a")));
    assert_ne!(one, key(&slack, &command("command=%2Fdeploy&text=b")));
    let hmac = verifier("hmac");
    assert_eq!(key(&hmac, &Delivery::sample(&hmac, 0)), None);
    let token = verifier("token");
    assert_eq!(key(&token, &Delivery::sample(&token, 0)), None);
}

#[test]
fn the_natural_order_of_a_delivery_can_be_asked_for() {
    let github = verifier("github");
    let sample = Delivery::sample(&github, 0);
    let request = Request {
        method: &sample.method,
        scheme: "https",
        host: "h",
        target: "/",
        headers: &sample.headers,
        body: &sample.body,
    };
    assert_eq!(
        github.order_key(&request).as_deref(),
        Some("octo-org/hello-world")
    );
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
}

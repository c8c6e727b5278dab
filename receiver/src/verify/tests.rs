//! What holds for every pack, and for single schemes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;

const NOW_UNIX_MS: i64 = 1_767_806_829_000;
const URL: &str = "https://hooks.example.com/in/test";
/// base64 of 24 bytes each, with and without what some packs want around it.
const SECRET_A: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECRET_B: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Packs whose deliveries can be signed here; the others need a private key or nothing.
const SIGNABLE: &[&str] = &[
    "basic",
    "github",
    "gitlab",
    "gitlab-signed",
    "hmac",
    "shopify",
    "slack",
    "standardwebhooks",
    "stripe",
    "svix",
    "token",
    "twilio",
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::built_in);
static VERIFIERS: LazyLock<BTreeMap<&str, Arc<Verifier>>> = LazyLock::new(|| {
    let prepare = |name: &&'static str| {
        let secret = secret_for(name, SECRET_A);
        (
            *name,
            Arc::new(pack(name).prepare(&source(&[&secret])).unwrap()),
        )
    };
    SIGNABLE.iter().map(prepare).collect()
});

fn pack(name: &str) -> Arc<Pack> {
    REGISTRY.get(name).unwrap().clone()
}

fn source(secrets: &[&str]) -> SourceKeys {
    SourceKeys {
        secrets: secrets
            .iter()
            .enumerate()
            .map(|(i, secret)| SourceKey::new(format!("key{i}"), *secret))
            .collect(),
        ..SourceKeys::default()
    }
}

fn with_options(secret: &str, options: &[(&str, &str)]) -> SourceKeys {
    SourceKeys {
        options: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..source(&[secret])
    }
}

fn secret_for(name: &str, secret: &str) -> String {
    match name {
        "basic" => format!("hook:{secret}"),
        _ => secret.to_owned(),
    }
}

fn verifier(name: &str) -> Arc<Verifier> {
    VERIFIERS[name].clone()
}

/// A delivery on its way: what a sender signed, and what can be changed in it.
#[derive(Clone)]
struct Delivery {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Delivery {
    fn sample(verifier: &Verifier, n: u64) -> Self {
        let sample = verifier.pack().sample(n, NOW_UNIX_MS);
        Self::signed(
            verifier,
            sample.method,
            URL,
            sample.headers,
            sample.body,
            &sample.id,
            sample.event_type,
        )
    }

    fn signed(
        verifier: &Verifier,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        id: &str,
        event_type: Option<String>,
    ) -> Self {
        let unsigned = Unsigned {
            method: &method,
            url,
            headers: &headers,
            body: &body,
            id,
            event_type: event_type.as_deref(),
        };
        let signed = verifier.sign(&unsigned, NOW_UNIX_MS).unwrap();
        Self {
            method,
            url: signed.url,
            headers: signed.headers,
            body,
        }
    }

    fn check(&self, verifier: &Verifier) -> Verdict {
        self.check_at(verifier, NOW_UNIX_MS)
    }

    fn check_at(&self, verifier: &Verifier, now_unix_ms: i64) -> Verdict {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let at = rest.find('/').unwrap();
        let request = Request {
            method: &self.method,
            scheme,
            host: &rest[..at],
            target: &rest[at..],
            headers: &self.headers,
            body: &self.body,
        };
        verifier.check(&request, now_unix_ms)
    }

    fn with(&self, name: &str, value: &[u8]) -> Self {
        let mut changed = self.clone();
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        changed
            .headers
            .insert(name, HeaderValue::from_bytes(value).unwrap());
        changed
    }
}

fn accepted(verdict: Verdict) -> Accepted {
    match verdict {
        Verdict::Verified(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

fn refused(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Refused(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// The header that holds the signature: the one that depends on the secret.
fn signature_header(name: &str) -> String {
    let [a, b] = [SECRET_A, SECRET_B].map(|secret| {
        let secret = secret_for(name, secret);
        let verifier = pack(name).prepare(&source(&[&secret])).unwrap();
        Delivery::sample(&verifier, 0).headers
    });
    let mut differing = a.iter().filter(|(name, value)| b.get(*name) != Some(value));
    let (header, _) = differing.next().unwrap();
    assert!(differing.next().is_none());
    header.to_string()
}

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
fn any_of_several_secrets_may_have_signed_and_is_named() {
    for name in SIGNABLE {
        let [a, b] = [SECRET_A, SECRET_B].map(|secret| secret_for(name, secret));
        let both = pack(name).prepare(&source(&[&b, &a])).unwrap();
        let got = accepted(Delivery::sample(&verifier(name), 0).check(&both));
        assert_eq!(got.key_index, 1, "{name}");
        assert_eq!(both.key_id(1), Some("key1"));
        let only_b = pack(name).prepare(&source(&[&b])).unwrap();
        assert_eq!(
            refused(Delivery::sample(&verifier(name), 0).check(&only_b)),
            Reason::NoMatch
        );
    }
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
fn weak_or_broken_secrets_are_refused() {
    let refused = |name: &str, secrets: &[&str]| {
        pack(name)
            .prepare(&source(secrets))
            .unwrap_err()
            .to_string()
    };
    for name in SIGNABLE {
        assert!(refused(name, &[]).contains("needs a secret"), "{name}");
        assert!(refused(name, &[""]).contains("is empty"), "{name}");
        assert!(
            refused(name, &[SECRET_A, " \t"]).contains("secret "),
            "{name}"
        );
    }
    assert!(refused("github", &["00000000"]).contains("all zero"));
    assert!(refused("github", &["geheim\n"]).contains("line break"));
    assert!(refused("svix", &["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]).contains("all zero"));
    assert!(refused("svix", &["whsec_"]).contains("is empty"));
    assert!(refused("svix", &["whsec_%%%"]).contains("not base64"));
    assert!(refused("basic", &["no-colon"]).contains("user:password"));
    assert!(refused("basic", &["user:"]).contains("user:password"));
    assert!(refused("none", &["secret"]).contains("takes no secret"));
    assert!(refused("standardwebhooks-v1a", &["whpk_AQID"]).contains("public key"));
    assert!(refused("github", &["x"; 17]).contains("more than 16"));
    let error = refused("github", &["geheim", ""]);
    assert!(
        error.contains("secret 1") && !error.contains("geheim"),
        "{error}"
    );
}

#[test]
fn a_verifier_shows_no_secret() {
    let verifier = verifier("github");
    assert!(!format!("{verifier:?}").contains(SECRET_A));
    assert!(!format!("{:?}", source(&[SECRET_A])).contains(SECRET_A));
    let verdict = format!("{:?}", Delivery::sample(&verifier, 0).check(&verifier));
    assert!(!verdict.contains("octocat"), "{verdict}");
}

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
    signed.extend(super::form::sorted(
        &super::form::urlencoded(&sample.body).collect::<Vec<_>>(),
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
fn a_broken_pack_is_told_line_column_and_suggestion() {
    let text = "title = \"x\"\n[verify]\nalg = \"hmac-sha265\"\nsig = \"header:X | hexx\"\nsigned = \"{body\"\nsignd = 1\n\n[evnt]\nid = 3\n";
    let error = Pack::parse("x", text).unwrap_err();
    let found: Vec<(usize, usize, &str)> = error
        .problems
        .iter()
        .map(|p| (p.line, p.column, p.at.as_str()))
        .collect();
    assert!(found.contains(&(3, 7, "verify.alg")), "{error}");
    assert!(found.contains(&(4, 7, "verify.sig")), "{error}");
    assert!(found.contains(&(5, 10, "verify.signed")), "{error}");
    assert!(found.contains(&(6, 1, "verify.signd")), "{error}");
    assert!(
        found
            .iter()
            .any(|(line, _, at)| (*line, *at) == (8, "evnt")),
        "{error}"
    );
    let text = error.to_string();
    for wanted in [
        "`hmac-sha256`",
        "`hex`",
        "without `}`",
        "`signed`",
        "`event`",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    let error = Pack::parse("x", "[verify\n").unwrap_err();
    assert_eq!(error.problems[0].line, 1);
    assert!(Pack::parse("x", "title = \"x\"").is_err());
}

#[test]
fn an_unknown_provider_is_met_with_a_suggestion() {
    let registry = Registry::built_in();
    assert_eq!(registry.did_you_mean("githb"), Some("github"));
    assert_eq!(registry.did_you_mean("zzzzzzzz"), None);
}

#[test]
fn a_user_pack_is_read_like_a_built_in_one() {
    let mut registry = Registry::built_in();
    let text = "[verify]\nalg=\"hmac-sha256\"\nsig=\"header:X-Own | hex\"\nsigned=\"{body}\"";
    registry.add("own", text).unwrap();
    let verifier = registry
        .get("own")
        .unwrap()
        .prepare(&source(&["geheim"]))
        .unwrap();
    accepted(Delivery::sample(&verifier, 0).check(&verifier));
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
}

/// Digests, tags and tokens are compared by `subtle` and `ring` only.
#[test]
fn no_digest_is_compared_with_an_operator() {
    let words = regex::Regex::new(
        r"(?i)(signature|token|digest|credential|secret|(^|[^a-z])(sig|mac|tag|hash)).*[=!]=",
    )
    .unwrap();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/verify");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests.rs") {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            assert!(
                !words.is_match(code),
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
    assert!(files > 20);
    assert!(words.is_match("if expected_tag == given {"));
}

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

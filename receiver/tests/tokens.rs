//! JSON Web Tokens: which are believed, and why each of the others is not.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use creel_receiver::verify::{
    Keyring, PrepareError, Reason, Registry, Request, SourceKey, SourceKeys, Verdict, Verifier,
};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const NOW: i64 = 1_767_225_611;
const BODY: &[u8] = br#"{"order":7}"#;
const SECRET: &str = "0123456789abcdef-shared";

const SHARED: &str = r#"
[verify]
alg = "jwt"
sig = "header:X-Token | text"
jwt = { algs = ["HS256"], require = ["jti"], equal = { iss = "acme", aud = "hooks" }, max_age = 300, hash = { body = "sha256-hex:body" } }
"#;

const PUBLIC: &str = r#"
[verify]
alg = "jwt"
key = "jwks"
sig = "header:X-Token | text"
jwt = { algs = ["ES256", "RS256", "EdDSA"], require = ["iat"] }
"#;

fn verifier(pack: &str, secrets: &[&str]) -> Result<Verifier, PrepareError> {
    let mut registry = Registry::built_in();
    let pack = registry.add("acme", pack).unwrap();
    pack.prepare(&SourceKeys {
        secrets: secrets
            .iter()
            .map(|secret| SourceKey::new("0", *secret))
            .collect(),
        ..SourceKeys::default()
    })
}

fn coded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = format!("{}.{}", coded(header), coded(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

fn claims() -> Value {
    json!({
        "iss": "acme", "aud": "hooks", "jti": "1", "iat": NOW - 5, "nbf": NOW - 5, "exp": NOW + 60,
        "body": hex::encode(Sha256::digest(BODY)),
    })
}

fn header() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn judged(verifier: &Verifier, token: &str, body: &[u8]) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert("x-token", HeaderValue::from_str(token).unwrap());
    let request = Request {
        method: &Method::POST,
        scheme: "https",
        host: "hooks.example.com",
        target: "/in/acme",
        headers: &headers,
        body,
    };
    verifier.check(&request, NOW * 1000)
}

fn reason(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Refused(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn is_verified(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Verified(_))
}

#[test]
fn a_token_that_says_all_it_should_is_believed() {
    let verifier = verifier(SHARED, &[SECRET]).unwrap();
    let token = hs256(&header(), &claims(), SECRET.as_bytes());
    let Verdict::Verified(accepted) = judged(&verifier, &token, BODY) else {
        panic!("it is genuine");
    };
    assert!(accepted.body_authenticated);
    let mut several = claims();
    several["aud"] = json!(["others", "hooks"]);
    let token = hs256(&header(), &several, SECRET.as_bytes());
    assert!(is_verified(&judged(&verifier, &token, BODY)));
}

#[test]
fn each_claim_that_is_off_has_its_reason() {
    let verifier = verifier(SHARED, &[SECRET]).unwrap();
    let cases: [(&str, Value, Reason); 14] = [
        ("iss", json!("evil"), Reason::Claim),
        ("iss", Value::Null, Reason::MissingClaim),
        ("aud", json!("others"), Reason::Claim),
        ("aud", json!(["others", "more"]), Reason::Claim),
        ("jti", Value::Null, Reason::MissingClaim),
        ("iat", json!(NOW - 301), Reason::Stale),
        ("iat", json!(NOW + 301), Reason::Future),
        ("iat", json!("soon"), Reason::BadTimestamp),
        ("iat", Value::Null, Reason::MissingClaim),
        ("nbf", json!(NOW + 301), Reason::Future),
        ("exp", json!(NOW - 6), Reason::Stale),
        ("exp", json!(-1), Reason::BadTimestamp),
        ("body", json!("00"), Reason::BodyHash),
        ("body", Value::Null, Reason::MissingClaim),
    ];
    for (claim, value, wanted) in cases {
        let mut bad = claims();
        bad[claim] = value;
        let token = hs256(&header(), &bad, SECRET.as_bytes());
        assert_eq!(reason(judged(&verifier, &token, BODY)), wanted, "{bad}");
    }
    let token = hs256(&header(), &claims(), SECRET.as_bytes());
    assert_eq!(
        reason(judged(&verifier, &token, b"other")),
        Reason::BodyHash
    );
    let mut just = claims();
    (just["iat"], just["exp"]) = (json!(NOW - 300), json!(NOW - 5));
    let token = hs256(&header(), &just, SECRET.as_bytes());
    assert!(is_verified(&judged(&verifier, &token, BODY)));
}

#[test]
fn claims_that_were_changed_after_signing_are_refused() {
    let verifier = verifier(SHARED, &[SECRET]).unwrap();
    let token = hs256(&header(), &claims(), SECRET.as_bytes());
    let parts: Vec<&str> = token.split('.').collect();
    let mut other = claims();
    other["jti"] = json!("2");
    let forged = format!("{}.{}.{}", parts[0], coded(&other), parts[2]);
    assert_eq!(reason(judged(&verifier, &forged, BODY)), Reason::NoMatch);
    let wrong = hs256(&header(), &claims(), b"another secret");
    assert_eq!(reason(judged(&verifier, &wrong, BODY)), Reason::NoMatch);
}

#[test]
fn only_the_algorithms_of_the_pack_count_and_their_case_does() {
    let verifier = verifier(SHARED, &[SECRET]).unwrap();
    for alg in [
        "none", "None", "NONE", "hs256", "HS512", "RS256", "", " HS256",
    ] {
        let header = json!({"alg": alg});
        let signed = hs256(&header, &claims(), SECRET.as_bytes());
        let bare = format!("{}.{}.", coded(&header), coded(&claims()));
        for token in [signed, bare] {
            let got = reason(judged(&verifier, &token, BODY));
            assert_eq!(got, Reason::UnknownAlgorithm, "{alg}");
        }
    }
    for header in [json!({}), json!({"alg": 5}), json!({"alg": ["HS256"]})] {
        let token = hs256(&header, &claims(), SECRET.as_bytes());
        let got = reason(judged(&verifier, &token, BODY));
        assert_eq!(got, Reason::UnknownAlgorithm, "{header}");
    }
    let critical = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let token = hs256(&critical, &claims(), SECRET.as_bytes());
    assert_eq!(
        reason(judged(&verifier, &token, BODY)),
        Reason::UnknownAlgorithm
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let verifier = verifier(SHARED, &[SECRET]).unwrap();
    let good = hs256(&header(), &claims(), SECRET.as_bytes());
    let padded = format!("{good}=");
    let parts: Vec<&str> = good.split('.').collect();
    let four = format!("{good}.{}", parts[2]);
    let two = format!("{}.{}", parts[0], parts[1]);
    let listed = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("[]"), parts[1], parts[2]);
    for token in [padded, four, two, listed, String::from("..")] {
        assert_eq!(
            reason(judged(&verifier, &token, BODY)),
            Reason::BadEncoding,
            "{token}"
        );
    }
}

/// A key pair of the curve P-256, and its public half as a JSON Web Key.
struct Pair {
    pair: EcdsaKeyPair,
    jwk: Value,
}

impl Pair {
    fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        });
        Self { pair, jwk }
    }

    fn token(&self, header: &Value) -> String {
        let signed = format!("{}.{}", coded(header), coded(&json!({"iat": NOW})));
        let tag = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }
}

#[test]
fn a_name_selects_the_key_and_without_one_all_are_tried() {
    let (one, two) = (Pair::new("one"), Pair::new("two"));
    let set = json!({"keys": [one.jwk, two.jwk, {"kty": "oct", "k": "AAAA"}]}).to_string();
    let verifier = verifier(PUBLIC, &[&set]).unwrap();
    for (pair, header, wanted) in [
        (&one, json!({"alg": "ES256", "kid": "one"}), None),
        (&two, json!({"alg": "ES256", "kid": "two"}), None),
        (&two, json!({"alg": "ES256"}), None),
        (
            &two,
            json!({"alg": "ES256", "kid": "one"}),
            Some(Reason::NoMatch),
        ),
        (
            &one,
            json!({"alg": "ES256", "kid": "three"}),
            Some(Reason::UnknownKey),
        ),
        (
            &one,
            json!({"alg": "RS256", "kid": "one"}),
            Some(Reason::UnknownKey),
        ),
    ] {
        let verdict = judged(&verifier, &pair.token(&header), BODY);
        match wanted {
            None => assert!(is_verified(&verdict), "{header}: {verdict:?}"),
            Some(wanted) => assert_eq!(reason(verdict), wanted, "{header}"),
        }
    }
}

#[test]
fn a_single_key_is_as_good_as_a_set() {
    let pair = Pair::new("one");
    let verifier = verifier(PUBLIC, &[&pair.jwk.to_string()]).unwrap();
    let token = pair.token(&json!({"alg": "ES256", "kid": "one"}));
    assert!(is_verified(&judged(&verifier, &token, BODY)));
}

#[test]
fn what_is_published_never_passes_for_a_secret() {
    let pair = Pair::new("one");
    let set = json!({"keys": [pair.jwk]}).to_string();
    // a token under the text of the set, which everybody knows
    let asymmetric = verifier(PUBLIC, &[&set]).unwrap();
    for secret in [set.as_bytes(), pair.pair.public_key().as_ref()] {
        let token = hs256(
            &json!({"alg": "HS256", "kid": "one"}),
            &json!({"iat": NOW}),
            secret,
        );
        let got = reason(judged(&asymmetric, &token, BODY));
        assert_eq!(got, Reason::UnknownAlgorithm);
    }
    // and the set, or a public key, in the place of a secret
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----";
    for public in [set.as_str(), pem] {
        let error = verifier(SHARED, &[public]).unwrap_err().to_string();
        assert!(error.contains("public key"), "{error}");
        assert!(!error.contains("MFkw"), "{error}");
    }
}

#[test]
fn a_pack_that_mixes_secrets_and_public_keys_is_refused() {
    let mut registry = Registry::built_in();
    for (key, algs) in [("utf8", "RS256"), ("jwks", "HS256"), ("pem", "HS512")] {
        let text = format!(
            "[verify]\nalg=\"jwt\"\nkey=\"{key}\"\nsig=\"header:X | text\"\njwt={{algs=[\"{algs}\"]}}"
        );
        let error = registry.add("mixed", &text).unwrap_err().to_string();
        assert!(error.contains("jwt.algs"), "{error}");
    }
    let none = "[verify]\nalg=\"jwt\"\nsig=\"header:X | text\"\njwt={algs=[\"none\"]}";
    let error = registry.add("none", none).unwrap_err().to_string();
    assert!(error.contains("unknown algorithm `none`"), "{error}");
}

#[test]
fn a_set_without_a_key_that_can_be_used_is_refused_at_the_start() {
    for set in [
        "{}",
        "[]",
        "no json",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AA"}]}"#,
    ] {
        let error = verifier(PUBLIC, &[set]).unwrap_err().to_string();
        assert!(error.contains("JSON Web Key Set"), "{set}: {error}");
    }
}

#[test]
fn a_key_that_is_not_there_yet_puts_a_request_off_and_is_wanted() {
    let mut registry = Registry::built_in();
    let text = PUBLIC.replace(
        "key =",
        "jwks_url = \"https://keys.example.com/set\"\nkey =",
    );
    let keyring = Arc::new(Keyring::default());
    let source = SourceKeys {
        keyring: keyring.clone(),
        ..SourceKeys::default()
    };
    let verifier = registry
        .add("acme", &text)
        .unwrap()
        .prepare(&source)
        .unwrap();
    let pair = Pair::new("one");
    let token = pair.token(&json!({"alg": "ES256", "kid": "one"}));
    assert_eq!(reason(judged(&verifier, &token, BODY)), Reason::KeyPending);
    let wanted = keyring.due(std::time::Duration::ZERO, 9);
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].url, "https://keys.example.com/set");
}

proptest! {
    #[test]
    fn arbitrary_tokens_are_refused_and_cost_no_more_than_their_bytes(
        parts in proptest::collection::vec("[A-Za-z0-9_=-]{0,200}", 0..5),
        header in "\\{\"alg\":\"(HS256|none|ES256)\",\"kid\":\"[a-z]{0,5}\".{0,20}\\}?",
        claims in "[\\[\\]{}\":,0-9a-z.]{0,200}",
    ) {
        let shared = verifier(SHARED, &[SECRET]).unwrap();
        let public = verifier(PUBLIC, &[&Pair::new("one").jwk.to_string()]).unwrap();
        let random = parts.join(".");
        let shaped = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&claims), random
        );
        for token in [random, shaped] {
            for verifier in [&shared, &public] {
                prop_assert!(!is_verified(&judged(verifier, &token, BODY)));
            }
        }
    }
}

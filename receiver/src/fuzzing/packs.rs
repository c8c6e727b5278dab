//! Every built-in pack's verifier with a secret that is known, and packs that nobody wrote.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use super::message::Message;
use crate::verify::{Pack, Registry, Request, SourceKey, SourceKeys, Unsigned, Verdict, Verifier};

const NOW_UNIX_MS: i64 = 1_767_806_829_000;
const HOST: &str = "hooks.example.com";

/// Secrets in every form that some pack wants: the one that samples are signed with, and one that
/// nothing was ever signed with. Nobody has the private keys.
const SECRETS: [[&str; 3]; 2] = [
    [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "hook:MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "31f290f6bf06298aab4f08d43c3f082c",
    ],
    [
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "hook:C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "0b6155b0140886bb1c0a195020c57e6f",
    ],
];
const PUBLIC_KEYS: [&str; 6] = [
    "acf9059da4c0e0c72966bc9425a55130a65b1022221e320c62cb5a4dbde23fda",
    "rPkFnaTA4McpZryUJaVRMKZbECIiHjIMYstaTb3iP9o=",
    "whpk_rPkFnaTA4McpZryUJaVRMKZbECIiHjIMYstaTb3iP9o=",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEcFOh3ZJRE/T/JUulXf3pe52UpSdFsrj/Bei9xslJSARbBG9QdWkP8vcR5PCHhsA7EkP5ZzIKBhLhbvBms0Bf8w==",
    "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0FPFnJJ/1VGmNK0nih3I
riXwMod8MWtFtw4o642yXkcZ40GMUOIgx+0lELcGE2YIcJHeWvvdZIKRv3lV8OYQ
M7vzgWsr3R5dp6b0RKf/MlnBGREr55ZDDL7iHfeydeDIUarEV7IZ10NvyLwaMImn
k0m1VvmPPJn0H2dLXfBgfVHExbbGOj1F+HPGXCj/v7qf/+Xcjhxt7jBkiIMgC5To
ur7gh+G6mpZrPhsq89E2KkKySHfcm5+MMkBPE60YSu6tvqrdegA6opccDPnLZXih
vqpI3ogV6Dy80iJ0KgyMPh2R3XTYL8Gl55FxaQmUXoz6DNbe4P+uFyWiXxQC71Qz
WQIDAQAB
-----END PUBLIC KEY-----
",
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"rPkFnaTA4McpZryUJaVRMKZbECIiHjIMYstaTb3iP9o"},{"kty":"EC","crv":"P-256","x":"cFOh3ZJRE_T_JUulXf3pe52UpSdFsrj_Bei9xslJSAQ","y":"WwRvUHVpD_L3EeTwh4bAOxJD-WcyCgYS4W7wZrNAX_M"},{"kty":"RSA","n":"0FPFnJJ_1VGmNK0nih3IriXwMod8MWtFtw4o642yXkcZ40GMUOIgx-0lELcGE2YIcJHeWvvdZIKRv3lV8OYQM7vzgWsr3R5dp6b0RKf_MlnBGREr55ZDDL7iHfeydeDIUarEV7IZ10NvyLwaMImnk0m1VvmPPJn0H2dLXfBgfVHExbbGOj1F-HPGXCj_v7qf_-Xcjhxt7jBkiIMgC5Tour7gh-G6mpZrPhsq89E2KkKySHfcm5-MMkBPE60YSu6tvqrdegA6opccDPnLZXihvqpI3ogV6Dy80iJ0KgyMPh2R3XTYL8Gl55FxaQmUXoz6DNbe4P-uFyWiXxQC71QzWQ","e":"AQAB"}]}"#,
];

/// The one that samples were signed for, and one with another secret.
struct Both {
    signer: Verifier,
    stranger: Verifier,
}

static VERIFIERS: LazyLock<BTreeMap<String, Both>> = LazyLock::new(|| {
    let both = |pack: &Arc<Pack>| {
        let prepared = SECRETS.map(|secrets| prepared(pack, &secrets));
        let [signer, stranger] = prepared.map(|verifier| {
            verifier.unwrap_or_else(|| panic!("no secret here fits the pack `{}`", pack.name()))
        });
        (pack.name().to_owned(), Both { signer, stranger })
    };
    Registry::built_in().packs().map(both).collect()
});

fn prepared(pack: &Arc<Pack>, secrets: &[&str]) -> Option<Verifier> {
    let keys = |secret: &&str| vec![SourceKey::new("0", *secret)];
    let of_a_secret = secrets.iter().chain(&PUBLIC_KEYS).map(keys);
    let mut sources = of_a_secret.chain([Vec::new()]);
    sources.find_map(|secrets| {
        let options = pack.facts().options.iter().filter(|option| option.required);
        let source = SourceKeys {
            secrets,
            options: options
                .map(|option| (option.name.clone(), "given".to_owned()))
                .collect(),
            ..SourceKeys::default()
        };
        pack.prepare(&source).ok()
    })
}

/// Whether a pack believes what nobody signed.
fn believes_anybody(pack: &Pack) -> bool {
    pack.name() == "none"
}

/// `PACK METHOD TARGET` on the first line; an unknown pack stands for any of them.
pub fn packs(data: &[u8]) {
    let Some(message) = Message::read(data) else {
        return;
    };
    let mut words = message.words();
    let name = words.next().unwrap_or_default();
    let both = std::str::from_utf8(name)
        .ok()
        .and_then(|name| VERIFIERS.get(name));
    let any = usize::try_from(crc32fast::hash(name)).unwrap_or_default() % VERIFIERS.len();
    let Some(both) = both.or_else(|| VERIFIERS.values().nth(any)) else {
        return;
    };
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let method = method.unwrap_or(Method::POST);
    let target = words.next().and_then(|word| std::str::from_utf8(word).ok());
    let target = target
        .filter(|target| target.starts_with('/'))
        .unwrap_or("/in/x");
    let request = Request {
        method: &method,
        scheme: "https",
        host: HOST,
        target,
        headers: &message.headers,
        body: message.body,
    };
    look_at(&both.signer, &request);
    is_no_forgery(&both.stranger, &request);
    resign(both, &request);
}

/// Everything that is asked about a request, whatever comes of it.
fn look_at(verifier: &Verifier, request: &Request<'_>) {
    if let Verdict::Verified(accepted) = verifier.check(request, NOW_UNIX_MS) {
        assert_eq!(accepted.key_index, 0, "there is one key");
    }
    verifier.unverified(request);
    verifier.items(request);
    verifier.order_key(request);
    verifier.masked(&verifier.url(request));
}

fn is_no_forgery(stranger: &Verifier, request: &Request<'_>) {
    let verdict = stranger.check(request, NOW_UNIX_MS);
    let verified = matches!(verdict, Verdict::Verified(_));
    let pack = stranger.pack();
    assert!(
        !verified || believes_anybody(pack),
        "{}: believed what was not signed with its secret",
        pack.name()
    );
}

/// What one secret signed, another believes as little.
fn resign(both: &Both, request: &Request<'_>) {
    let mut headers = HeaderMap::new();
    if let Some(kind) = request.headers.get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, kind.clone());
    }
    let unsigned = Unsigned {
        method: request.method,
        url: &format!("https://{HOST}{}", request.target),
        headers: &headers,
        body: request.body,
        id: "evt_1",
        event_type: Some("some.type"),
    };
    let Ok(signed) = both.signer.sign(&unsigned, NOW_UNIX_MS) else {
        return;
    };
    let origin_bytes = "https://".len() + HOST.len();
    let signed_request = Request {
        target: &signed.url[origin_bytes..],
        headers: &signed.headers,
        body: signed.body.as_deref().unwrap_or(request.body),
        ..*request
    };
    is_no_forgery(&both.stranger, &signed_request);
}

/// Names of all packs.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    VERIFIERS.keys().map(String::as_str)
}

/// A sample delivery of a pack, signed where it can be, as [`packs`] reads it.
pub(super) fn signed(name: &str) -> Vec<u8> {
    let signer = &VERIFIERS[name].signer;
    let sample = signer.pack().sample(0, NOW_UNIX_MS);
    let unsigned = Unsigned {
        method: &sample.method,
        url: &format!("https://{HOST}/in/test"),
        headers: &sample.headers,
        body: &sample.body,
        id: &sample.id,
        event_type: sample.event_type.as_deref(),
    };
    let signed = signer.sign(&unsigned, NOW_UNIX_MS).ok();
    let url = signed.as_ref().map_or(unsigned.url, |signed| &signed.url);
    let target = url.split(HOST).nth(1).unwrap_or("/");
    let headers = signed
        .as_ref()
        .map_or(&sample.headers, |signed| &signed.headers);
    let body = signed.as_ref().and_then(|signed| signed.body.as_ref());
    let first = format!("{name} {} {target}", sample.method);
    Message::write(&first, headers, body.unwrap_or(&sample.body))
}

/// A pack with much in it.
pub(super) fn pack_text() -> String {
    let pack = Registry::built_in();
    let pack = pack.get("twilio").expect("a built-in pack");
    pack.source_text().to_owned()
}

/// A pack of a user's own: read whole, or told line by line what is wrong with it.
pub fn packfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pack = match Pack::parse("own", &text) {
        Ok(pack) => Arc::new(pack),
        Err(error) => {
            assert!(!error.problems.is_empty());
            assert!(error.problems.iter().all(|p| p.line > 0 && p.column > 0));
            return;
        }
    };
    if let Some(verifier) = prepared(&pack, &SECRETS[0]) {
        let sample = pack.sample(1, NOW_UNIX_MS);
        let request = Request {
            method: &sample.method,
            scheme: "https",
            host: HOST,
            target: "/in/test?a=b",
            headers: &sample.headers,
            body: &sample.body,
        };
        look_at(&verifier, &request);
    }
}

//! What holds for every pack there is, whoever it is for: a pack that is added is tested by being there.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use creel_receiver::verify::{
    Accepted, Facts, Pack, PrepareError, Reason, Registry, Repeats, Request, SampleRequest,
    SourceKey, SourceKeys, Unsigned, Verdict, Verifier, policy, reference,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

const NOW_UNIX_MS: i64 = 1_767_806_829_000;
const URL: &str = "https://hooks.example.com/in/test";

/// Two secrets in every form that some pack wants.
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

/// Packs that sign with a key only the sender has, or check nothing.
const UNSIGNABLE: &[&str] = &[
    "aws-sns",
    "discord",
    "fireblocks",
    "fusionauth",
    "google-pubsub",
    "none",
    "paypal",
    "plaid",
    "sendgrid",
    "standardwebhooks-v1a",
    "telnyx",
    "travis-ci",
    "wise",
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::built_in);
static VERIFIERS: LazyLock<BTreeMap<String, [Arc<Verifier>; 2]>> = LazyLock::new(|| {
    let signable = REGISTRY.packs().filter_map(|pack| {
        let [first, second] = SECRETS.map(|forms| prepared(pack, &forms, None));
        Some((
            pack.name().to_owned(),
            [Arc::new(first?), Arc::new(second?)],
        ))
    });
    signable.collect()
});

fn source(facts: &Facts, secret: &str, tolerance: Option<Duration>) -> SourceKeys {
    let required = facts.options.iter().filter(|option| option.required);
    SourceKeys {
        secrets: vec![SourceKey::new("0", secret)],
        options: required
            .map(|option| (option.name.clone(), "given".to_owned()))
            .collect(),
        tolerance,
        ..SourceKeys::default()
    }
}

fn prepared(pack: &Arc<Pack>, forms: &[&str], tolerance: Option<Duration>) -> Option<Verifier> {
    let mut forms = forms.iter();
    forms.find_map(|secret| pack.prepare(&source(pack.facts(), secret, tolerance)).ok())
}

/// A request as it arrives.
#[derive(Clone)]
struct Arriving {
    sample: SampleRequest,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Arriving {
    fn signed(verifier: &Verifier, n: u64) -> Self {
        let sample = verifier.pack().sample(n, NOW_UNIX_MS);
        let unsigned = Unsigned {
            method: &sample.method,
            url: URL,
            headers: &sample.headers,
            body: &sample.body,
            id: &sample.id,
            event_type: sample.event_type.as_deref(),
        };
        let signed = verifier.sign(&unsigned, NOW_UNIX_MS);
        let signed = signed.unwrap_or_else(|error| panic!("{}: {error}", verifier.pack().name()));
        Self {
            url: signed.url,
            headers: signed.headers,
            body: signed.body.unwrap_or_else(|| sample.body.clone()),
            sample,
        }
    }

    fn request(&self) -> Request<'_> {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let (host, _) = rest.split_once('/').unwrap();
        Request {
            method: &self.sample.method,
            scheme,
            host,
            target: &rest[host.len()..],
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn check(&self, verifier: &Verifier) -> Verdict {
        verifier.check(&self.request(), NOW_UNIX_MS)
    }
}

fn accepted(name: &str, verdict: Verdict) -> Accepted {
    match verdict {
        Verdict::Verified(accepted) => accepted,
        other => panic!("{name}: not accepted: {other:?}"),
    }
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(_))
}

/// Where the credential or signature stands: what depends on the secret.
#[derive(Debug, Clone)]
enum Place {
    Header(HeaderName),
    Url,
    Body,
}

impl Place {
    fn of([first, second]: &[Arc<Verifier>; 2]) -> Self {
        let [a, b] = [first, second].map(|verifier| Arriving::signed(verifier, 0));
        let mut differing = a
            .headers
            .iter()
            .filter(|(name, value)| b.headers.get(*name) != Some(value));
        match differing.next() {
            Some((name, _)) => Place::Header(name.clone()),
            None if a.url != b.url => Place::Url,
            None => Place::Body,
        }
    }

    fn read(&self, arriving: &Arriving, other: &Arriving) -> Vec<u8> {
        match self {
            Place::Header(name) => arriving.headers[name].as_bytes().to_vec(),
            Place::Url => differing_part(arriving.url.as_bytes(), other.url.as_bytes()),
            Place::Body => differing_part(&arriving.body, &other.body),
        }
    }

    /// `None` where the value cannot stand there.
    fn replaced(&self, arriving: &Arriving, old: &[u8], new: &[u8]) -> Option<Arriving> {
        let mut changed = arriving.clone();
        match self {
            Place::Header(name) => {
                let value = HeaderValue::from_bytes(new).ok()?;
                changed.headers.insert(name.clone(), value);
            }
            Place::Url => {
                let text = String::from_utf8(replace(arriving.url.as_bytes(), old, new)).ok()?;
                changed.url = text;
            }
            Place::Body => changed.body = replace(&arriving.body, old, new),
        }
        Some(changed)
    }
}

fn differing_part(a: &[u8], b: &[u8]) -> Vec<u8> {
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let back = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    a[front..a.len() - back].to_vec()
}

fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = text
        .windows(old.len())
        .position(|part| part == old)
        .unwrap();
    [&text[..at], new, &text[at + old.len()..]].concat()
}

#[test]
fn every_pack_can_be_signed_for_but_those_whose_keys_only_the_sender_has() {
    let unsignable: Vec<&str> = REGISTRY
        .names()
        .filter(|name| !VERIFIERS.contains_key(*name))
        .collect();
    assert_eq!(unsignable, UNSIGNABLE);
}

#[test]
fn every_sample_is_accepted_as_the_event_it_is() {
    for (name, [verifier, _]) in VERIFIERS.iter() {
        let facts = verifier.pack().facts();
        for n in 0..4 {
            let arriving = Arriving::signed(verifier, n);
            let got = accepted(name, arriving.check(verifier));
            assert_eq!(got.body_authenticated, facts.body_authenticated, "{name}");
            let configurable = ["basic", "hmac", "none", "token"].contains(&name.as_str());
            if configurable {
                continue;
            }
            assert_eq!(got.event_type, arriving.sample.event_type, "{name} {n}");
            assert_eq!(got.event_id.is_some(), !facts.id.is_empty(), "{name} {n}");
            let known = got.idempotency.is_some();
            assert_eq!(known, facts.repeats != Repeats::Unknown, "{name} {n}");
        }
    }
}

#[test]
fn different_samples_are_different_events() {
    for (name, [verifier, _]) in VERIFIERS.iter() {
        let key = |n| accepted(name, Arriving::signed(verifier, n).check(verifier)).idempotency;
        assert_eq!(key(5), key(5), "{name}");
        let facts = verifier.pack().facts();
        if [Repeats::Id, Repeats::Items].contains(&facts.repeats) {
            assert_ne!(key(5), key(6), "{name}");
        }
    }
}

#[test]
fn another_secret_is_refused() {
    for (name, [first, second]) in VERIFIERS.iter() {
        let verdict = Arriving::signed(first, 0).check(second);
        assert!(is_refused(&verdict), "{name}: {verdict:?}");
    }
}

#[test]
fn a_flipped_bit_of_an_authenticated_body_is_refused() {
    for (name, [verifier, _]) in VERIFIERS.iter() {
        if !verifier.pack().facts().body_authenticated {
            continue;
        }
        let good = Arriving::signed(verifier, 0);
        let form = good
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form"));
        for at in 0..good.body.len() {
            let mut bad = good.clone();
            bad.body[at] ^= 1 << (at % 8);
            // Upper and lower case of a percent escape are the same form.
            let escape = bad.body[at.saturating_sub(2)..at].contains(&b'%');
            if form && escape && bad.body.eq_ignore_ascii_case(&good.body) {
                continue;
            }
            let verdict = bad.check(verifier);
            assert!(is_refused(&verdict), "{name} at {at}: {verdict:?}");
        }
    }
}

/// Hexadecimal digits and the names of authorization schemes have no case.
fn means_the_same(value: &[u8], flipped: &[u8]) -> bool {
    let scheme = [&b"Basic "[..], b"Bearer ", b"HMAC "]
        .into_iter()
        .find(|scheme| value.starts_with(scheme))
        .map_or(0, <[u8]>::len);
    let hexadecimal = !value.iter().any(u8::is_ascii_uppercase);
    let (front, back) = (
        flipped[..scheme].eq_ignore_ascii_case(&value[..scheme]),
        &flipped[scheme..],
    );
    let same_back =
        back == &value[scheme..] || hexadecimal && back.eq_ignore_ascii_case(&value[scheme..]);
    front && same_back
}

#[test]
fn a_flipped_bit_of_a_signature_is_refused() {
    for (name, both) in VERIFIERS.iter() {
        let [verifier, second] = both;
        let place = Place::of(both);
        let good = Arriving::signed(verifier, 0);
        let value = place.read(&good, &Arriving::signed(second, 0));
        for at in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if means_the_same(&value, &flipped) {
                continue;
            }
            let Some(bad) = place.replaced(&good, &value, &flipped) else {
                continue;
            };
            let verdict = bad.check(verifier);
            assert!(is_refused(&verdict), "{name} bit {at}: {verdict:?}");
        }
    }
}

#[test]
fn an_empty_a_cut_and_a_missing_signature_are_refused() {
    for (name, both) in VERIFIERS.iter() {
        let [verifier, second] = both;
        let place = Place::of(both);
        let good = Arriving::signed(verifier, 0);
        let value = place.read(&good, &Arriving::signed(second, 0));
        let cuts = [
            Vec::new(),
            value[..value.len() - 1].to_vec(),
            value[..value.len() / 2].to_vec(),
            [&value[..], b"0"].concat(),
            b"null".to_vec(),
        ];
        for cut in cuts {
            let bad = place.replaced(&good, &value, &cut).unwrap();
            let verdict = bad.check(verifier);
            assert!(is_refused(&verdict), "{name} {cut:?}: {verdict:?}");
        }
        if let Place::Header(header) = &place {
            let mut missing = good.clone();
            missing.headers.remove(header);
            let verdict = missing.check(verifier);
            let wanted = matches!(verdict, Verdict::Refused(Reason::MissingSignature));
            assert!(wanted, "{name}: {verdict:?}");
        }
    }
}

#[test]
fn a_signed_time_that_is_off_is_refused_by_every_pack_that_has_one() {
    let mut with_time = 0;
    for pack in REGISTRY.packs() {
        let Some(narrow) = prepared(pack, &SECRETS[0], Some(Duration::from_secs(60))) else {
            continue;
        };
        with_time += 1;
        let arriving = Arriving::signed(&narrow, 0);
        let at = |off: i64| narrow.check(&arriving.request(), NOW_UNIX_MS + off);
        accepted(pack.name(), at(59_000));
        accepted(pack.name(), at(-59_000));
        for (off, wanted) in [(61_000, Reason::Stale), (-61_000, Reason::Future)] {
            let verdict = at(off);
            assert!(
                matches!(verdict, Verdict::Refused(reason) if reason == wanted),
                "{} {off}: {verdict:?}",
                pack.name()
            );
        }
    }
    assert!(with_time >= 40, "only {with_time}");
}

#[test]
fn every_pack_says_what_it_is_and_how_it_is_known() {
    for pack in REGISTRY.packs() {
        let (name, facts) = (pack.name(), pack.facts());
        let configurable = ["hmac", "none", "token"].contains(&name);
        assert_ne!(facts.title, facts.name, "{name}");
        assert!(facts.secret.is_some() || name == "none", "{name}");
        assert_eq!(facts.docs.is_some(), !configurable, "{name}");
        assert_eq!(facts.proof.is_some(), !configurable, "{name}");
        let retry = &facts.retry;
        assert!(!retry.on.is_empty() || retry.note.is_some(), "{name}");
        let sample = !["basic", "hmac", "none", "token"].contains(&name);
        let has = pack.source_text().contains("[[sample]]");
        assert_eq!(has, sample, "{name}: a sample");
        let prose = pack.source_text().starts_with("# ");
        assert!(prose, "{name}: the first line says who it is for");
    }
}

/// A credential in the open is kept as a digest, unless it stands in the body.
#[test]
fn every_credential_that_travels_is_named_as_one() {
    for (name, both) in VERIFIERS.iter() {
        let [verifier, _] = both;
        let travels =
            ["token", "Basic"].contains(&verifier.pack().facts().checks[0].algorithm.as_str());
        if !travels {
            continue;
        }
        match Place::of(both) {
            Place::Header(header) => {
                assert!(
                    verifier.secret_headers().contains(&header),
                    "{name}: {header}"
                );
            }
            Place::Url => {
                let url = Arriving::signed(verifier, 1).url;
                assert_ne!(verifier.masked(&url), url, "{name}");
            }
            Place::Body => assert!(
                ["figma", "microsoft-graph", "prismic"].contains(&name.as_str()),
                "{name}"
            ),
        }
    }
}

#[test]
fn there_are_as_many_packs_as_are_promised() {
    let facts: Vec<&Facts> = REGISTRY.packs().map(|pack| pack.facts()).collect();
    let verify = facts
        .iter()
        .filter(|facts| !facts.checks.is_empty() && facts.name != "none");
    let handshakes = facts.iter().filter(|facts| !facts.handshakes.is_empty());
    let (verify, handshakes) = (verify.count(), handshakes.count());
    println!("{verify} verify, {handshakes} have handshakes");
    assert!(verify >= 120, "{verify}");
    assert!(handshakes >= 30, "{handshakes}");
}

/// The answer to a challenge is a tag under the key that signs deliveries.
#[test]
fn no_challenge_gets_a_body_signed() {
    for (name, target) in [
        ("x", "/in/x?crc_token=%7B%22evil%22%3A1%7D"),
        (
            "linkedin",
            "/in/l?challengeCode=hmacsha256%3D%7B%22evil%22%3A1%7D",
        ),
    ] {
        let [verifier, _] = &VERIFIERS[name];
        let ask = |target| {
            let request = Request {
                method: &http::Method::GET,
                scheme: "https",
                host: "h",
                target,
                headers: &HeaderMap::new(),
                body: b"",
            };
            verifier.check(&request, NOW_UNIX_MS)
        };
        assert!(is_refused(&ask(target)), "{name}");
        let plain = target.split_once('=').unwrap().0.to_owned() + "=abc-123";
        assert!(matches!(ask(&plain), Verdict::Handshake(_)), "{name}");
    }
}

/// Braintree's deliveries are base64, which looks like a challenge.
#[test]
fn what_braintree_has_signed_as_a_challenge_is_no_delivery() {
    let [verifier, _] = &VERIFIERS["braintree"];
    let check = |method: &http::Method, target: &str, body: &str| {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = [(http::header::CONTENT_TYPE, form)].into_iter().collect();
        let request = Request {
            method,
            scheme: "https",
            host: "h",
            target,
            headers: &headers,
            body: body.as_bytes(),
        };
        verifier.check(&request, NOW_UNIX_MS)
    };
    let ask = |text: &str| {
        let target = format!("/in/braintree?bt_challenge={text}");
        match check(&http::Method::GET, &target, "") {
            Verdict::Handshake(reply) => Some(String::from_utf8(reply.body).unwrap()),
            _ => None,
        }
    };
    // what a delivery could be, and what the library asks nothing of
    for text in [
        "PG5vdGlmaWNhdGlvbj48L25vdGlmaWNhdGlvbj4%3D",
        "PG5vdGlmaWNhdGlvbj4",
        "5f05bdfff99553b050",
        "5F05BDFFF99553B050F8",
        "5f05bdfff99553b050f85f05bdfff99553b0",
        "5f05bdfff99553b050f8%0A",
        "",
    ] {
        assert_eq!(ask(text), None, "{text}");
    }
    let challenge = "5f05bdfff99553b050f8";
    let answer = ask(challenge).unwrap();
    let signature = answer.replace('|', "%7C");
    for end in ["", "%0A"] {
        let body = format!("bt_signature={signature}&bt_payload={challenge}{end}");
        let verdict = check(&http::Method::POST, "/in/braintree", &body);
        let reason = if end.is_empty() {
            Reason::Condition
        } else {
            Reason::NoMatch
        };
        assert!(
            matches!(verdict, Verdict::Refused(r) if r == reason),
            "{verdict:?}"
        );
    }
}

/// Header names that some pack looks at.
static HEADERS: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    let mut names: BTreeSet<String> = ["content-type", "authorization"].map(str::to_owned).into();
    for pack in REGISTRY.packs() {
        let texts = pack.source_text().split("header:").skip(1);
        names.extend(texts.map(|text| {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            text[..end.unwrap_or(text.len())].to_ascii_lowercase()
        }));
    }
    names.iter().filter_map(|name| name.parse().ok()).collect()
});

fn header_values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "(v1,|sha256=|sha1=|v0=|t=[0-9]{1,20},v1=|Basic |Bearer |HMAC |)[A-Za-z0-9+/=, ]{0,60}"
            .prop_map(String::into_bytes),
        "[0-9]{0,22}".prop_map(String::into_bytes),
        Just(b"application/x-www-form-urlencoded".to_vec()),
        Just(b"multipart/form-data; boundary=b".to_vec()),
    ]
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[a-z%+&=0-9{}\\[\\]\":,/]{0,120}".prop_map(String::into_bytes),
        Just(br#"[{"id":1,"event":{},"data":[]}]"#.to_vec()),
        Just(b"json=%7B%22event%22%3A%7B%22event_time%22%3A1%7D%7D&mandrill_events=%5B".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_pack_accepts_or_panics_at_arbitrary_bytes(
        headers in proptest::collection::vec((any::<prop::sample::Index>(), header_values()), 0..8),
        body in bodies(),
        target in "/[a-z?&=%0-9#'.]{0,40}",
        post in any::<bool>(),
        now in any::<i64>(),
    ) {
        let mut map = HeaderMap::new();
        for (index, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(index.get(&HEADERS).clone(), value);
            }
        }
        let method = if post { http::Method::POST } else { http::Method::GET };
        let request = Request {
            method: &method, scheme: "https", host: "h:1", target: &target, headers: &map, body: &body,
        };
        for (name, [verifier, _]) in VERIFIERS.iter() {
            let verdict = verifier.check(&request, now);
            prop_assert!(!matches!(verdict, Verdict::Verified(_)), "{name}");
            verifier.items(&request);
            verifier.order_key(&request);
        }
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROVIDERS.md")
}

fn vectors() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "json"));
    files.sort();
    files
}

/// What stands between `<!-- generated: NAME -->` and the next `<!-- end -->`, and around it.
fn part<'p>(page: &'p str, name: &str) -> [&'p str; 3] {
    let opening = format!("<!-- generated: {name} -->\n");
    let (before, rest) = page.split_once(opening.as_str()).unwrap();
    let (inside, _) = rest.split_once("<!-- end -->").unwrap();
    let from = before.len() + opening.len();
    [&page[..from], inside, &page[from + inside.len()..]]
}

/// `CREEL_BLESS=1` writes them.
#[test]
fn the_generated_parts_of_the_page_are_those_of_the_packs() {
    let policies = policy::policies(&REGISTRY, &vectors()).unwrap();
    let wanted = [
        ("creel providers doc", reference(&REGISTRY)),
        ("policies", policy::table(&policies)),
    ];
    for (name, wanted) in wanted {
        let text = std::fs::read_to_string(page()).unwrap();
        let [before, inside, after] = part(&text, name);
        if std::env::var_os("CREEL_BLESS").is_some() {
            std::fs::write(page(), format!("{before}{wanted}{after}")).unwrap();
            continue;
        }
        assert!(
            inside == wanted,
            "`{name}` in docs/PROVIDERS.md is stale: run this test with CREEL_BLESS=1"
        );
    }
}

#[test]
fn every_difference_from_a_library_has_a_reason() {
    let policies = policy::policies(&REGISTRY, &vectors()).unwrap();
    assert!(policies.len() >= 10, "only {}", policies.len());
    for name in policies.keys() {
        assert!(policy::reason(name).is_some(), "{name}");
    }
}

#[test]
fn a_pack_that_needs_no_secret_says_so() {
    for pack in REGISTRY.packs() {
        let bare = pack.prepare(&SourceKeys::default());
        let needs = matches!(
            bare,
            Err(PrepareError::NoSecret { .. } | PrepareError::Option(_))
        );
        // the sender names it itself, or only the handshake is wanted
        let without =
            ["asana", "aws-sns", "azure-event-grid", "none", "notion"].contains(&pack.name());
        assert_eq!(needs, !without, "{}", pack.name());
    }
}

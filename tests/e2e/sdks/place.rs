//! Where signatures and signed times stand, to change one bit of them.

use rand::RngExt;
use rand::rngs::StdRng;

use super::library::Signed;

/// A header, and what is before the value in it.
#[derive(Debug, Clone, Copy)]
pub struct Place(&'static str, &'static str);

/// A sender whose libraries are installed.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Its pack, and its name in `tests/sdk`.
    pub sdk: &'static str,
    pub secret: &'static str,
    pub signature: Place,
    /// The time, where it is signed.
    pub time: Option<Place>,
}

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub const SENDERS: [Sender; 7] = [
    Sender {
        sdk: "github",
        secret: "It's a Secret to Everybody",
        signature: Place("x-hub-signature-256", "sha256="),
        time: None,
    },
    Sender {
        sdk: "shopify",
        secret: "shpss_0123456789abcdef0123456789abcdef",
        signature: Place("x-shopify-hmac-sha256", ""),
        time: None,
    },
    Sender {
        sdk: "slack",
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        signature: Place("x-slack-signature", "v0="),
        time: Some(Place("x-slack-request-timestamp", "")),
    },
    Sender {
        sdk: "standardwebhooks",
        secret: WHSEC,
        signature: Place("webhook-signature", "v1,"),
        time: Some(Place("webhook-timestamp", "")),
    },
    Sender {
        sdk: "stripe",
        secret: "whsec_of_stripe_0123456789",
        signature: Place("stripe-signature", "v1="),
        time: Some(Place("stripe-signature", "t=")),
    },
    Sender {
        sdk: "svix",
        secret: WHSEC,
        signature: Place("svix-signature", "v1,"),
        time: Some(Place("svix-timestamp", "")),
    },
    Sender {
        sdk: "twilio",
        secret: "12345678901234567890123456789012",
        signature: Place("x-twilio-signature", ""),
        time: None,
    },
];

/// One bit of the three lowest, which makes another character of any that can stand there.
fn flipped(rng: &mut StdRng, byte: u8) -> u8 {
    byte ^ (1 << rng.random_range(0..3))
}

/// The same with one bit of its body changed, or with a byte more where there is no body.
pub fn with_other_body(rng: &mut StdRng, signed: &Signed) -> Signed {
    let mut changed = signed.clone();
    match changed.body.len() {
        0 => changed.body.push(b'x'),
        bytes => {
            let at = rng.random_range(0..bytes);
            changed.body[at] = flipped(rng, changed.body[at]);
        }
    }
    changed
}

impl Place {
    /// The same with one bit changed that stands here.
    pub fn changed(self, rng: &mut StdRng, signed: &Signed) -> Signed {
        let Self(header, prefix) = self;
        let mut changed = signed.clone();
        let mut headers = changed.headers.iter_mut();
        let (_, value) = headers.find(|(name, _)| name == header).expect(header);
        let start = value.find(prefix).expect(prefix) + prefix.len();
        let length = value[start..].find(',').unwrap_or(value.len() - start);
        let at = start + rng.random_range(0..length);
        let mut bytes = value.clone().into_bytes();
        bytes[at] = flipped(rng, bytes[at]);
        *value = String::from_utf8(bytes).expect("ASCII remains ASCII");
        changed
    }
}

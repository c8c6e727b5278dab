//! JSON Web Key Sets (RFC 7517): the public keys of a sender, each with its name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::algorithm::Algorithm;
use super::der;

/// More keys than this in a set are not looked at.
const KEYS_MAX: usize = 64;

/// One key, as its algorithm takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub kid: Option<String>,
    pub algorithm: Algorithm,
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Set { keys: Vec<serde_json::Value> },
    One(Box<Jwk>),
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys that signatures can be checked with; others of the set are left out. `None` if it is no
/// set (and no single key).
pub(crate) fn parse(text: &[u8]) -> Option<Vec<PublicKey>> {
    Some(match serde_json::from_slice(text).ok()? {
        Text::One(key) => key.public().into_iter().collect(),
        Text::Set { keys } => {
            let keys = keys.into_iter().take(KEYS_MAX);
            keys.filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.public())
                .collect()
        }
    })
}

impl Jwk {
    /// A symmetric key is none: what a set publishes is no secret.
    fn public(self) -> Option<PublicKey> {
        let signs = matches!(self.usage.as_deref(), None | Some("sig"));
        let (name, algorithm, bytes) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => ("RS256", Algorithm::RsaSha256, self.rsa()?),
            ("EC", Some("P-256")) => ("ES256", Algorithm::EcdsaP256Sha256Fixed, self.point()?),
            ("OKP", Some("Ed25519")) => ("EdDSA", Algorithm::Ed25519, fixed(&self.x)?),
            _ => return None,
        };
        let fits = self.alg.as_deref().is_none_or(|alg| alg == name);
        (signs && fits).then_some(PublicKey {
            kid: self.kid,
            algorithm,
            bytes,
        })
    }

    fn rsa(&self) -> Option<Vec<u8>> {
        let (modulus, exponent) = (decoded(&self.n)?, decoded(&self.e)?);
        Some(der::rsa_key(&modulus, &exponent))
    }

    fn point(&self) -> Option<Vec<u8>> {
        Some([vec![4], fixed(&self.x)?, fixed(&self.y)?].concat())
    }
}

fn decoded(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()
}

/// A number of 32 bytes.
fn fixed(text: &Option<String>) -> Option<Vec<u8>> {
    decoded(text).filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_rsa_key_is_written_as_its_certificate_has_it() {
        let key = der::rsa_key(&[0, 0x80, 1], &[1, 0, 1]);
        assert_eq!(key, [0x30, 10, 2, 3, 0, 0x80, 1, 2, 3, 1, 0, 1]);
        let long = der::rsa_key(&[0x7f; 256], &[3]);
        assert_eq!(&long[..8], &[0x30, 0x82, 1, 7, 2, 0x82, 1, 0]);
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"enc"},
            {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"ES256"},
            {"kty":"OKP","crv":"Ed25519","x":"AAAA"},{"kty":"oct","k":"AAAA"},{"kty":5},
            {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}"#;
        let keys = parse(set.as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].kid.as_deref(), Some("a"));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(text in "[\\[\\]{}\":,a-z0-9 ]{0,200}", many in 0usize..200) {
            parse(text.as_bytes());
            let key = r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#;
            let set = format!(r#"{{"keys":[{}]}}"#, vec![key; many].join(","));
            prop_assert!(parse(set.as_bytes()).unwrap().len() <= KEYS_MAX);
        }
    }
}

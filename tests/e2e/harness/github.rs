//! Signing as GitHub does, written here again so that no code of creel vouches for itself.

use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use http_body_util::Full;
use sha2::Sha256;

use super::Marker;

/// The secret of the source `github` of every site.
pub const SECRET: &str = "an end-to-end secret of no value";

/// The variable that the config names for it.
pub const SECRET_VARIABLE: &str = "CREEL_E2E_GITHUB_SECRET";

/// A signed delivery to `/in/github`, as GitHub documents it in "Validating
/// webhook deliveries": HMAC-SHA256 of the raw body, in hex, after `sha256=`.
pub fn request(host: &str, marker: Marker, body: Vec<u8>) -> Request<Full<bytes::Bytes>> {
    signed(SECRET, host, marker, body)
}

/// The same by somebody who does not know the secret.
pub fn forged(host: &str, marker: Marker, body: Vec<u8>) -> Request<Full<bytes::Bytes>> {
    signed("what a forger makes up", host, marker, body)
}

fn signed(secret: &str, host: &str, marker: Marker, body: Vec<u8>) -> Request<Full<bytes::Bytes>> {
    Request::post("/in/github")
        .header("host", host)
        .header("content-type", "application/json")
        .header("user-agent", "GitHub-Hookshot/e2e")
        .header("x-github-event", "push")
        .header("x-github-delivery", guid(marker))
        .header("x-hub-signature-256", signature(secret, &body))
        .body(Full::new(body.into()))
        .expect("a request made of constants and hex")
}

/// The sender's own name for the delivery with this marker.
pub fn guid(marker: Marker) -> String {
    format!("00000000-0000-4000-8000-{:012}", marker.number())
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("keys of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_githubs_documentation_is_signed_alike() {
        let signed = signature("It's a Secret to Everybody", b"Hello, World!");
        let documented = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(signed, format!("sha256={documented}"));
    }
}

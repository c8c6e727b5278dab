//! Credentials as they are kept and shown: as their digest.

use sha2::{Digest, Sha256};

/// What is kept in the place of a credential.
pub fn digest(value: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(value)))
}

/// A target or URL as it is kept: query parameters of these names, which are credentials, as digests.
pub(crate) fn target(target: &str, names: &[String]) -> String {
    let Some((path, query)) = target.split_once('?').filter(|_| !names.is_empty()) else {
        return target.to_owned();
    };
    let kept = query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        match names.iter().any(|name| *name == plain) {
            true => format!("{name}={}", digest(value.as_bytes())),
            false => pair.to_owned(),
        }
    });
    format!("{path}?{}", kept.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_the_query_is_kept_as_its_digest() {
        let names = ["token".to_owned()];
        let kept = target("/in/a?x=1&token=canary&tok%65n=canary&y", &names);
        let digest = digest(b"canary");
        assert_eq!(kept, format!("/in/a?x=1&token={digest}&tok%65n={digest}&y"));
        assert_eq!(target("/in/a?token=b", &[]), "/in/a?token=b");
        assert_eq!(target("/in/a", &names), "/in/a");
    }
}

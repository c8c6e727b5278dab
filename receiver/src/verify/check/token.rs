//! Keys that are fetched, and tokens that they or secrets have made.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Check, Proof, no_match, the_one};
use crate::verify::jwt::{self, Meets, Token};
use crate::verify::key::Key;
use crate::verify::pipeline::Values;
use crate::verify::reason::Reason;
use crate::verify::scheme::Remote;
use crate::verify::url;

impl<'v> Check<'v, '_, '_> {
    /// The keys that may have signed: the source's, or the one that the request names.
    pub(super) fn keys(&self, now_unix_ms: i64) -> Result<Cow<'_, [Arc<Key>]>, Reason> {
        let keyring = &self.verifier.keyring;
        match &self.block.remote {
            None => Ok(Cow::Borrowed(self.secrets)),
            Some(Remote::KeySet(_)) if !self.secrets.is_empty() => Ok(Cow::Borrowed(self.secrets)),
            Some(Remote::KeySet(url)) => Ok(Cow::Owned(vec![keyring.key_set(url, now_unix_ms)?])),
            Some(Remote::Certificate {
                place,
                pin,
                common_name,
            }) => {
                let values = place.read(self.view)?.unwrap_or_default();
                let url = the_one(&values).and_then(|url| std::str::from_utf8(url).ok());
                let url = url.ok_or(Reason::MissingValue)?;
                if !pin.allows(url) {
                    return Err(Reason::UntrustedUrl);
                }
                let certificate = keyring.certificate(url, now_unix_ms)?;
                certificate.valid_at(now_unix_ms)?;
                let named = certificate.common_name.as_deref().unwrap_or("");
                if common_name
                    .as_ref()
                    .is_some_and(|wanted| !wanted.is_match(named))
                {
                    return Err(Reason::KeyNotValid);
                }
                let algorithms = self.block.algorithm.all();
                let key = Key::of_public(&certificate.public_key, &algorithms);
                Ok(Cow::Owned(vec![Arc::new(key)]))
            }
        }
    }

    /// A JSON Web Token: its signature first, then what it says.
    pub(super) fn token(
        &self,
        rules: &jwt::Rules,
        given: &Values<'_>,
        now_unix_ms: i64,
    ) -> Result<Proof<'v>, Reason> {
        let text = the_one(given).ok_or(Reason::TooManySignatures)?;
        let token = Token::parse(text, rules)?;
        let keys = self.keys(now_unix_ms)?;
        let (key_index, key) = self.signer(&token, &keys, now_unix_ms)?;
        let url = match rules.uses_url() {
            true => url::of(&self.view.request, self.verifier.public_url.as_ref()),
            false => String::new(),
        };
        let meets = Meets {
            body: self.view.request.body,
            url: self.url.unwrap_or(&url),
            now_unix_ms,
            tolerance: self.verifier.tolerance,
        };
        token.judge(rules, &meets)?;
        Ok(Proof {
            key_index,
            key: Some(key.clone()),
            signed: None,
        })
    }

    /// The key that made a token.
    fn signer<'k>(
        &self,
        token: &Token<'_>,
        keys: &'k [Arc<Key>],
        now_unix_ms: i64,
    ) -> Result<(usize, &'k Arc<Key>), Reason> {
        let signature = [Cow::Borrowed(&token.signature[..])];
        let (mut known, mut not_valid) = (false, false);
        for (key_index, key) in keys.iter().enumerate() {
            for ready in key.named(token.algorithm, token.kid.as_deref()) {
                known = true;
                if !ready.made_one_of(token.signed, &signature) {
                    continue;
                }
                if key.is_valid(now_unix_ms) {
                    return Ok((key_index, key));
                }
                not_valid = true;
            }
        }
        Err(match &self.block.remote {
            _ if known => no_match(not_valid),
            Some(Remote::KeySet(url)) if self.secrets.is_empty() => {
                self.verifier.keyring.lacks(url, now_unix_ms)
            }
            _ => Reason::UnknownKey,
        })
    }
}

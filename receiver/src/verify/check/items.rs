//! Bodies whose items are signed one by one.

use std::borrow::Cow;

use super::{Check, Proof, algorithm, no_match};
use crate::verify::algorithm::Algorithm;
use crate::verify::hooks::Item;
use crate::verify::reason::Reason;

impl<'v> Check<'v, '_, '_> {
    /// All of them have to be genuine.
    pub(super) fn items(&self, items: &[Item], now_unix_ms: i64) -> Result<Proof<'v>, Reason> {
        let algorithm = algorithm(self.block, self.view)?;
        let mut first = None;
        for item in items {
            let signer = self.signer_of_item(algorithm, item, now_unix_ms)?;
            first = first.or(Some(signer));
        }
        let key_index = first.ok_or(Reason::MissingSignature)?;
        Ok(Proof {
            key_index,
            key: self.secrets.get(key_index).cloned(),
            signed: None,
        })
    }

    fn signer_of_item(
        &self,
        algorithm: Algorithm,
        item: &Item,
        now_unix_ms: i64,
    ) -> Result<usize, Reason> {
        let signature = item.signature.as_deref().ok_or(Reason::BadEncoding)?;
        let signature = [Cow::Borrowed(signature)];
        let mut not_valid = false;
        for (key_index, key) in self.secrets.iter().enumerate() {
            let ready = key.ready(algorithm);
            if !ready.is_some_and(|ready| ready.made_one_of(&item.message, &signature)) {
                continue;
            }
            if key.is_valid(now_unix_ms) {
                return Ok(key_index);
            }
            not_valid = true;
        }
        Err(no_match(not_valid))
    }
}

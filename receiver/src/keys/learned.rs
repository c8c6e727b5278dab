//! Secrets that a sender named itself, in the handshake that registers the endpoint.
//!
//! Nothing vouches for such a handshake. So a source without any secret believes the first, and no other
//! after it: whoever knows the URL cannot put a key of their own beside the sender's. A secret is on disk
//! before the handshake is answered, so that it never is at the sender only; from then on it is a secret
//! of the source like any other, and comes back with every start and every reload.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use creel_common::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::shelf::Shelf;
use crate::current::Current;
use crate::sources::{Source, Sources};
use crate::uses::Tallies;
use crate::verify::{SecretError, SourceKey};

/// A secret as it is kept. Not shown anywhere.
#[derive(Serialize, Deserialize)]
struct Kept {
    source: String,
    secret: String,
    learned_at: Timestamp,
}

impl Kept {
    /// Under a name that tells when it was learned, and nothing of it.
    fn key(&self) -> SourceKey {
        SourceKey::new(format!("learned:{}", self.learned_at), &*self.secret)
    }
}

/// What senders have named.
#[derive(Debug)]
pub struct Learned {
    shelf: Shelf,
    /// One at a time: of two that come together the second finds the first.
    turn: Mutex<()>,
}

/// Why a secret was not learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// Another came before it, or the source has gone.
    #[error("the source has a secret by now, or is no longer configured")]
    Known,
    /// Too short, say.
    #[error("the secret that the sender names {0}")]
    Unfit(SecretError),
    /// It could not be kept.
    #[error("the secret cannot be kept: {0}")]
    Disk(io::Error),
}

impl Learned {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            shelf: Shelf::new(root, "secrets"),
            turn: Mutex::default(),
        }
    }

    /// While this is held, nothing is learned.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// What earlier runs have learned, by source. Blocks.
    ///
    /// # Errors
    /// The disk's, with the path: whoever went on without a secret would learn another in its place.
    pub fn recall(&self) -> io::Result<BTreeMap<String, SourceKey>> {
        let kept = self.shelf.every::<Kept>()?.into_iter();
        Ok(kept.map(|kept| (kept.source.clone(), kept.key())).collect())
    }

    /// Keeps a secret, and has the source take it from now on.
    pub(super) async fn learn(
        &self,
        sources: &Current<Sources>,
        tallies: &Tallies,
        kept: SecretOf,
    ) -> Result<(), LearnError> {
        let _turn = self.turn().await;
        let current = sources.now();
        let source = current.get(&kept.source).ok_or(LearnError::Known)?;
        let text = kept.secret.expose_secret();
        if !source.secrets.is_empty() {
            return match source.verifier.has_secret(text.as_bytes()) {
                true => Ok(()),
                false => Err(LearnError::Known),
            };
        }
        let kept = Kept {
            source: kept.source,
            secret: text.to_owned(),
            learned_at: kept.at,
        };
        let key = kept.key();
        let source = source.with_secret(&key, tallies);
        let source = source.map_err(LearnError::Unfit)?;
        let shelf = self.shelf.clone();
        tokio::task::spawn_blocking(move || shelf.put(&kept.source, &kept))
            .await
            .map_err(|error| LearnError::Disk(io::Error::other(error)))?
            .map_err(LearnError::Disk)?;
        taken_over(&source, &key);
        sources.replace(current.with(source));
        Ok(())
    }
}

fn taken_over(source: &Source, key: &SourceKey) {
    tracing::info!(source = %source.name, secret = %key.id, "the sender has named its secret");
}

/// A secret that was named for a source.
pub struct SecretOf {
    /// The source's name.
    pub source: String,
    /// What the sender named.
    pub secret: SecretString,
    /// When.
    pub at: Timestamp,
}

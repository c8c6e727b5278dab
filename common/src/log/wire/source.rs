//! Configured sources.

use serde::{Deserialize, Serialize};

use crate::secret::Validity;
use crate::time::Timestamp;

/// A configured source: where to send to, and what is expected there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Its provider pack.
    pub provider: String,
    /// Its path on the public listener.
    pub path: String,
    /// The URL to enter at the sender, where `public_url` is configured.
    pub url: Option<String>,
    /// Methods the sender uses.
    pub methods: Vec<String>,
    /// How many secrets are valid now.
    pub secrets: u32,
    /// Its secrets, in the order of the configuration: never the secrets themselves.
    #[serde(default)]
    pub keys: Vec<SecretView>,
    /// Largest body in bytes.
    pub body_bytes_max: u64,
    /// Media types of bodies that are taken; any if there are none.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// Whether a signature covers the body.
    pub body_authenticated: bool,
    /// For how long repeats are recognised, in milliseconds; 0: not at all.
    pub dedupe_window_ms: u64,
    /// The sender's own documentation.
    pub docs: Option<String>,
}

/// One of a source's secrets, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretView {
    /// Its id in the configuration.
    #[cfg_attr(feature = "openapi", schema(example = "GITHUB_WEBHOOK_SECRET"))]
    pub id: String,
    /// How it stands now.
    pub state: SecretState,
    /// Valid from then on.
    pub not_before: Option<Timestamp>,
    /// Not valid then and later.
    pub not_after: Option<Timestamp>,
    /// How many requests it has verified.
    pub used: u64,
    /// When last; `null`: never.
    pub last_used: Option<Timestamp>,
    /// They are counted since.
    pub counted_since: Timestamp,
}

/// How a secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// Its time is still to come.
    NotYet,
    /// What it signed is verified.
    Valid,
    /// Its time is over.
    Expired,
}

impl From<Validity> for SecretState {
    fn from(validity: Validity) -> Self {
        match validity {
            Validity::NotYet => Self::NotYet,
            Validity::Valid => Self::Valid,
            Validity::Expired => Self::Expired,
        }
    }
}

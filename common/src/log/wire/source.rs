//! Configured sources.

use serde::{Deserialize, Serialize};

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
    /// How many secrets are active.
    pub secrets: u32,
    /// Largest body in bytes.
    pub body_bytes_max: u64,
    /// Whether a signature covers the body.
    pub body_authenticated: bool,
    /// For how long repeats are recognised, in milliseconds; 0: not at all.
    pub dedupe_window_ms: u64,
    /// The sender's own documentation.
    pub docs: Option<String>,
}

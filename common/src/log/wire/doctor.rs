//! A request of ours, as it arrives through the proxies.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::HeaderView;

/// The header by which an awaited request is known.
pub const DOCTOR_HEADER: &str = "creel-doctor";

/// A visit that is awaited.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VisitView {
    /// The value of the header `creel-doctor` that it is known by. Good for one request.
    pub nonce: String,
    /// For how long it is awaited.
    pub expires_in_ms: u64,
}

/// What arrived. It was judged, and not stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SeenView {
    /// The source that it came to.
    pub source: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The URL that it was judged by, where its provider signs one.
    pub url: String,
    /// The sender's address, from trusted proxies where there are any.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub remote: IpAddr,
    /// The address that was connected.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub peer: IpAddr,
    /// Whether that address is a trusted proxy.
    pub peer_trusted: bool,
    /// Header lines in order; credentials are replaced by their digest, `creel-doctor` is left out.
    pub headers: Vec<HeaderView>,
    /// Size of the body in bytes.
    pub body_bytes: u64,
    /// SHA-256 of the body in hexadecimal digits.
    pub body_sha256: String,
    /// `genuine`, or the word for what is the matter, as in quarantine.
    pub diagnosis: String,
    /// What that means, and what to do.
    pub hint: String,
}

//! Which cryptography TLS uses: the only place that says so in this crate.

/// Makes ring the process's TLS provider, unless there is one already.
pub(super) fn install_provider() {
    // an error means that another part of the process was first, with the same provider
    let _ = rustls::crypto::ring::default_provider().install_default();
}

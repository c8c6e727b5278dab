//! The one place where TLS gets its cryptography.

use std::sync::Once;

/// Makes ring the process's TLS provider, once. Call it before a client or listener is built.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // an error means that the process has a provider already, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

//! Names become addresses, and only those that may be connected to are handed on.
//!
//! The client connects to nothing but what comes from here, so what was checked
//! is what is used: a name that changes its address later is checked again.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::Guard;

/// A look-up under way.
pub type Resolved = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks a host name up.
pub trait Lookup: Send + Sync + 'static {
    /// All its addresses, unchecked.
    fn lookup(&self, host: String) -> Resolved;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> Resolved {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Looks up, and hands on only what the guard lets through.
pub struct GuardedResolver<L> {
    guard: Guard,
    lookup: Arc<L>,
}

impl<L: Lookup> GuardedResolver<L> {
    /// Over a look-up that checks nothing.
    pub fn new(guard: Guard, lookup: L) -> Self {
        Self {
            guard,
            lookup: Arc::new(lookup),
        }
    }
}

impl<L: Lookup> Resolve for GuardedResolver<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        let lookup = Arc::clone(&self.lookup);
        Box::pin(async move {
            let found = lookup.lookup(name.as_str().to_owned()).await?;
            let mut refused = None;
            let mut fit = Vec::new();
            for address in found {
                match guard.check(address) {
                    // port 0 stands for the URL's
                    Ok(()) => fit.push(SocketAddr::new(address, 0)),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if fit.is_empty() => Err(why.into()),
                _ => Ok(Box::new(fit.into_iter()) as Addrs),
            }
        })
    }
}

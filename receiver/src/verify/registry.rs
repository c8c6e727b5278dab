//! The packs that are compiled in, and those a user adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::nearest;
use super::pack::{Pack, PackError};

/// Every built-in pack: its name and its file. The only list of them.
const BUILT_IN: &[(&str, &str)] = &[
    ("basic", include_str!("../../providers/basic.toml")),
    ("github", include_str!("../../providers/github.toml")),
    ("gitlab", include_str!("../../providers/gitlab.toml")),
    (
        "gitlab-signed",
        include_str!("../../providers/gitlab-signed.toml"),
    ),
    ("hmac", include_str!("../../providers/hmac.toml")),
    ("none", include_str!("../../providers/none.toml")),
    ("shopify", include_str!("../../providers/shopify.toml")),
    ("slack", include_str!("../../providers/slack.toml")),
    (
        "standardwebhooks",
        include_str!("../../providers/standardwebhooks.toml"),
    ),
    (
        "standardwebhooks-v1a",
        include_str!("../../providers/standardwebhooks-v1a.toml"),
    ),
    ("stripe", include_str!("../../providers/stripe.toml")),
    ("svix", include_str!("../../providers/svix.toml")),
    ("token", include_str!("../../providers/token.toml")),
    ("twilio", include_str!("../../providers/twilio.toml")),
];

/// Packs by name.
#[derive(Debug)]
pub struct Registry {
    packs: BTreeMap<String, Arc<Pack>>,
}

impl Registry {
    /// The packs that are compiled in.
    pub fn built_in() -> Self {
        let packs = BUILT_IN
            .iter()
            .map(|(name, text)| {
                let pack = Pack::parse(name, text)
                    .unwrap_or_else(|error| panic!("a test reads every built-in pack: {error}"));
                ((*name).to_owned(), Arc::new(pack))
            })
            .collect();
        Self { packs }
    }

    /// Adds a pack of the user's own, or replaces one of the same name.
    ///
    /// # Errors
    /// [`PackError`] with every problem, each with line and column.
    pub fn add(&mut self, name: &str, text: &str) -> Result<Arc<Pack>, PackError> {
        let pack = Arc::new(Pack::parse(name, text)?);
        self.packs.insert(name.to_owned(), pack.clone());
        Ok(pack)
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Pack>> {
        self.packs.get(name)
    }

    /// In order of their names.
    pub fn packs(&self) -> impl Iterator<Item = &Arc<Pack>> {
        self.packs.values()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.packs.keys().map(String::as_str)
    }

    /// The name that an unknown one was probably meant to be.
    pub fn did_you_mean(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }
}

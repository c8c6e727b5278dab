//! What the executable was built with, as far as a file can name it.

use crate::secret::SecretRef;

/// The providers and kinds of destination that a file may name.
#[derive(Clone, Default)]
pub struct Known {
    /// Every provider pack. Without any, every provider is accepted: a worker has none.
    pub providers: Vec<ProviderFacts>,
    /// What is wrong with the packs in the directory that the file names.
    pub pack_problems: Vec<String>,
    /// The kinds of destination. Without any, every kind is accepted: a receiver has none.
    pub destinations: Option<&'static (dyn DestinationKinds + Sync)>,
}

/// What a file's check needs to know of a provider pack.
#[derive(Debug, Clone)]
pub struct ProviderFacts {
    /// The pack's name.
    pub name: String,
    /// Whether a source without a secret could not verify anything.
    pub needs_secret: bool,
    /// Whether it verifies at all; `none` does not, and is warned about.
    pub verifies: bool,
    /// Where the items are, if it sends several in one delivery.
    pub items: Option<ItemFacts>,
    /// The settings it takes. None at all means that it takes none.
    pub options: Vec<OptionFacts>,
}

/// Where the items of a delivery are that carries several: JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFacts {
    /// The array in the body.
    pub path: String,
    /// An item's own id, in the item.
    pub id: Option<String>,
    /// An item's event type, in the item.
    pub event_type: Option<String>,
}

/// One setting of a provider pack.
#[derive(Debug, Clone)]
pub struct OptionFacts {
    /// As typed in `options`.
    pub name: String,
    /// Whether it must be given.
    pub required: bool,
}

/// The kinds of destination, checked by the crate that has them.
pub trait DestinationKinds {
    /// Every kind's name (`type` in the file).
    fn names(&self) -> Vec<&'static str>;

    /// What is wrong with the settings of a destination of that kind (without `type`).
    ///
    /// Each as the path of the key within `settings` (`url`, `headers.x-a`, `allow[1]`; empty
    /// for the destination itself) and a message that holds no secret.
    fn check(&self, kind: &str, settings: &toml::Table) -> Vec<(String, String)>;

    /// The secrets that settings refer to, each with the path of its key.
    ///
    /// As it stands: every table whose only key is `env` or `file`, with a text. Paths are as
    /// typed: [`Config::resolve_destination_secrets`](super::Config::resolve_destination_secrets)
    /// takes them relative to the file's directory. A kind in whose settings such a table
    /// means something else says here what is a secret.
    fn secrets(&self, kind: &str, settings: &toml::Table) -> Vec<(String, SecretRef)> {
        let _ = kind;
        super::secrets::references_in(settings)
    }
}

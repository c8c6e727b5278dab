//! What a reload of the configuration came to.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What a receiver took over. Secrets are read again whether or not anything else has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadView {
    /// Sources that differ.
    pub sources: Differing,
    /// Routes that differ.
    pub routes: Differing,
    /// What should be known and prevents nothing.
    pub warnings: Vec<String>,
}

/// Names of what is there now and was not, the reverse, and of what has other settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Differing {
    /// New ones.
    pub added: Vec<String>,
    /// Those that left.
    pub removed: Vec<String>,
    /// Those with other settings.
    pub changed: Vec<String>,
}

impl Differing {
    fn between<T: PartialEq>(old: &BTreeMap<&str, T>, new: &BTreeMap<&str, T>) -> Self {
        let names = |of: &BTreeMap<&str, T>, wanted: &dyn Fn(&str, &T) -> bool| {
            let wanted = of.iter().filter(|(name, it)| wanted(name, it));
            wanted.map(|(name, _)| (*name).to_owned()).collect()
        };
        Self {
            added: names(new, &|name, _| !old.contains_key(name)),
            removed: names(old, &|name, _| !new.contains_key(name)),
            changed: names(new, &|name, it| old.get(name).is_some_and(|was| was != it)),
        }
    }

    fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl ReloadView {
    /// How two configurations of a receiver differ.
    pub fn between(old: &Config, new: &Config) -> Self {
        fn sources(config: &Config) -> BTreeMap<&str, &crate::config::Source> {
            let sources = config.sources.iter();
            sources.map(|(name, it)| (name.as_str(), it)).collect()
        }
        fn routes(config: &Config) -> BTreeMap<&str, &crate::config::Route> {
            let routes = config.routes.iter();
            routes.map(|it| (it.name.as_str(), it)).collect()
        }
        Self {
            sources: Differing::between(&sources(old), &sources(new)),
            routes: Differing::between(&routes(old), &routes(new)),
            warnings: Vec::new(),
        }
    }
}

/// `+new -gone ~changed`
impl fmt::Display for Differing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        let parts = [
            ('+', &self.added),
            ('-', &self.removed),
            ('~', &self.changed),
        ];
        for (sign, names) in parts {
            for name in names {
                write!(f, "{gap}{sign}{name}")?;
                gap = " ";
            }
        }
        Ok(())
    }
}

/// `sources +new ~changed; routes -gone`
impl fmt::Display for ReloadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sources.is_none(), self.routes.is_none()) {
            (true, true) => f.write_str("no source or route has changed; secrets are read again"),
            (false, true) => write!(f, "sources {}", self.sources),
            (true, false) => write!(f, "routes {}", self.routes),
            (false, false) => write!(f, "sources {}; routes {}", self.sources, self.routes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_by_name() {
        let (old, new) = (
            BTreeMap::from([("a", 1), ("b", 1), ("c", 1)]),
            BTreeMap::from([("b", 2), ("c", 1), ("d", 1)]),
        );
        let differing = Differing::between(&old, &new);
        assert_eq!(differing.to_string(), "+d -a ~b");
        assert!(Differing::between(&new, &new).is_none());
    }
}

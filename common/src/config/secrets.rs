//! Reading the secrets that a file refers to: each role its own, all failures at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::places::{item_of, join};
use super::problems::{Finding, Problems};
use super::{Config, DestinationKinds, Role};
use crate::secret::{Secret, SecretRef};

/// Secrets that were all found.
#[derive(Debug)]
pub struct Resolved<T> {
    /// The secrets.
    pub secrets: T,
    /// Such as files that others on the machine can read.
    pub warnings: Problems,
}

/// A token of the private listener, resolved.
#[derive(Debug, Clone)]
pub struct ResolvedToken {
    /// What it may do.
    pub role: Role,
    /// Who holds it, for the audit.
    pub name: String,
    /// The token.
    pub secret: Secret,
}

/// The secrets of one destination, by the path of their key in its settings.
pub type DestinationSecrets = BTreeMap<String, Secret>;

impl Config {
    /// The secrets of every source, by its name and in the order of the file. For the receiver.
    ///
    /// # Errors
    /// Every secret that could not be had, each with its line.
    pub fn resolve_source_secrets(
        &self,
    ) -> Result<Resolved<BTreeMap<String, Vec<Secret>>>, Problems> {
        let mut look = Look::default();
        let mut secrets = BTreeMap::new();
        for (name, source) in &self.sources {
            let path = join(&join("sources", name), "secrets");
            let found = source.secrets.iter().enumerate();
            let found = found.filter_map(|(i, secret)| look.up(&secret.from, item_of(&path, i)));
            secrets.insert(name.clone(), found.collect());
        }
        look.finish(self, secrets)
    }

    /// The tokens of the private listener. For the receiver.
    ///
    /// # Errors
    /// Every token that could not be had, each with its line.
    pub fn resolve_tokens(&self) -> Result<Resolved<Vec<ResolvedToken>>, Problems> {
        let mut look = Look::default();
        let tokens = self.receiver.tokens.iter().enumerate();
        let found = tokens.filter_map(|(i, token)| {
            Some(ResolvedToken {
                role: token.role,
                name: token.name.clone(),
                secret: look.up(&token.secret, item_of("receiver.tokens", i))?,
            })
        });
        let found = found.collect();
        look.finish(self, found)
    }

    /// The worker's token, if one is configured; and a word if others may use its certificate. For a
    /// worker.
    ///
    /// # Errors
    /// That it could not be had.
    pub fn resolve_worker_token(&self) -> Result<Resolved<Option<Secret>>, Problems> {
        let mut look = Look::default();
        let token = self.worker.token.as_ref();
        let found = token.and_then(|token| look.up(token, "worker.token".to_owned()));
        let key = self.worker.tls.key.as_deref().and_then(open_to_others);
        look.warnings
            .extend(key.map(|message| Finding::warning("worker.tls.key", message)));
        look.finish(self, found)
    }

    /// The secrets of every destination that is `wanted`, by its name. For a worker.
    ///
    /// # Errors
    /// Every secret that could not be had, each with its line.
    pub fn resolve_destination_secrets(
        &self,
        kinds: &dyn DestinationKinds,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Resolved<BTreeMap<String, DestinationSecrets>>, Problems> {
        let mut look = Look::default();
        let mut secrets = BTreeMap::new();
        for (name, destination) in self.destinations.iter().filter(|(name, _)| wanted(name)) {
            let path = join("destinations", name);
            let named = kinds.secrets(&destination.kind, &destination.settings);
            let found = named.into_iter().filter_map(|(key, secret)| {
                let secret = self.in_directory(secret);
                let secret = look.up(&secret, format!("{path}.{key}"))?;
                Some((key, secret))
            });
            secrets.insert(name.clone(), found.collect());
        }
        look.finish(self, secrets)
    }

    /// The directory that relative paths in a destination's settings start from, to be joined
    /// with them: it is empty for the current one.
    pub fn directory(&self) -> &Path {
        super::problems::directory_of(&self.path)
    }

    fn in_directory(&self, secret: SecretRef) -> SecretRef {
        match secret {
            SecretRef::File(path) => SecretRef::File(self.directory().join(path)),
            env => env,
        }
    }
}

/// Every table in `settings` whose only key is `env` or `file`, with a text.
pub(super) fn references_in(settings: &toml::Table) -> Vec<(String, SecretRef)> {
    let mut found = Vec::new();
    for (key, value) in settings {
        collect(join("", key), value, &mut found);
    }
    found
}

fn collect(path: String, value: &toml::Value, found: &mut Vec<(String, SecretRef)>) {
    match value {
        toml::Value::Table(table) => match reference(table) {
            Some(secret) => found.push((path, secret)),
            None => {
                for (key, value) in table {
                    collect(join(&path, key), value, found);
                }
            }
        },
        toml::Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                collect(item_of(&path, i), item, found);
            }
        }
        _ => {}
    }
}

/// `{ env = … }` or `{ file = … }` in a destination's settings, as typed.
fn reference(table: &toml::Table) -> Option<SecretRef> {
    let mut pairs = table.iter();
    match (pairs.next()?, pairs.next()) {
        ((key, toml::Value::String(name)), None) if key == "env" => {
            Some(SecretRef::Env(name.clone()))
        }
        ((key, toml::Value::String(path)), None) if key == "file" => {
            Some(SecretRef::File(PathBuf::from(path)))
        }
        _ => None,
    }
}

#[derive(Default)]
struct Look {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Look {
    fn up(&mut self, secret: &SecretRef, path: String) -> Option<Secret> {
        match secret.resolve() {
            Ok(found) => {
                let open = match secret {
                    SecretRef::File(path) => open_to_others(path),
                    SecretRef::Env(_) => None,
                };
                self.warnings
                    .extend(open.map(|message| Finding::warning(path, message)));
                Some(found)
            }
            Err(error) => {
                self.errors.push(Finding::error(path, error.to_string()));
                None
            }
        }
    }

    fn finish<T>(self, config: &Config, secrets: T) -> Result<Resolved<T>, Problems> {
        if self.errors.is_empty() {
            let warnings = config.origin.locate(self.warnings);
            return Ok(Resolved { secrets, warnings });
        }
        Err(config.origin.locate([self.errors, self.warnings].concat()))
    }
}

/// A message if others than the file's owner may use it.
pub fn open_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path} can be used by others on this machine (mode {mode:03o}); chmod 600 {path}")
    })
}

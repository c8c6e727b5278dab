//! From files to schemas: each file once, all problems at once.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Compiled, SourceSchemas};
use crate::config::{BodySchema, Config, Problems, join};

/// Most bytes of a file with a schema.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Those of every source that names some.
pub(super) fn all(config: &Config) -> Result<BTreeMap<String, Arc<SourceSchemas>>, Problems> {
    let mut reader = Reader {
        config,
        known: HashMap::new(),
        problems: Problems::default(),
    };
    let mut all = BTreeMap::new();
    for (name, source) in &config.sources {
        if let Some(schema) = &source.schema {
            let at = format!("{}.schema", join("sources", name));
            all.insert(name.clone(), Arc::new(reader.source(&at, schema)));
        }
    }
    match reader.problems.has_errors() {
        true => Err(reader.problems),
        false => Ok(all),
    }
}

struct Reader<'c> {
    config: &'c Config,
    /// Files that are in order, so that one for several event types is compiled once.
    known: HashMap<PathBuf, Arc<Compiled>>,
    problems: Problems,
}

impl Reader<'_> {
    fn source(&mut self, at: &str, schema: &BodySchema) -> SourceSchemas {
        let any = schema.file.as_deref();
        let events = format!("{at}.events");
        SourceSchemas {
            on_mismatch: schema.on_mismatch,
            any: any.and_then(|file| self.file(&format!("{at}.file"), file)),
            by_event: schema
                .events
                .iter()
                .filter_map(|(event, file)| {
                    Some((event.clone(), self.file(&join(&events, event), file)?))
                })
                .collect(),
        }
    }

    /// The schema in a file that the setting `at` names; its problem is kept.
    fn file(&mut self, at: &str, file: &Path) -> Option<Arc<Compiled>> {
        if let Some(known) = self.known.get(file) {
            return Some(known.clone());
        }
        match text_of(file).and_then(|text| Compiled::of(&text)) {
            Ok(compiled) => {
                let compiled = Arc::new(compiled);
                self.known.insert(file.to_owned(), compiled.clone());
                Some(compiled)
            }
            Err(why) => {
                let message = format!("{} {why}", file.display());
                self.problems.merge(self.config.origin.error(at, message));
                None
            }
        }
    }
}

fn text_of(file: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let opened = std::fs::File::open(file).map_err(cannot)?;
    let mut text = Vec::new();
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(cannot)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("is larger than {FILE_BYTES_MAX} bytes")),
        false => Ok(text),
    }
}

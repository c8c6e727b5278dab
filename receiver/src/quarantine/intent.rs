//! What is being taken out of quarantine and into the log, noted before it is begun.
//!
//! The log's own keys recognise what a sender names; much has no such name. So before a step is
//! appended, its ids and fingerprints are noted durably, with the offset from which on they can be.
//! After the append the requests are removed, then the note. Who finds a note looks for its
//! fingerprints in the log, and removes what is there: each is appended once, whatever was cut off.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use creel_common::delivery::Delivery;
use creel_common::ids::{LogId, Offset, QuarantineId};
use creel_common::log::{Find, Operate, OperateError, PAGE_MAX};
use creel_common::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::segment::sync_dir;

/// The note's file.
const FILE: &str = "intent";

/// A step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Into this log.
    pub log: LogId,
    /// At this offset or later.
    pub from: Offset,
    /// These.
    pub entries: Vec<Entry>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in quarantine.
    pub id: QuarantineId,
    source: String,
    received_at: Timestamp,
    fingerprint: String,
}

impl Entry {
    /// The entry of a request that is about to become this delivery.
    pub fn new(id: QuarantineId, delivery: &Delivery) -> Self {
        Self {
            id,
            source: delivery.envelope.source.clone(),
            received_at: delivery.envelope.received_at,
            fingerprint: fingerprint(delivery),
        }
    }
}

/// SHA-256 of all that was received, each part behind its length.
fn fingerprint(delivery: &Delivery) -> String {
    let (envelope, head) = (&delivery.envelope, &delivery.head);
    let mut hash = Sha256::new();
    let mut put = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    put(envelope.source.as_bytes());
    put(&envelope.received_at.millis().to_le_bytes());
    put(head.method.as_bytes());
    put(head.target.as_bytes());
    for header in &head.headers {
        put(header.name.as_bytes());
        put(&header.value);
    }
    put(&delivery.body);
    hex::encode(hash.finalize())
}

impl Intent {
    /// Notes it durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(format!("{FILE}.new"));
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file: File = options.open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        fs::rename(&new, dir.join(FILE))?;
        sync_dir(dir)
    }

    /// The one that is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(FILE)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes it: its requests are gone from quarantine, or were never appended.
    ///
    /// # Errors
    /// The disk's.
    pub fn clear(dir: &Path) -> io::Result<()> {
        fs::remove_file(dir.join(FILE))?;
        sync_dir(dir)
    }

    /// Which of its requests the log has, below `end`.
    ///
    /// # Errors
    /// The log's.
    pub async fn appended(
        &self,
        log: LogId,
        end: Offset,
        operate: &dyn Operate,
    ) -> Result<Vec<QuarantineId>, OperateError> {
        if self.log != log {
            // another log: it has none of them
            return Ok(Vec::new());
        }
        let key = |source: &str, at| (source.to_owned(), at);
        let mut wanted: HashMap<(String, Timestamp), Vec<&Entry>> = HashMap::new();
        for entry in &self.entries {
            let same = wanted.entry(key(&entry.source, entry.received_at));
            same.or_default().push(entry);
        }
        let mut found = BTreeSet::new();
        let mut from = Some(self.from);
        while let Some(at) = from.filter(|at| *at < end && found.len() < self.entries.len()) {
            let find = Find {
                from: Some(at),
                limit: PAGE_MAX,
                ..Find::default()
            };
            let page = operate.find(find).await?;
            for one in &page.items {
                let envelope = &one.delivery.envelope;
                let Some(same) = wanted.get(&key(&envelope.source, envelope.received_at)) else {
                    continue;
                };
                let print = fingerprint(&operate.show(one.id).await?.delivery);
                let new =
                    |entry: &&&Entry| entry.fingerprint == print && !found.contains(&entry.id);
                if let Some(entry) = same.iter().find(new) {
                    found.insert(entry.id);
                }
            }
            from = page.next;
        }
        Ok(found.into_iter().collect())
    }
}

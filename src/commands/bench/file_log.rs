//! The least a durable log can be: one file, appended and synced in groups.
//!
//! It is the limit creel is measured against. It cannot be read, knows no duplicates and never
//! gives space back.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;
use tokio::sync::oneshot;

/// Most bytes of one group.
const GROUP_BYTES_MAX: usize = 1 << 20;

struct Waiting {
    record: Vec<u8>,
    done: oneshot::Sender<u64>,
}

/// A file that is appended to.
pub struct FileLog(Sender<Waiting>);

impl FileLog {
    /// Makes the file and the thread that writes it; the thread ends with the log.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("file-log".into())
            .spawn(move || write(file, &receiver))
            .context("cannot start a thread")?;
        Ok(Self(sender))
    }

    /// Appends a record; answers with its number once it is synced.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn append(&self, record: Vec<u8>) -> anyhow::Result<u64> {
        let (done, answer) = oneshot::channel();
        self.0
            .send(Waiting { record, done })
            .map_err(|_| anyhow::anyhow!("the file could not be written"))?;
        answer.await.context("the file could not be written")
    }
}

fn write(mut file: File, queue: &Receiver<Waiting>) {
    let mut number = 0;
    let mut bytes = Vec::with_capacity(2 * GROUP_BYTES_MAX);
    let mut answers = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut next = Some(first);
        while let Some(waiting) = next {
            let length = u32::try_from(waiting.record.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&waiting.record);
            answers.push(waiting.done);
            next = (bytes.len() < GROUP_BYTES_MAX)
                .then(|| queue.try_recv().ok())
                .flatten();
        }
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            tracing::error!(%error, "the file cannot be written");
            return;
        }
        bytes.clear();
        for answer in answers.drain(..) {
            number += 1;
            // a writer that no longer waits is no error
            let _ = answer.send(number);
        }
    }
}

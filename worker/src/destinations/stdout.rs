//! `stdout`: one line of JSON per delivery, flushed.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use toml::Table;

use super::settings::Reader;
use super::{Attempted, Destination, Item, OpenError, Opening, Problem, line};

/// Most deliveries written at once.
const BATCH_MAX: usize = 256;

/// All problems of the settings: there are none to make.
pub(super) fn check(settings: &Table) -> Vec<Problem> {
    Reader::new(settings).finish()
}

/// Opens this process's standard output.
pub(super) fn open(opening: &Opening<'_>) -> Result<Arc<dyn Destination>, OpenError> {
    let problems = check(opening.settings);
    if !problems.is_empty() {
        return Err(OpenError::Settings(problems));
    }
    Ok(Arc::new(Lines::to(std::io::stdout())))
}

/// Lines of JSON into any writer.
pub struct Lines {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Lines {
    /// Lines into this writer.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self {
            writer: Arc::new(Mutex::new(Box::new(writer))),
        }
    }
}

#[async_trait]
impl Destination for Lines {
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted> {
        // held by the writing thread until it is done, so that a reader that has stopped reading
        // costs one thread however often the attempt times out
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let mut lines = Vec::with_capacity(batch.iter().map(line::bytes_guess).sum());
        for item in batch {
            line::append(&mut lines, item);
        }
        let written = tokio::task::spawn_blocking(move || {
            writer.write_all(&lines)?;
            writer.flush()
        })
        .await;
        let result = match written {
            Ok(Ok(())) => Attempted::delivered(),
            Ok(Err(error)) => Attempted::retry(format!("cannot write: {error}")),
            Err(_) => Attempted::retry("writing was cut short"),
        };
        vec![result; batch.len()]
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn parallel(&self) -> usize {
        1
    }
}

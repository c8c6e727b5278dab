//! The servers `bench` compares with: creel's own receiver over something that is not its log.
//!
//! Everything but the log is the same code, in a child process like a receiver's: listeners,
//! limits, verification, metrics. What remains is what a log costs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use async_trait::async_trait;
use clap::ValueEnum;
use creel_common::config::Config;
use creel_common::delivery::Delivery;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::ids::{DeliveryId, LogId};
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{AppendError, Appended, Intake, codec};
use creel_common::time::{Clock, SystemClock};
use creel_receiver::{LogParts, Receiver};

use super::file_log::FileLog;
use crate::commands::receiver::{VERSION, listeners, prepare, reload};
use crate::lifeline::Lifeline;
use crate::rundir::Addresses;
use crate::settings::Global;
use crate::sockets::Handed;
use crate::stop;

/// Serve for `creel bench`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is behind the server
    #[arg(long, value_enum)]
    log: Kind,
    /// Standard input is the lifeline
    #[arg(long)]
    supervised: bool,
}

/// What is behind a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Nothing at all
    None,
    /// A bare synced file
    File,
}

/// Serves until told to stop.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let run = global.run_dir();
    let (config, prepared) = prepare(global, &run)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let intake = intake(args.log, &config.log.path)?;
    let rest = unused_log(&config, &clock)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            let lifeline = args
                .supervised
                .then(Lifeline::of_this_process)
                .transpose()?;
            let listeners = listeners(&config, lifeline.as_ref(), Handed::default())?;
            let stop = stop::token()?;
            if let Some(lifeline) = lifeline {
                stop::with_parent(lifeline, stop.clone())?;
            }
            run.write_addresses(&Addresses {
                public: listeners.public.local_addr()?,
                private: listeners.private.local_addr()?,
            })?;
            let reload = reload(global, &run, (&config, &prepared), &rest, &clock, None);
            let receiver = Receiver {
                config: config.receiver.clone(),
                prepared,
                log: LogParts {
                    intake,
                    ..LogParts::from(&rest)
                },
                quarantine: None,
                listeners,
                clock,
                version: VERSION.to_owned(),
                reload,
                stop,
            };
            receiver.run().await.context("a listener failed")
        })
}

/// The private listener wants a log too; nobody asks this one anything.
fn unused_log(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<LocalLog>> {
    let engine = MemoryEngine::new(MemorySettings::default(), rand::random());
    let around = Surroundings {
        clock: clock.clone(),
        dice: rand::random(),
        observer: Arc::new(creel_common::log::Unobserved),
        on_failure: Arc::new(|_| {}),
    };
    Ok(LocalLog::open(Arc::new(engine), config, around)?)
}

fn intake(kind: Kind, dir: &Path) -> anyhow::Result<Arc<dyn Intake>> {
    let log = LogId::from_bits(rand::random());
    Ok(match kind {
        Kind::None => Arc::new(Nowhere {
            log,
            next: AtomicU64::new(1),
        }),
        Kind::File => {
            std::fs::create_dir_all(dir)?;
            Arc::new(InFile {
                log,
                file: FileLog::create(&dir.join("file"))?,
            })
        }
    })
}

/// Keeps nothing and says yes.
struct Nowhere {
    log: LogId,
    next: AtomicU64,
}

#[async_trait]
impl Intake for Nowhere {
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError> {
        drop(new);
        Ok(appended(
            self.log,
            self.next.fetch_add(1, Ordering::Relaxed),
        ))
    }
}

/// Appends to a file and syncs it.
struct InFile {
    log: LogId,
    file: FileLog,
}

#[async_trait]
impl Intake for InFile {
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError> {
        let record = codec::encode(&new).map_err(|_| AppendError::Stopped)?;
        let number = self.file.append(record).await;
        number
            .map(|number| appended(self.log, number))
            .map_err(|_| AppendError::Stopped)
    }
}

fn appended(log: LogId, offset: u64) -> Appended {
    Appended {
        id: DeliveryId { log, offset },
        duplicate: false,
    }
}

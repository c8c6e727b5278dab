//! A worker: its lanes, and its life from start to stop.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creel_common::config::{Config, Problems, Route};
use creel_common::log::Work;
use creel_common::schemas::Schemas;
use creel_common::time::Clock;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::destinations::{self, Destination, OpenError, Opening};
use crate::drain::Drain;
use crate::lane::{Lane, Opened, Stop};
use crate::pipeline::Stages;
use crate::room::Room;
use crate::slots::Slots;
use crate::tally::{Counts, Tally};

/// Most bytes of records that are held at once, over all lanes; one delivery per lane always fits.
const HELD_BYTES_MAX: usize = 256 << 20;

/// Least and most bytes that one lane may hold.
const LANE_BYTES: (usize, usize) = (1 << 20, 32 << 20);

/// Most characters of a worker's name that receivers are told.
const NAME_CHARS_MAX: usize = 200;

/// After a stop's time is over, this long is left to give back what was not done.
const LAST_SETTLES: Duration = Duration::from_secs(5);

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, for people: in leases, logs and file names. Made fit for a file name.
    pub name: String,
    /// Most calls of destinations under way at once, over all routes: for kinds that take one
    /// delivery per call that is deliveries, for kinds that take batches it is batches.
    pub concurrency: usize,
    /// How long a stop waits for deliveries under way before they are given back.
    pub drain_timeout: Duration,
    /// Only these routes; empty means all.
    pub routes: Vec<String>,
}

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A route that was asked for is not configured.
    #[error("no route `{0}`")]
    NoRoute(String),
    /// A destination cannot be opened.
    #[error("destination `{0}`: {1}")]
    Destination(String, #[source] OpenError),
    /// A source's JSON Schemas cannot be read.
    #[error("{0}")]
    Schemas(Problems),
    /// A route's deliveries cannot be split.
    #[error("route `{0}`: {1}")]
    Split(String, String),
}

/// Leases deliveries from receivers and loads them into destinations.
pub struct Worker {
    drains: Vec<Drain>,
    tally: Arc<Tally>,
    tasks: TaskTracker,
    stop: Stop,
    drain_timeout: Duration,
}

/// Open destinations by name.
pub type Destinations = BTreeMap<String, Arc<dyn Destination>>;

/// What all lanes of a worker come from.
struct Build {
    name: Arc<str>,
    unique: Arc<str>,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    tasks: TaskTracker,
    stop: Stop,
    opened: HashMap<String, Arc<Opened>>,
    schemas: Schemas,
}

impl Worker {
    /// A worker for the routes of `config`, leasing from each of `receivers`.
    ///
    /// Opens the destinations of its routes: secrets are read now.
    ///
    /// # Errors
    /// [`SetupError`] says which route, destination or schema is wrong.
    pub fn new(
        receivers: Vec<Arc<dyn Work>>,
        config: &Config,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let routes = chosen(&config.routes, &settings.routes)?;
        let schemas = Schemas::read(config).map_err(SetupError::Schemas)?;
        let name = file_name(&settings.name);
        let unique = format!(
            "{name}-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let mut open = Destinations::new();
        for route in &routes {
            if !open.contains_key(&route.destination) {
                let destination = open_one(config, &route.destination, &unique, &clock)?;
                open.insert(route.destination.clone(), destination);
            }
        }
        let surroundings = (clock, unique.as_str(), schemas);
        Self::build(receivers, &routes, &open, settings, surroundings)
    }

    /// A worker over destinations that are open already; those of all `routes` must be among them.
    /// `unique` is a name that no other worker process ever has. No body is checked by a schema.
    ///
    /// # Errors
    /// [`SetupError::Destination`] names one that is missing.
    pub fn over(
        receivers: Vec<Arc<dyn Work>>,
        routes: &[Route],
        destinations: &Destinations,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        unique: &str,
    ) -> Result<Self, SetupError> {
        let surroundings = (clock, unique, Schemas::default());
        Self::build(receivers, routes, destinations, settings, surroundings)
    }

    fn build(
        receivers: Vec<Arc<dyn Work>>,
        routes: &[Route],
        destinations: &Destinations,
        settings: &Settings,
        (clock, unique, schemas): (Arc<dyn Clock>, &str, Schemas),
    ) -> Result<Self, SetupError> {
        let lanes = (routes.len() * receivers.len()).max(1);
        let slots = Slots::new(settings.concurrency, lanes);
        let lane_bytes = (HELD_BYTES_MAX / lanes).clamp(LANE_BYTES.0, LANE_BYTES.1);
        let build = Build {
            name: settings
                .name
                .chars()
                .take(NAME_CHARS_MAX)
                .collect::<String>()
                .into(),
            unique: unique.into(),
            clock,
            tally: Arc::default(),
            tasks: TaskTracker::new(),
            stop: Stop::default(),
            opened: opened(destinations),
            schemas,
        };
        let drains = receivers
            .into_iter()
            .map(|work| build.drain(work, routes, &slots, lane_bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            drains,
            tally: build.tally,
            tasks: build.tasks,
            stop: build.stop,
            drain_timeout: settings.drain_timeout,
        })
    }

    /// Returns when this worker, once it runs, has been answered a request for leases by one of its
    /// receivers; at once when it has no routes to ask for.
    pub fn leasing(&self) -> impl Future<Output = ()> + Send + 'static {
        let idle = self.drains.iter().all(|drain| drain.lanes.is_empty());
        let tally = Arc::clone(&self.tally);
        async move {
            if !idle {
                tally.leasing().await;
            }
        }
    }

    /// Works until `shutdown`. Then it leases nothing more, finishes what is under way within the
    /// drain timeout, gives the rest back, and returns what it did.
    pub async fn run(self, shutdown: CancellationToken) -> Counts {
        for drain in self.drains {
            self.tasks.spawn(drain.run());
        }
        self.tasks.close();
        shutdown.cancelled().await;
        self.stop.soon.cancel();
        tracing::info!("stopping: no more leases");
        if !waited(&self.tasks, self.drain_timeout).await {
            tracing::warn!("giving back what is still under way");
            self.stop.now.cancel();
            if !waited(&self.tasks, LAST_SETTLES).await {
                tracing::warn!("not all was given back; it comes again when its leases end");
            }
        }
        let counts = self.tally.read();
        tracing::info!(?counts, "stopped");
        counts
    }
}

async fn waited(tasks: &TaskTracker, most: Duration) -> bool {
    tokio::time::timeout(most, tasks.wait()).await.is_ok()
}

impl Build {
    fn drain(
        &self,
        work: Arc<dyn Work>,
        routes: &[Route],
        slots: &Slots,
        lane_bytes: usize,
    ) -> Result<Drain, SetupError> {
        let freed = Arc::new(Notify::new());
        let mut lanes = Vec::with_capacity(routes.len());
        for route in routes {
            let missing = || OpenError::Other("is not configured".to_owned());
            let opened = self
                .opened
                .get(&route.destination)
                .cloned()
                .ok_or_else(|| SetupError::Destination(route.destination.clone(), missing()))?;
            let stages = Stages::of(route, &self.schemas)
                .map_err(|why| SetupError::Split(route.name.clone(), why))?;
            let items = items_max(&opened, slots, route);
            lanes.push(Lane {
                route: route.name.as_str().into(),
                timeout: route.timeout,
                opened,
                stages,
                slots: slots.lane(),
                room: Room::new(items, lane_bytes, Arc::clone(&freed)),
                clock: Arc::clone(&self.clock),
                tally: Arc::clone(&self.tally),
                tasks: self.tasks.clone(),
                stop: self.stop.clone(),
            });
        }
        Ok(Drain {
            work,
            name: Arc::clone(&self.name),
            unique: Arc::clone(&self.unique),
            lanes,
            freed,
            tally: Arc::clone(&self.tally),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        })
    }
}

fn open_one(
    config: &Config,
    name: &str,
    unique: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Destination>, SetupError> {
    let wrong = |error| SetupError::Destination(name.to_owned(), error);
    let configured = config
        .destinations
        .get(name)
        .ok_or_else(|| wrong(OpenError::Other("is not configured".to_owned())))?;
    let opening = Opening {
        name,
        settings: &configured.settings,
        base: config.path.parent().unwrap_or(Path::new("")),
        unique,
        clock: Arc::clone(clock),
    };
    destinations::open(&configured.kind, &opening).map_err(wrong)
}

fn opened(destinations: &Destinations) -> HashMap<String, Arc<Opened>> {
    destinations
        .iter()
        .map(|(name, destination)| {
            let opened = Opened {
                places: Arc::new(Semaphore::new(destination.parallel().max(1))),
                destination: Arc::clone(destination),
            };
            (name.clone(), Arc::new(opened))
        })
        .collect()
}

/// Room of a lane in deliveries: twice what can be under way, so that the next is here when one is
/// done, and no more than the lender gives.
fn items_max(opened: &Opened, slots: &Slots, route: &Route) -> usize {
    let calls = opened.destination.parallel().min(slots.lane_max()).max(1);
    let under_way = calls.saturating_mul(opened.destination.batch_max());
    under_way
        .saturating_mul(2)
        .min(route.open_max as usize)
        .max(1)
}

fn chosen(routes: &[Route], names: &[String]) -> Result<Vec<Route>, SetupError> {
    if names.is_empty() {
        return Ok(routes.to_vec());
    }
    names
        .iter()
        .map(|name| {
            routes
                .iter()
                .find(|route| route.name == *name)
                .cloned()
                .ok_or_else(|| SetupError::NoRoute(name.clone()))
        })
        .collect()
}

/// The name with everything that is not fit for a file name replaced, and not too long.
fn file_name(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(fit).take(64).collect();
    if name.is_empty() {
        "worker".to_owned()
    } else {
        name
    }
}

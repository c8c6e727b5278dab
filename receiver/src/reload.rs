//! Another configuration for a receiver at work: read, checked as at a start, and taken over as a whole
//! or not at all.
//!
//! ```text
//!  read the file, the secrets ──► all that is wrong? ──yes──► refused; the old one stays
//!                                        │ no
//!                   the log: routes, quotas, windows (durable) ──► sources, tokens, certificates
//! ```
//!
//! A request is judged by the sources that were there when it came, to its end. Nothing waits.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use creel_common::config::{Config, Problems};
use creel_common::log::local::LocalLog;
use creel_common::log::wire::{ActCall, ReloadView};
use creel_common::log::{Actor, OperateError};
use creel_common::time::Clock;
use tokio::sync::Mutex;

use crate::auth::{Caller, Tokens};
use crate::current::Current;
use crate::failure::{Errors, Failure, Payload};
use crate::keys::Keys;
use crate::limits::Accounts;
use crate::metrics::Metrics;
use crate::operate::actor;
use crate::private::Api;
use crate::receiver::{Made, Prepared};
use crate::sources::Sources;
use crate::tls::CurrentTls;
use crate::verify::Registry;

/// Reads the configuration file again, and the packs it may name; or says everything that is wrong.
pub type Read = Box<dyn Fn() -> Result<(Config, Registry), String> + Send + Sync>;

/// What a reload needs to be told of its surroundings.
pub struct Surroundings {
    /// Reads the file.
    pub read: Read,
    /// Is told of each reload, whether it was taken over.
    pub told: Box<dyn Fn(bool) + Send + Sync>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Takes configurations over, one after the other.
pub struct Reload {
    around: Surroundings,
    /// The one in use.
    running: Mutex<Arc<Config>>,
    sources: Current<Sources>,
    keys: Arc<Keys>,
    accounts: Arc<Accounts>,
    tokens: Tokens,
    public_tls: CurrentTls,
    private_tls: CurrentTls,
    metrics: Arc<Metrics>,
    log: Arc<LocalLog>,
}

/// A configuration that was made into what a receiver works with.
struct Fresh {
    config: Config,
    made: Made,
}

impl Reload {
    /// For a receiver that was prepared by `config` and runs over `log`.
    pub fn new(
        prepared: &Prepared,
        config: Config,
        log: Arc<LocalLog>,
        around: Surroundings,
    ) -> Arc<Self> {
        Arc::new(Self {
            around,
            running: Mutex::new(Arc::new(config)),
            sources: prepared.sources.clone(),
            keys: prepared.keys.clone(),
            accounts: prepared.accounts.clone(),
            tokens: prepared.tokens.clone(),
            public_tls: prepared.public_tls.clone(),
            private_tls: prepared.private_tls.clone(),
            metrics: prepared.metrics.clone(),
            log,
        })
    }

    pub(crate) fn log(&self) -> &Arc<LocalLog> {
        &self.log
    }

    /// Reads everything again and takes it over. Goes on to its end whoever stops waiting for it.
    ///
    /// # Errors
    /// [`OperateError::Invalid`] says everything that is wrong, each with its line, and what needs a
    /// restart; nothing has changed. [`OperateError::Unavailable`]: the log has stopped.
    pub async fn run(self: &Arc<Self>, actor: Actor) -> Result<ReloadView, OperateError> {
        let reload = self.clone();
        let running = tokio::spawn(async move { reload.run_to_the_end(actor).await });
        running
            .await
            .unwrap_or_else(|error| Err(OperateError::Unavailable(error.to_string())))
    }

    async fn run_to_the_end(self: &Arc<Self>, actor: Actor) -> Result<ReloadView, OperateError> {
        let mut running = self.running.lock().await;
        let who = actor.who.clone();
        let outcome = self.take_over(&mut running, actor).await;
        self.metrics
            .reloads
            .note(outcome.is_ok(), self.around.clock.wall());
        match &outcome {
            Ok(view) => {
                for warning in &view.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(who, "the configuration was reloaded: {view}");
            }
            Err(error) => {
                tracing::error!(
                    who,
                    "the configuration was not reloaded, the one before stays: {error}"
                );
            }
        }
        (self.around.told)(outcome.is_ok());
        outcome
    }

    async fn take_over(
        self: &Arc<Self>,
        running: &mut Arc<Config>,
        actor: Actor,
    ) -> Result<ReloadView, OperateError> {
        // no secret is learned between what is read of them and what is taken over
        let _turn = self.keys.learned.turn().await;
        let (reload, old) = (self.clone(), running.clone());
        let fresh = tokio::task::spawn_blocking(move || reload.make(&old));
        let fresh = fresh
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(OperateError::Invalid)?;
        let unfit = self.log.unfit(&fresh.config).await?;
        if !unfit.is_empty() {
            return Err(OperateError::Invalid(unfit.to_string()));
        }
        let mut view = ReloadView::between(running, &fresh.config);
        self.log
            .configure(&fresh.config, actor, view.to_string())
            .await?;
        // new routes are there before the first delivery of a new source
        self.sources.replace(fresh.made.sources);
        self.tokens.replace(fresh.made.tokens);
        // who is connected keeps what it shook hands with
        self.public_tls.replace(fresh.made.tls.public);
        self.private_tls.replace(fresh.made.tls.private);
        view.warnings = self.warnings(&fresh.config, &fresh.made.warnings);
        *running = Arc::new(fresh.config);
        Ok(view)
    }

    /// Reads and makes everything; blocks. Else all that is wrong, at once.
    fn make(&self, running: &Config) -> Result<Fresh, String> {
        let (config, registry) = (self.around.read)()?;
        let mut problems = running.needs_restart(&config);
        let counted = (&*self.metrics, &*self.accounts);
        let made = match Made::of(&config, &registry, counted, &self.keys) {
            Ok(made) if problems.is_empty() => made,
            Ok(_) => return Err(problems.to_string()),
            Err(more) => {
                problems.merge(more);
                return Err(problems.to_string());
            }
        };
        Ok(Fresh { config, made })
    }

    fn warnings(&self, config: &Config, made: &[Problems]) -> Vec<String> {
        let without = config.without_valid_secret(self.around.clock.wall());
        let all = [&config.warnings, &without].into_iter().chain(made);
        all.flatten()
            .map(|warning| format!("{}: {}", warning.path, warning.message))
            .collect()
    }
}

/// Reads the configuration and all secrets again. A configuration that has problems, or changes what
/// needs a restart, is refused with everything that is wrong, and the one before stays in use.
#[utoipa::path(
    post, path = "/v1/reload", tag = "log", request_body = ActCall,
    responses((status = 200, body = ReloadView), Errors),
    security(("token" = []))
)]
pub async fn reload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Payload(act): Payload<ActCall>,
) -> Result<Json<ReloadView>, Failure> {
    let actor = actor(&caller, act)?;
    Ok(Json(api.reload.run(actor).await?))
}

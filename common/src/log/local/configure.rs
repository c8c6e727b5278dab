//! Another configuration for a log at work: routes, quotas, dedupe windows.

use super::LocalLog;
use super::intake::SourceRules;
use crate::config::{Config, Problems};
use crate::log::bounds::Bounds;
use crate::log::{Actor, OperateError};

impl LocalLog {
    /// What of a configuration this log could not take over, each with its line.
    ///
    /// # Errors
    /// The log has stopped.
    pub async fn unfit(&self, config: &Config) -> Result<Problems, OperateError> {
        let routes = config.routes.clone();
        let unfit = self.ask(move |desk| desk.unfit(&routes)).await?;
        let mut problems = Problems::default();
        for (at, why) in unfit {
            let path = format!("routes[{at}].source");
            problems.merge(config.origin.error(path, why));
        }
        Ok(problems)
    }

    /// Goes by the routes, quotas and dedupe windows of another configuration from now on; all else
    /// of it is as it was at the opening. Recorded as an act of `actor` on `subject`, and durable when
    /// this returns.
    ///
    /// Routes that are new get their cursor now; routes that left the configuration keep theirs.
    ///
    /// # Errors
    /// [`OperateError::Invalid`]: something is unfit. [`OperateError::Unavailable`]: the disk is too full for
    /// records of it, or the log has stopped. Nothing has changed.
    pub async fn configure(
        &self,
        config: &Config,
        actor: Actor,
        subject: String,
    ) -> Result<(), OperateError> {
        self.gate.pass_operator()?;
        let routes = config.routes.clone();
        self.change(move |desk| desk.configure(&routes, &actor, &subject))
            .await?;
        let rules = SourceRules::of(config);
        self.horizon.set_window(rules.window_max());
        self.gate.set_quotas(Bounds::from(config).quotas);
        *self.sources.write() = rules;
        Ok(())
    }
}

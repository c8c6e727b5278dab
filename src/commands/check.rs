//! `creel check`: everything that is wrong with a configuration, at once.

use clap::ValueEnum;
use creel_common::config::{Config, EngineKind, Problems};
use creel_common::engine::sled::Disk;
use serde::Serialize;

use crate::failure::{Failure, USAGE, usage};
use crate::output::{GOOD, Output, paint, plain};
use crate::settings::Global;

/// Check the configuration and report every problem at once
///
/// Reads the file, checks names, units and references, has each provider and each destination
/// check its own settings, resolves the secrets that the role needs, and compares the log's bounds
/// with its disk. Nothing is connected to and nothing is changed. Exits with 2 when there is a problem.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose secrets must be there
    #[arg(long, value_enum, default_value = "all")]
    role: Role,
    #[command(flatten)]
    output: Output,
}

/// Whose secrets are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Receiver and workers
    All,
    /// The sources' secrets and the private listener's tokens
    Receiver,
    /// The destinations' secrets and the worker's token
    Worker,
    /// No secrets
    None,
}

#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    sources: usize,
    destinations: usize,
    routes: usize,
    #[serde(flatten)]
    problems: Problems,
}

/// Reports all problems.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let (config, problems) = match creel_common::config::load(&global.config, &global.known()) {
        Ok(config) => {
            let mut problems = config.warnings.clone();
            problems.merge(of_role(&config, args.role));
            (Some(config), problems)
        }
        Err(problems) => (None, problems),
    };
    let failed = problems.has_errors();
    let count = |of: fn(&Config) -> usize| config.as_ref().map_or(0, of);
    let checked = Checked {
        ok: !failed,
        sources: count(|config| config.sources.len()),
        destinations: count(|config| config.destinations.len()),
        routes: count(|config| config.routes.len()),
        problems,
    };
    if failed && !args.output.json {
        return Err(usage(checked.problems.to_string()));
    }
    args.output.print(&checked, text)?;
    match failed {
        true => Err(Failure::Said(USAGE).into()),
        false => Ok(()),
    }
}

fn text(checked: &Checked) -> String {
    let warnings = match checked.problems.is_empty() {
        true => String::new(),
        false => format!("{}\n", plain_lines(&checked.problems.to_string())),
    };
    format!(
        "{warnings}{}: {} sources, {} destinations, {} routes",
        paint(GOOD, "ok"),
        checked.sources,
        checked.destinations,
        checked.routes
    )
}

fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// What a role would stumble over.
fn of_role(config: &Config, role: Role) -> Problems {
    let mut problems = Problems::default();
    if matches!(role, Role::All | Role::Receiver) {
        problems.merge(of_receiver(config));
        problems.merge(of_disk(config));
    }
    if matches!(role, Role::All | Role::Worker) {
        problems.merge(of_worker(config));
    }
    problems
}

fn outcome<T>(resolved: Result<creel_common::config::Resolved<T>, Problems>) -> Problems {
    match resolved {
        Ok(resolved) => resolved.warnings,
        Err(problems) => problems,
    }
}

/// Bounds that the disk of the log makes meaningless, or that would stop everything at once.
fn of_disk(config: &Config) -> Problems {
    let log = &config.log;
    let mut problems = Problems::default();
    let (EngineKind::Sled, Some(Disk { free, all })) = (log.engine, Disk::of(&log.path)) else {
        return problems;
    };
    let warn = |setting: &str, message: String| config.origin.warning(setting, message);
    if free < log.reserve_bytes {
        problems.merge(warn(
            "log.reserve",
            format!("only {free} bytes are free on the disk of `log.path`, less than the reserve: nothing would be taken in"),
        ));
    }
    if let Some(max) = log.max_bytes
        && max.saturating_add(log.reserve_bytes) > all
    {
        problems.merge(warn(
            "log.max_bytes",
            format!("the disk of `log.path` has {all} bytes, less than this and `reserve` together: it is never reached"),
        ));
    }
    problems
}

#[cfg(feature = "receiver")]
fn of_receiver(config: &Config) -> Problems {
    use creel_common::time::{Clock as _, SystemClock};
    use creel_receiver::Prepared;
    let registry = match crate::sources::registry(config) {
        Ok(registry) => registry,
        Err(error) => return config.origin.error("receiver.providers", error.to_string()),
    };
    let mut problems = config.without_valid_secret(SystemClock::default().wall());
    match Prepared::new(config, &registry, env!("CARGO_PKG_VERSION")) {
        Ok(prepared) => {
            for warnings in prepared.warnings {
                problems.merge(warnings);
            }
        }
        Err(wrong) => problems.merge(wrong),
    }
    problems
}

#[cfg(not(feature = "receiver"))]
fn of_receiver(_: &Config) -> Problems {
    Problems::default()
}

#[cfg(feature = "worker")]
fn of_worker(config: &Config) -> Problems {
    let mut problems = outcome(config.resolve_worker_token());
    problems.merge(creel_worker::check(config));
    let kinds = crate::settings::destination_kinds();
    problems.merge(outcome(config.resolve_destination_secrets(kinds, |_| true)));
    problems
}

#[cfg(not(feature = "worker"))]
fn of_worker(_: &Config) -> Problems {
    Problems::default()
}

/// Fails with all that any role would stumble over: for `creel up`, before it starts anything.
///
/// # Errors
/// Wrong usage.
pub fn or_fail(config: &Config) -> anyhow::Result<()> {
    let problems = of_role(config, Role::All);
    if problems.has_errors() {
        return Err(usage(problems.to_string()));
    }
    let mut warnings = config.warnings.clone();
    warnings.merge(problems);
    for warning in &warnings {
        tracing::warn!(setting = warning.path, "{}", warning.message);
    }
    Ok(())
}

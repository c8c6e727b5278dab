//! `creel quarantine`: what failed verification, why, and how it becomes deliveries after all.

mod change;
mod look;

use std::net::IpAddr;

use creel_common::ids::QuarantineId;
use creel_common::log::wire::Chosen;
use creel_common::time::Timestamp;

use crate::settings::Global;
use crate::when::{self, When};

/// List, show, reverify, promote or discard requests that failed verification
///
/// Each of them was answered 401 and is in no log. They are kept for a while, up to a number, a size
/// and an age, so that a wrong secret loses nothing: mend what was wrong, then `reverify`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(look::ListArgs),
    Show(look::ShowArgs),
    Reverify(change::ReverifyArgs),
    Promote(change::PromoteArgs),
    Discard(change::DiscardArgs),
}

// What requests are chosen by. No doc comment: it would be shown instead of the verb's.
#[derive(Debug, Clone, clap::Args)]
pub struct Filter {
    /// Only refused for this reason, such as no_match
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only sent from this address
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Received at or after: a time (2026-11-23T17:00:00Z) or an age (90s, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    since: Option<When>,
    /// Received before: a time or an age
    #[arg(long, value_name = "WHEN", value_parser = when::parse)]
    until: Option<When>,
}

impl Filter {
    /// The filter as it is asked for, as seen from `now`.
    fn chosen(&self, now: Timestamp) -> Chosen {
        Chosen {
            reason: self.reason.clone(),
            address: self.address,
            since: self.since.map(|when| when.from(now)),
            until: self.until.map(|when| when.from(now)),
            ..Chosen::default()
        }
    }
}

/// A source, or the ids of requests.
#[derive(Debug, Clone)]
enum Name {
    Source(String),
    Id(QuarantineId),
}

impl std::str::FromStr for Name {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::Source(text.to_owned()), Self::Id))
    }
}

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => look::list(global, args),
        Command::Show(args) => look::show(global, args),
        Command::Reverify(args) => change::reverify(global, args),
        Command::Promote(args) => change::promote(global, args),
        Command::Discard(args) => change::discard(global, args),
    }
}

//! What every command that changes something takes: whether it asks first, and why it is done.

use creel_common::log::Actor;

/// The reason, for the audit.
#[derive(Debug, Clone, clap::Args)]
pub struct Why {
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

impl Why {
    /// Whoever runs this program, and the reason that was given.
    pub fn actor(&self) -> Actor {
        actor(self.why.clone())
    }
}

/// Whether it is done without asking.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Yes {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Whoever runs this program, for the reason `why`.
pub fn actor(why: Option<String>) -> Actor {
    let who = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    Actor {
        who: who.unwrap_or_else(|_| "cli".into()),
        why,
    }
}

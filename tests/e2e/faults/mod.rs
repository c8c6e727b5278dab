//! What creel must survive: killed, cut off from power, lied to by its disk.
//!
//! Each test prints its seed, its counts and `PASS`. The short form is for every
//! run; `CREEL_FAULTS=long` is the full one. One at a time: they measure times
//! and load both cores.

mod abandoned;
mod ack_coverage;
mod audit;
mod clock;
mod damage;
mod drain;
mod full_disk;
mod http2;
mod kill;
mod layer;
mod leftovers;
mod power;
mod quarantine;
mod refused;
mod room;
mod slow;
mod split;
mod sync_error;
mod two_receivers;

pub use self::audit::audit;
use tokio::sync::{Mutex, MutexGuard};

/// `short`, or `long` if the long form was asked for.
fn scale<T>(short: T, long: T) -> T {
    let long_form = std::env::var("CREEL_FAULTS").is_ok_and(|form| form == "long");
    if long_form { long } else { short }
}

/// Held by a test that loads both cores or measures times, while it runs.
pub async fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

//! What one sender may take from the others: requests, connections, memory, places in line.
//!
//! ```text
//!            per address            per source                      per source
//!  connect ──► seats ──► head ──► terms ──► body ──► budget ──► verified ──► terms ──► budget ──► log
//!              closed         403, 429/503        503                    429/503        503
//! ```
//!
//! What a stranger can make grow has a fixed bound, and a stranger uses up nothing that a source has:
//! a source's rate is looked at before a body is read, and taken from by what is verified.

mod account;
mod addresses;
mod budget;
mod pace;
mod seats;
mod terms;

pub use self::account::{Account, Accounts};
pub use self::addresses::{Addresses, sender};
pub use self::budget::{Budget, Over, Share};
pub use self::pace::Pace;
pub use self::seats::{Seat, Seats, enter};
pub use self::terms::Terms;

//! What it takes to play some of the faults, and may not be there.

use creel_common::layer::Layer;
use creel_common::wall::Wall;

use super::fault::Fault;

/// Why what some faults take is not there.
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// A file system of ours.
    pub no_layer: Option<String>,
    /// A wall clock of ours.
    pub no_wall: Option<String>,
}

impl Means {
    /// Those of this machine.
    pub fn look() -> Self {
        let no_wall = match Wall::library() {
            Some(_) => None,
            None => Some("there is no libfaketime".to_owned()),
        };
        Self {
            no_layer: Layer::probe().err().map(|why| why.to_string()),
            no_wall,
        }
    }

    /// Why a fault cannot be played; `None` when it can.
    pub fn lacks(&self, fault: Fault) -> Option<&str> {
        if fault.needs_layer() {
            return self.no_layer.as_deref();
        }
        if fault.needs_wall() {
            return self.no_wall.as_deref();
        }
        None
    }
}

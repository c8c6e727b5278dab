//! What the end-to-end tests stand on: processes, load, sinks and patience.

mod marker;

pub use marker::Marker;

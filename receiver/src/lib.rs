//! creel's receiver: verifies deliveries, keeps them, lends them out.

pub mod verify;

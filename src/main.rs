//! creel: one binary, a subcommand for each role.
fn main() {}

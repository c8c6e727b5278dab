//! Runs one test of this binary in a process of its own, to set its environment or to kill it.

use std::process::{Child, Command, Stdio};

/// Starts the ignored test `name` with these variables; its output is piped.
pub fn start(name: &str, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

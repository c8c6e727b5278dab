//! The command line as a user meets it.

mod activation;
mod backup;
mod dead;
mod doctor;
mod log;
mod offline;
mod quarantine;
mod reload;
mod routes;
#[cfg(feature = "schema")]
mod schema;
mod send;
mod shows;
mod tls;
mod twilio;
mod units;
mod up;

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Exit, Process, Site};

/// A route that delivers to files.
pub const TO_FILES: &str = "[destinations.out]\ntype = \"file\"\npath = \"out\"\n\n\
     [[routes]]\nsource = \"github\"\ndestination = \"out\"\n";

/// Longest time a command may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// Runs a command to its end.
async fn creel(site: &Site, arguments: &[&str]) -> Exit {
    Process::run("creel", site.creel(arguments), WITHIN).await
}

/// Runs a command that must end with 0 and prints JSON.
async fn json(site: &Site, arguments: &[&str]) -> Value {
    let exit = creel(site, &[arguments, &["--json"]].concat()).await;
    assert_eq!(exit.code(), Some(0), "{arguments:?}: {}", exit.stderr);
    serde_json::from_str(&exit.stdout).expect("JSON and nothing else on stdout")
}

/// One route, as `routes list` shows it.
async fn route(site: &Site, name: &str) -> Value {
    let listed = json(site, &["routes", "list"]).await;
    let routes = listed["routes"].as_array().expect("a list");
    let found = routes.iter().find(|route| route["name"] == name);
    found
        .unwrap_or_else(|| panic!("no route {name} in {listed}"))
        .clone()
}

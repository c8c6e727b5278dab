//! `creel worker`: the real one.

use super::{Process, Receiver, Site};

impl Process {
    /// Starts a worker that leases from `receiver`, over all routes of `site`.
    pub async fn worker(site: &Site, receiver: &Receiver, name: &str) -> Self {
        let url = format!("http://{}", receiver.private);
        let command = site.creel(&["worker", "--receiver", &url, "--name", name]);
        Self::start(&format!("creel worker {name}"), command, false).await
    }
}

//! `creel worker`: the real one.

use super::{Process, Receiver, Site};

impl Process {
    /// Starts a worker that leases from `receiver`, over all routes of `site`.
    pub async fn worker(site: &Site, receiver: &Receiver, name: &str) -> Self {
        Self::worker_with(site, receiver, name, &[]).await
    }

    /// The same with further arguments.
    pub async fn worker_with(site: &Site, receiver: &Receiver, name: &str, more: &[&str]) -> Self {
        let url = format!("http://{}", receiver.private);
        let mut command = site.creel(&["worker", "--receiver", &url, "--name", name]);
        command.args(more);
        Self::start(&format!("creel worker {name}"), command, false).await
    }
}

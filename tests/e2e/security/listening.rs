//! Which sockets a receiver has.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use creel_common::config::{self, Known};

use crate::harness::{Receiver, Site};

/// Inodes of the sockets that a process has open.
fn sockets(pid: u32) -> BTreeSet<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("our own child");
    let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let inodes = links.filter_map(|link| {
        let link = link.to_str()?;
        let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    });
    inodes.collect()
}

/// Ports that a process listens on.
fn listening_ports(pid: u32) -> BTreeSet<u16> {
    const LISTENS: &str = "0A";
    let own = sockets(pid);
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, ..] = columns[..] else {
                continue;
            };
            if state == LISTENS && own.contains(columns[9]) {
                let port = local.rsplit(':').next().expect("ADDRESS:PORT");
                ports.insert(u16::from_str_radix(port, 16).expect("hexadecimal"));
            }
        }
    }
    ports
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_has_its_two_listeners_and_no_other() {
    let site = Site::new("", "");
    let receiver = Receiver::start(&site).await;
    let wanted = BTreeSet::from([receiver.public.port(), receiver.private.port()]);
    assert_eq!(listening_ports(receiver.pid()), wanted);
}

#[test]
fn nothing_is_open_to_other_machines_unless_the_configuration_says_so() {
    let config = config::parse("", Path::new("creel.toml"), &Known::default()).unwrap();
    let addresses: [IpAddr; 2] = [config.receiver.listen.ip(), config.receiver.private.ip()];
    assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    for open in ["0.0.0.0:8081", "[::]:8081", "192.0.2.1:8081"] {
        let text = format!("[receiver]\nprivate = \"{open}\"\n");
        let problems = config::parse(&text, Path::new("creel.toml"), &Known::default());
        let told = problems.expect_err(open).to_string();
        assert!(told.contains("is not on loopback"), "{told}");
    }
}

//! The units take from creel what it does not need.

use std::path::Path;
use std::process::Command;

/// What `systemd-analyze security` may say: 10 is a process that may do anything.
const EXPOSURE_MAX: f32 = 2.0;

#[test]
fn the_units_expose_little() {
    let name = "the_units_expose_little";
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systemd");
    for unit in ["creel", "creel-receiver", "creel-worker@"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=yes", "--no-pager"]);
        command.arg(directory.join(format!("{unit}.service")));
        let Ok(output) = command.output() else {
            println!("left out: {name}: there is no systemd-analyze");
            eprintln!("left out: {name}: there is no systemd-analyze");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text
            .lines()
            .find(|line| line.contains("Overall exposure level"));
        let number = told.and_then(|line| line.rsplit(": ").next()?.split(' ').next());
        let exposure: f32 = number
            .and_then(|number| number.parse().ok())
            .expect("a number");
        assert!(exposure <= EXPOSURE_MAX, "{unit}: {exposure}\n{text}");
    }
}

#[test]
fn the_units_run_as_nobody_special_and_write_where_they_keep() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systemd");
    for unit in ["creel", "creel-receiver", "creel-worker@"] {
        let path = directory.join(format!("{unit}.service"));
        let text = std::fs::read_to_string(path).unwrap();
        for line in [
            "User=creel",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "CapabilityBoundingSet=",
            "UMask=0077",
        ] {
            assert!(text.lines().any(|has| has == line), "{unit}: no {line}");
        }
    }
}

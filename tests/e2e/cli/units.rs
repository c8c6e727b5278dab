//! The unit files in docs/systemd: systemd understands them, and creel what they start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the units say that creel is.
const INSTALLED: &str = "/usr/local/bin/creel";

fn units() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systemd");
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The lines of a unit that begin with `key=`, without it.
fn values(text: &str, key: &str) -> Vec<String> {
    let values = text.lines().filter_map(|line| line.strip_prefix(key));
    values
        .filter_map(|rest| rest.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let name = "systemd_finds_nothing_wrong_with_the_units";
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("left out: {name}: there is no systemd-analyze");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut copies = Vec::new();
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap();
        let file = unit.file_name().unwrap().to_str().unwrap();
        let copy = directory.path().join(file.replace("@.", "@1."));
        fs::write(&copy, text.replace(INSTALLED, env!("CARGO_BIN_EXE_creel"))).unwrap();
        copies.push(copy);
    }
    assert_eq!(copies.len(), 6);
    let check = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=yes"])
        .args(&copies)
        // and all that is there anyway
        .env(
            "SYSTEMD_UNIT_PATH",
            format!("{}:", directory.path().display()),
        )
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&check.stderr);
    let about_ours: Vec<&str> = told.lines().filter(|line| line.contains("creel")).collect();
    assert!(about_ours.is_empty(), "{told}");
}

#[test]
fn what_the_units_start_is_a_command_line_of_creel() {
    let mut seen = 0;
    for unit in units() {
        for command in values(&fs::read_to_string(&unit).unwrap(), "ExecStart") {
            let mut words = command.split_whitespace();
            assert_eq!(words.next(), Some(INSTALLED));
            // says what is wrong before it helps
            let help = Command::new(env!("CARGO_BIN_EXE_creel"))
                .args(words)
                .arg("--help")
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&help.stderr);
            assert_eq!(help.status.code(), Some(0), "{command}: {told}");
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn what_a_restart_cannot_mend_is_not_restarted_not_even_by_a_connection() {
    let mut seen = 0;
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap();
        let sockets = values(&text, "Requires").join(" ");
        let starts = values(&text, "ExecStart").join(" ");
        if !starts.starts_with(&format!("{INSTALLED} receiver "))
            && !starts.starts_with(&format!("{INSTALLED} up "))
        {
            continue;
        }
        seen += 1;
        assert_eq!(values(&text, "RestartPreventExitStatus"), ["2 74"]);
        let after = values(&text, "ExecStopPost").join(" ");
        let stops = format!("2|74) systemctl --no-block stop {sockets};;");
        assert!(after.contains(&stops), "{}: {after}", unit.display());
    }
    assert_eq!(seen, 2);
}

//! The run directory: what the processes of one configuration tell each other through files.
//!
//! ```text
//! .creel/                 0700, beside the configuration file (or --run-dir)
//!   tokens/operate        0600, one line: the token of the command line
//!   tokens/read           0600
//!   tokens/worker         0600
//!   addresses.json        what the receiver is bound to
//!   up.json               the processes `creel up` runs
//! ```
//!
//! It is never inside the log's directory: a copy of the log must not carry tokens.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use creel_common::config::Role;
use creel_common::secret::Secret;
use serde::{Deserialize, Serialize};

/// The run directory's name beside the configuration file.
const NAME: &str = ".creel";

/// Where the receiver is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Senders.
    pub public: SocketAddr,
    /// Workers and operators.
    pub private: SocketAddr,
}

/// The processes `creel up` runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// `creel up` itself.
    pub up: u32,
    /// The receiver, while it lives.
    pub receiver: Option<u32>,
    /// How often the receiver was started again.
    pub receiver_restarts: u32,
    /// The workers that live.
    pub workers: Vec<u32>,
}

/// A run directory that may not be there yet.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The one given, or the one beside `config`.
    pub fn of(given: Option<&Path>, config: &Path) -> Self {
        match given {
            Some(path) => Self(path.to_owned()),
            None => {
                let parent = config.parent().filter(|p| !p.as_os_str().is_empty());
                Self(parent.unwrap_or(Path::new(".")).join(NAME))
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a role's token is kept.
    pub fn token_path(&self, role: Role) -> PathBuf {
        self.0.join("tokens").join(word(role))
    }

    /// Where the receiver says what it is bound to.
    pub fn addresses_path(&self) -> PathBuf {
        self.0.join("addresses.json")
    }

    fn processes_path(&self) -> PathBuf {
        self.0.join("up.json")
    }

    /// Makes the directory and the tokens that are not there yet.
    ///
    /// Processes that do this at the same time agree: the first token written stays.
    ///
    /// # Errors
    /// When the directory cannot be written, or a token could be read by others.
    pub fn prepare(&self) -> anyhow::Result<()> {
        self.make(&self.0)?;
        self.make(&self.0.join("tokens"))?;
        for role in [Role::Operate, Role::Read, Role::Worker] {
            make_token(&self.token_path(role), role)?;
        }
        Ok(())
    }

    fn make(&self, path: &Path) -> anyhow::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| {
                format!(
                    "cannot make the run directory {}; name another with --run-dir",
                    path.display()
                )
            })
    }

    /// The token of a role, if there is one here.
    ///
    /// # Errors
    /// When it is there and cannot be read, or could be read by others.
    pub fn token(&self, role: Role) -> anyhow::Result<Option<Secret>> {
        read_token(&self.token_path(role))
    }

    /// Where the receiver is bound, as it last said.
    pub fn addresses(&self) -> anyhow::Result<Option<Addresses>> {
        read_json(&self.addresses_path())
    }

    /// The processes of `creel up`, as it last said.
    pub fn processes(&self) -> anyhow::Result<Option<Processes>> {
        read_json(&self.processes_path())
    }

    /// Says where the receiver is bound.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_addresses(&self, addresses: &Addresses) -> anyhow::Result<()> {
        self.make(&self.0)?;
        write_json(&self.addresses_path(), addresses)
    }

    /// Says which processes run.
    pub fn write_processes(&self, processes: &Processes) -> anyhow::Result<()> {
        write_json(&self.processes_path(), processes)
    }

    /// No process runs any more.
    pub fn clear(&self) {
        for path in [self.processes_path(), self.addresses_path()] {
            // stale files do no harm: readers find nobody there
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes `value` as JSON, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    fs::write(&partial, serde_json::to_vec(value)?)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("cannot understand {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A token from a file only its owner can read; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read, is empty, or others may read it.
pub fn read_token(path: &Path) -> anyhow::Result<Option<Secret>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read token {}", path.display()));
        }
    };
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "token {} can be read by others (mode {:04o}); chmod 600 it",
            path.display(),
            mode & 0o7777
        );
    }
    let token = text.trim();
    if token.is_empty() {
        bail!("token {} is empty", path.display());
    }
    Ok(Some(Secret::new(token)))
}

fn make_token(path: &Path, role: Role) -> anyhow::Result<()> {
    if read_token(path)?.is_some() {
        return Ok(());
    }
    let bits: [u8; 32] = rand::random();
    let token = format!("creel_{}_{}\n", word(role), hex::encode(bits));
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| file.write_all(token.as_bytes()))
        // a link fails when somebody else was first, where a rename would replace theirs
        .and_then(|()| match fs::hard_link(&partial, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    let _ = fs::remove_file(&partial);
    written.with_context(|| format!("cannot write token {}", path.display()))
}

/// The word for a role.
pub fn word(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::Read => "read",
        Role::Operate => "operate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let run = RunDir::of(None, &dir.path().join("creel.toml"));
        run.prepare().expect("it can be made");
        (dir, run)
    }

    fn token(run: &RunDir, role: Role) -> String {
        let token = run.token(role).expect("readable").expect("there");
        token.expose().to_owned()
    }

    #[test]
    fn tokens_are_made_once_and_only_their_owner_can_read_them() {
        let (_dir, run) = prepared();
        let token = token(&run, Role::Operate);
        run.prepare().expect("again is fine");
        assert_eq!(self::token(&run, Role::Operate), token);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&run.token_path(Role::Operate)), 0o600);
        assert_eq!(mode(run.path()), 0o700);
    }

    #[test]
    fn each_role_has_its_own_token() {
        let (_dir, run) = prepared();
        assert_ne!(token(&run, Role::Operate), token(&run, Role::Worker));
        assert_ne!(token(&run, Role::Operate), token(&run, Role::Read));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let (_dir, run) = prepared();
        let path = run.token_path(Role::Worker);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(run.token(Role::Worker).is_err());
    }

    #[test]
    fn what_runs_is_read_back_until_it_is_cleared() {
        let (_dir, run) = prepared();
        let processes = Processes {
            up: 1,
            receiver: Some(2),
            receiver_restarts: 3,
            workers: vec![4, 5],
        };
        run.write_processes(&processes).expect("written");
        assert_eq!(run.processes().expect("readable"), Some(processes));
        run.clear();
        assert_eq!(run.processes().expect("readable"), None);
    }
}

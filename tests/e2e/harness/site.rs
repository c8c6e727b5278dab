//! A directory in which one creel lives: config, tokens, data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rand::RngExt;
use tempfile::TempDir;

use super::github;
use super::strace::Strace;

/// What a token of a site may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Worker,
    Read,
    Operate,
}

impl Role {
    const ALL: [Self; 3] = [Self::Worker, Self::Read, Self::Operate];

    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// A temporary directory with `creel.toml`, `tokens/` and, once creel ran, `data/`.
///
/// `disk/` is what a power cut is simulated on: everything that creel is to keep
/// is below it, and nothing else.
pub struct Site {
    dir: Arc<TempDir>,
    config: PathBuf,
    data: PathBuf,
}

impl Site {
    /// A site with the source `github`; `log` is added to the section `[log]` (which
    /// else has a small reserve), `rest` stands after everything else.
    pub fn new(log: &str, rest: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let data = dir.path().join("disk").join("data");
        let site = Self {
            config: dir.path().join("creel.toml"),
            data,
            dir,
        };
        fs::create_dir(site.path("tokens")).expect("a new directory");
        fs::create_dir(site.disk()).expect("a new directory");
        for role in Role::ALL {
            let token: [u8; 32] = rand::rng().random();
            write_private(&site.token_file(role), &format!("{}\n", hex::encode(token)));
        }
        write_private(&site.config, &site.config_text(log, rest));
        site
    }

    /// The same site with another disk: a copy, or what a power cut left. `name`
    /// is new, and names its config.
    pub fn with_disk(&self, name: &str, disk: &Path) -> Self {
        let text = fs::read_to_string(&self.config).expect("the site's config");
        let data = disk.join("data");
        let here = format!("path = \"{}\"", self.data.display());
        assert!(text.contains(&here), "the config names the data directory");
        let site = Self {
            dir: Arc::clone(&self.dir),
            config: self.path(&format!("{name}.toml")),
            data,
        };
        let there = format!("path = \"{}\"", site.data.display());
        write_private(&site.config, &text.replace(&here, &there));
        site
    }

    /// The same site with a wrong secret for its source; `name` is new, and names its config.
    pub fn with_wrong_secret(&self, name: &str) -> Self {
        let site = Self {
            dir: Arc::clone(&self.dir),
            config: self.path(&format!("{name}.toml")),
            data: self.data.clone(),
        };
        let wrong = self.path("wrong-secret");
        write_private(&wrong, "not the one that the sender has");
        let text = fs::read_to_string(&self.config).expect("the site's config");
        let here = format!("{{ env = \"{}\" }}", github::SECRET_VARIABLE);
        assert!(
            text.contains(&here),
            "the config names the secret's variable"
        );
        let there = format!("{{ file = \"{}\" }}", wrong.display());
        write_private(&site.config, &text.replace(&here, &there));
        site
    }

    fn config_text(&self, log: &str, rest: &str) -> String {
        let token = |role: Role| {
            let file = self.token_file(role);
            format!(
                "{{ role = \"{}\", file = \"{}\" }}",
                role.name(),
                file.display()
            )
        };
        let reserve = if log.contains("reserve") {
            ""
        } else {
            "reserve = \"1MiB\"\n"
        };
        let tokens: Vec<String> = Role::ALL.into_iter().map(token).collect();
        format!(
            "[receiver]\n\
             listen = \"127.0.0.1:0\"\n\
             private = \"127.0.0.1:0\"\n\
             tokens = [{}]\n\n\
             [log]\n\
             engine = \"sled\"\n\
             path = \"{}\"\n\
             {reserve}{log}\n\n\
             [sources.github]\n\
             provider = \"github\"\n\
             secrets = [{{ env = \"{}\" }}]\n\n\
             {rest}\n",
            tokens.join(", "),
            self.data().display(),
            github::SECRET_VARIABLE,
        )
    }

    /// `name` below the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves the directory behind, for a look at what failed.
    pub fn keep(&self) {
        std::mem::forget(Arc::clone(&self.dir));
    }

    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The data directory; creel makes it.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory that holds the data directory.
    pub fn disk(&self) -> &Path {
        self.data
            .parent()
            .expect("the data directory is on the disk")
    }

    pub fn token_file(&self, role: Role) -> PathBuf {
        self.path("tokens").join(role.name())
    }

    pub fn token(&self, role: Role) -> String {
        let text = fs::read_to_string(self.token_file(role)).expect("a token written by the site");
        text.trim_end().to_owned()
    }

    /// `creel SUBCOMMAND… --config FILE` in this site.
    pub fn creel(&self, subcommand: &[&str]) -> Command {
        self.dressed(Command::new(binary()), subcommand)
    }

    /// The same under strace.
    pub fn creel_under(&self, strace: &Strace, subcommand: &[&str]) -> Command {
        self.dressed(strace.command(binary()), subcommand)
    }

    fn dressed(&self, mut command: Command, subcommand: &[&str]) -> Command {
        command
            .args(subcommand)
            .arg("--config")
            .arg(&self.config)
            .current_dir(self.root())
            .env(github::SECRET_VARIABLE, github::SECRET)
            .env_remove("CREEL_CONFIG")
            .env_remove("CREEL_TOKEN")
            .env("RUST_BACKTRACE", "1");
        command
    }
}

/// The creel under test: `CREEL_E2E_BINARY`, say a release build, else our own.
fn binary() -> PathBuf {
    let other = std::env::var_os("CREEL_E2E_BINARY");
    other.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_creel")), PathBuf::from)
}

/// Secrets are refused when others may read them.
fn write_private(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, text).expect("a file in our own directory");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our own file");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_toml_and_names_what_the_site_holds() {
        let site = Site::new(
            "retention = \"1d\"",
            "[destinations.out]\ntype = \"stdout\"",
        );
        let text = fs::read_to_string(&site.config).unwrap();
        let config: toml::Table = text.parse().unwrap();
        assert_eq!(config["log"]["path"].as_str(), site.data().to_str());
        assert_eq!(config["log"]["retention"].as_str(), Some("1d"));
        assert_eq!(config["receiver"]["tokens"].as_array().unwrap().len(), 3);
        assert_eq!(
            config["destinations"]["out"]["type"].as_str(),
            Some("stdout")
        );
        assert_ne!(site.token(Role::Worker), site.token(Role::Operate));
    }
}

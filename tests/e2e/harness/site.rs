//! A directory in which one creel lives: config, tokens, data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// A site with the source `github`; `log` is added to the section `[log]`,
    /// `rest` stands after everything else.
    pub fn new(log: &str, rest: &str) -> Self {
        let site = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        fs::create_dir(site.path("tokens")).expect("a new directory");
        for role in Role::ALL {
            let token: [u8; 32] = rand::rng().random();
            write_private(&site.token_file(role), &format!("{}\n", hex::encode(token)));
        }
        write_private(&site.config(), &site.config_text(log, rest));
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
        let tokens: Vec<String> = Role::ALL.into_iter().map(token).collect();
        format!(
            "[receiver]\n\
             listen = \"127.0.0.1:0\"\n\
             private = \"127.0.0.1:0\"\n\
             tokens = [{}]\n\n\
             [log]\n\
             engine = \"sled\"\n\
             path = \"{}\"\n\
             {log}\n\n\
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

    pub fn config(&self) -> PathBuf {
        self.path("creel.toml")
    }

    /// The data directory; creel makes it.
    pub fn data(&self) -> PathBuf {
        self.path("disk").join("data")
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
        self.dressed(Command::new(binary()), subcommand, &self.config())
    }

    /// The same under strace.
    pub fn creel_under(&self, strace: &Strace, subcommand: &[&str]) -> Command {
        self.dressed(strace.command(binary()), subcommand, &self.config())
    }

    /// The same on another data directory: a copy, or what a power cut left.
    pub fn creel_on(&self, data: &Path, subcommand: &[&str]) -> Command {
        let text = fs::read_to_string(self.config()).expect("the site's config");
        let here = format!("path = \"{}\"", self.data().display());
        let there = format!("path = \"{}\"", data.display());
        assert!(text.contains(&here), "the config names the data directory");
        let config = data.with_extension("toml");
        write_private(&config, &text.replace(&here, &there));
        self.dressed(Command::new(binary()), subcommand, &config)
    }

    fn dressed(&self, mut command: Command, subcommand: &[&str], config: &Path) -> Command {
        command
            .args(subcommand)
            .arg("--config")
            .arg(config)
            .current_dir(self.root())
            .env(github::SECRET_VARIABLE, github::SECRET)
            .env_remove("CREEL_CONFIG")
            .env_remove("CREEL_TOKEN")
            .env("RUST_BACKTRACE", "1");
        command
    }
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_creel"))
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
        let text = fs::read_to_string(site.config()).unwrap();
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

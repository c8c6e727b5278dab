//! The senders' own libraries, run by the small programs in `tests/sdk`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The libraries of one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Node,
    Python,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::Node, Self::Python];

    fn command(self, installed: &Path) -> Command {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
        let (interpreter, program) = match self {
            Self::Node => (installed.join("node"), "sdk.mjs"),
            Self::Python => (installed.join("venv/bin/python"), "sdk.py"),
        };
        let mut command = Command::new(interpreter);
        command.arg(programs.join(program));
        command
    }
}

/// A request that a library signed, and whose it is.
#[derive(Debug, Clone)]
pub struct Signed {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Signed {
    fn of(answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let headers = answer["headers"].as_object().expect("headers");
        Self {
            url: text(&answer["url"]),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            body: STANDARD.decode(text(&answer["body"])).expect("base64"),
        }
    }

    /// The same as a question to a library that checks it.
    pub fn asked(&self, sdk: &str, secret: &str) -> Value {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        json!({
            "sdk": sdk, "secret": secret, "url": self.url,
            "headers": headers.collect::<serde_json::Map<_, _>>(),
            "body": STANDARD.encode(&self.body),
        })
    }
}

/// The libraries that `tests/sdk/install` put there.
pub struct Libraries(PathBuf);

impl Libraries {
    /// `None` if they are not there, which is said aloud.
    pub fn or_left_out(test: &str) -> Option<Self> {
        let cache = || {
            let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            cache.or_else(home).map(|cache| cache.join("creel/sdks"))
        };
        let given = std::env::var_os("CREEL_SDKS").map(PathBuf::from);
        let installed = given
            .or_else(cache)
            .filter(|dir| dir.join("versions").exists());
        if installed.is_none() {
            let why = "the senders' libraries are not installed (tests/sdk/install does that)";
            println!("left out: {test}: {why}");
            eprintln!("left out: {test}: {why}");
        }
        installed.map(Self)
    }

    /// Signs; an answer is the reason why a library does not.
    pub fn sign(&self, language: Language, asked: &[Value]) -> Vec<Result<Signed, String>> {
        let answers = self.run(language, "sign", asked);
        let signed = answers.iter().map(|answer| match &answer["unsupported"] {
            Value::String(why) => Err(why.clone()),
            _ => Ok(Signed::of(answer)),
        });
        signed.collect()
    }

    /// Whether a library accepts each; `None` where it has nothing to check it with.
    pub fn verify(&self, language: Language, asked: &[Value]) -> Vec<Option<bool>> {
        let answers = self.run(language, "verify", asked);
        answers
            .iter()
            .map(|answer| answer["accepted"].as_bool())
            .collect()
    }

    fn run(&self, language: Language, mode: &str, asked: &[Value]) -> Vec<Value> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("asked");
        let lines: String = asked.iter().map(|ask| format!("{ask}\n")).collect();
        fs::write(&path, lines).expect("a file of our own");
        let output = language
            .command(&self.0)
            .arg(mode)
            .env("CREEL_SDKS", &self.0)
            .stdin(Stdio::from(File::open(&path).expect("just written")))
            .output()
            .unwrap_or_else(|error| panic!("{language:?}: {error}"));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{language:?} {mode}: {told}");
        let text = String::from_utf8(output.stdout).expect("lines of JSON");
        let answers = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let answers: Vec<Value> = answers.collect();
        assert_eq!(answers.len(), asked.len(), "{language:?} {mode}: {told}");
        answers
    }
}

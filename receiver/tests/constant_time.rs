//! Nothing compares secrets, signatures, tags or tokens but `src/tag.rs`, which does it in constant
//! time: every other file is read here, statement by statement.

use std::fs;
use std::path::{Path, PathBuf};

/// The file that compares, and the only one that may name the crate for it.
const COMPARES: &str = "tag.rs";
/// Compare verdicts with those that a file of vectors expects, and see no secret.
const OF_VECTORS: [&str; 2] = ["policy.rs", "vectors.rs"];
/// What a name of something secret has in it.
const SECRET: [&str; 12] = [
    "credential",
    "credentials",
    "digest",
    "expected",
    "hmac",
    "mac",
    "password",
    "secret",
    "signature",
    "signatures",
    "tag",
    "token",
];
/// What compares, in a time that tells how much is the same.
const COMPARING: [&str; 14] = [
    "==",
    "!=",
    "assert_eq!",
    "assert_ne!",
    ".cmp(",
    ".contains(",
    ".ends_with(",
    ".eq(",
    ".eq_ignore_ascii_case(",
    ".ne(",
    ".partial_cmp(",
    ".starts_with(",
    ".strip_prefix(",
    ".strip_suffix(",
];

/// Rust without comments, and without what is in quotes.
fn bare(source: &str) -> String {
    let mut bare = String::new();
    for line in source.lines() {
        let mut quoted = false;
        let mut before = ' ';
        let mut rest = line.chars().peekable();
        while let Some(here) = rest.next() {
            if !quoted && here == '/' && rest.peek() == Some(&'/') {
                break;
            }
            // not a quote that is escaped, nor one between apostrophes
            let escaped = before == '\\' || before == '\'' && rest.peek() == Some(&'\'');
            quoted ^= here == '"' && !escaped;
            before = if before == '\\' { ' ' } else { here };
            if !quoted {
                bare.push(here);
            }
        }
        bare.push('\n');
    }
    bare
}

/// The statements and conditions of a file, tests left out.
fn statements(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next();
    let code = bare(code.unwrap_or_default());
    let parts = code.split([';', '{', '}', ',']);
    let joined = parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    joined.filter(|part| !part.is_empty()).collect()
}

/// The words of the names in a statement; those of constants and types do not count.
fn words(statement: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let names = statement.split(move |c| !is_part(c));
    names
        .filter(|name| !name.contains(char::is_uppercase))
        .flat_map(|name| name.split('_'))
}

/// Statements that compare something secret.
fn comparisons(source: &str) -> Vec<String> {
    let compares = |statement: &String| {
        let joined = statement.replace(" .", ".");
        COMPARING.iter().any(|way| joined.contains(way))
            && words(statement).any(|word| SECRET.contains(&word))
    };
    statements(source).into_iter().filter(compares).collect()
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("a directory of sources");
    for path in entries.map(|entry| entry.expect("a file").path()) {
        match path.is_dir() {
            true if path.ends_with("tests") => {}
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = vec![root.join("auth.rs"), root.join("doctor.rs")];
    files(&root.join("verify"), &mut paths);
    paths.retain(|path| !OF_VECTORS.iter().any(|file| path.ends_with(file)));
    assert!(paths.len() > 30, "{paths:?}");
    let read = |path: PathBuf| {
        let source = fs::read_to_string(&path).expect("a source file");
        (path.display().to_string(), source)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn nothing_secret_is_compared_in_a_time_that_tells_of_it() {
    for (path, source) in sources() {
        let found = comparisons(&source);
        assert!(found.is_empty(), "{path}: {found:#?}");
    }
}

#[test]
fn only_one_file_compares_in_constant_time_and_all_go_through_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    for path in paths {
        let source = fs::read_to_string(&path).expect("a source file");
        let compares = path.ends_with(COMPARES);
        let names = source.contains("subtle::");
        assert_eq!(names, compares, "{}", path.display());
    }
}

#[test]
fn a_comparison_of_secrets_is_found_however_it_is_written() {
    for bad in [
        "if mac == given { return true; }",
        "if self.signature != *signature {}",
        "let same = expected\n    .iter()\n    .eq(given);",
        "Some(tag.as_slice()).filter(|tag| tag.starts_with(given))",
        "assert_eq!(digest_of_body, other);",
        "self.secrets().any(|secret| secret.expose_secret() == value)",
        "known.token\n            .eq_ignore_ascii_case(token)",
        "tokens.contains(&token)",
        "let it = \"quoted\" == password;",
        "key.password.cmp(&given).is_eq()",
        "match tag.strip_prefix(given) {}",
    ] {
        assert!(!comparisons(bad).is_empty(), "{bad}");
    }
}

#[test]
fn what_compares_nothing_secret_is_let_be() {
    for good in [
        "if expected.is(given) { return true; }",
        "// the signature == what was signed",
        "if header == \"signature\" {}",
        "if name.starts_with(SIGNATURE_MARK) {}",
        "if Algorithm::Equal == algorithm { signature }",
        "let tag = hash(text); if text == other {}",
        "#[cfg(test)]\nmod tests {\n    fn f() { assert_eq!(tag, other); } }",
    ] {
        assert_eq!(comparisons(good), Vec::<String>::new(), "{good}");
    }
}

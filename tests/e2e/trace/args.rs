//! The arguments of one traced call: splitting them, and undoing `-xx` and `-y`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Splits `text` at its top-level commas.
///
/// Strings never hold a quote (with `-xx` every byte of a string is `\xHH`),
/// so they are skipped in one jump.
pub fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut args = Vec::new();
    let (mut from, mut at, mut depth) = (0, 0, 0usize);
    while at < text.len() {
        match text[at] {
            b'"' => at += 1 + memchr::memchr(b'"', &text[at + 1..]).unwrap_or(text.len()),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                args.push(text[from..at].trim_ascii());
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if !text[from.min(text.len())..].trim_ascii().is_empty() {
        args.push(text[from..].trim_ascii());
    }
    args
}

/// All quoted strings in `arg`, decoded and put together: one string, or the
/// buffers of an `iovec`.
pub fn bytes(arg: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(arg.len() / 4);
    let mut rest = arg;
    while let Some(open) = memchr::memchr(b'"', rest) {
        let body = &rest[open + 1..];
        let close = memchr::memchr(b'"', body).context("a string without an end")?;
        decode(&body[..close], &mut out)?;
        rest = &body[close + 1..];
        ensure!(
            !rest.starts_with(b"..."),
            "a string was cut short: raise strace's -s"
        );
    }
    Ok(out)
}

fn decode(hex: &[u8], out: &mut Vec<u8>) -> Result<()> {
    ensure!(
        hex.len().is_multiple_of(4),
        "a string that is not all \\xHH"
    );
    for byte in hex.chunks_exact(4) {
        let (Some(high), Some(low)) = (digit(byte[2]), digit(byte[3])) else {
            bail!("a string that is not all \\xHH");
        };
        out.push(high << 4 | low);
    }
    Ok(())
}

fn digit(hex: u8) -> Option<u8> {
    match hex {
        b'0'..=b'9' => Some(hex - b'0'),
        b'a'..=b'f' => Some(hex - b'a' + 10),
        _ => None,
    }
}

/// A path argument: a quoted string.
pub fn path(arg: &[u8]) -> Result<PathBuf> {
    Ok(PathBuf::from(OsString::from_vec(bytes(arg)?)))
}

/// A decimal or octal-free number, as offsets and lengths are printed.
pub fn number(arg: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(arg)?;
    text.parse()
        .with_context(|| format!("{text:?} is no number"))
}

/// A file descriptor with what `-y` says about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fd {
    /// `None` for `AT_FDCWD`.
    pub number: Option<i32>,
    /// A path, or `socket:[…]` and the like; empty when strace did not know.
    pub what: PathBuf,
    /// The name was gone when the call was made.
    pub deleted: bool,
}

impl Fd {
    /// Reads `3</path>`, `3</path>(deleted)`, `3` or `AT_FDCWD</path>`.
    pub fn parse(arg: &[u8]) -> Result<Self> {
        let open = memchr::memchr(b'<', arg);
        let name = std::str::from_utf8(&arg[..open.unwrap_or(arg.len())])?.trim();
        let mut what = Vec::new();
        let mut deleted = false;
        if let Some(open) = open {
            let close = memchr::memrchr(b'>', arg).context("a descriptor without an end")?;
            decode(&arg[open + 1..close], &mut what)?;
            deleted = arg[close + 1..].starts_with(b"(deleted)");
        }
        let number = match name {
            "AT_FDCWD" => None,
            digits => Some(
                digits
                    .parse()
                    .with_context(|| format!("{digits:?} is no descriptor"))?,
            ),
        };
        Ok(Self {
            number,
            what: PathBuf::from(OsString::from_vec(what)),
            deleted,
        })
    }

    /// Whether this is a socket of any family.
    pub fn is_socket(&self) -> bool {
        let text = self.what.as_os_str().as_encoded_bytes();
        text.starts_with(b"socket:") || text.starts_with(b"TCP") || text.starts_with(b"UNIX")
    }
}

/// `path` without `.` and `..`, taken from `base` when it is relative.
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_strings_and_brackets_do_not_split() {
        let args =
            split(br#"3<\x2f>, [{iov_base="\x2c", iov_len=1}, {iov_base="", iov_len=0}], 2"#);
        assert_eq!(args.len(), 3);
        assert_eq!(args[2], b"2");
        assert_eq!(bytes(args[1]).unwrap(), b",");
    }

    #[test]
    fn the_buffers_of_a_vector_are_put_together() {
        let arg = br#"[{iov_base="\x61\x62", iov_len=2}, {iov_base="\x00\xff", iov_len=2}]"#;
        assert_eq!(bytes(arg).unwrap(), b"ab\x00\xff");
    }

    #[test]
    fn a_string_that_strace_cut_short_is_an_error() {
        assert!(bytes(br#""\x61"..."#).is_err());
    }

    #[test]
    fn a_descriptor_carries_its_path_and_whether_it_is_gone() {
        let fd = Fd::parse(br"3<\x2f\x61>(deleted)").unwrap();
        assert_eq!(
            fd,
            Fd {
                number: Some(3),
                what: "/a".into(),
                deleted: true
            }
        );
        let cwd = Fd::parse(br"AT_FDCWD<\x2f>").unwrap();
        assert_eq!(cwd.number, None);
        assert!(
            Fd::parse(br"7<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x31\x5d>")
                .unwrap()
                .is_socket()
        );
    }

    #[test]
    fn paths_are_normalised_without_touching_the_disk() {
        assert_eq!(
            absolute(Path::new("/a/b"), Path::new("../c/./d")),
            Path::new("/a/c/d")
        );
        assert_eq!(absolute(Path::new("/a"), Path::new("/x")), Path::new("/x"));
    }
}

//! The lines of `strace -f -ttt -o FILE`, unfinished and resumed ones merged.

use std::collections::HashMap;
use std::io::BufRead;

use anyhow::{Context, Result, bail};

use super::Tick;

/// One system call as strace printed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub tid: u32,
    /// Seconds since the epoch at which the call started.
    pub at: f64,
    pub start: Tick,
    /// `None`: the process ended before the call did.
    pub end: Option<Tick>,
    pub name: String,
    /// What stood between the parentheses.
    pub args: Vec<u8>,
    /// What stood after `=`; empty when the call never ended.
    pub result: Vec<u8>,
}

impl Call {
    /// The returned number; `None` when the call never ended.
    pub fn returned(&self) -> Option<i64> {
        let digits = self
            .result
            .split(|&byte| byte == b' ' || byte == b'<')
            .next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Whether the call ended with an error.
    pub fn failed(&self) -> bool {
        self.returned().is_some_and(|value| value < 0)
    }

    /// Whether strace made the result up instead of making the call.
    pub fn injected(&self) -> bool {
        self.result.ends_with(b"(INJECTED)")
    }
}

/// A call whose end has not been read yet.
struct Begun {
    at: f64,
    start: Tick,
    text: Vec<u8>,
}

/// Reads a trace and hands every call to `each`, in the order in which they ended.
///
/// Calls that never ended come last. Lines about signals and exits are skipped.
///
/// # Errors
/// A line that strace does not print, or one that resumes what never began.
pub fn read(mut lines: impl BufRead, mut each: impl FnMut(Call) -> Result<()>) -> Result<Tick> {
    let mut begun: HashMap<u32, Begun> = HashMap::new();
    let mut line = Vec::new();
    let mut tick: Tick = 0;
    while lines.read_until(b'\n', &mut line)? > 0 {
        tick += 1;
        one(line.trim_ascii_end(), tick, &mut begun, &mut each)
            .with_context(|| format!("line {tick} of the trace"))?;
        line.clear();
    }
    let mut cut_off: Vec<_> = begun.into_iter().collect();
    cut_off.sort_by_key(|(_, begun)| begun.start);
    for (tid, begun) in cut_off {
        each(unended(tid, begun)?)?;
    }
    Ok(tick)
}

fn one(
    line: &[u8],
    tick: Tick,
    begun: &mut HashMap<u32, Begun>,
    each: &mut impl FnMut(Call) -> Result<()>,
) -> Result<()> {
    let (tid, rest) = word(line).context("no thread id")?;
    let tid: u32 = std::str::from_utf8(tid)?.parse()?;
    let (time, rest) = word(rest).context("no time")?;
    let at: f64 = std::str::from_utf8(time)?.parse()?;
    if rest.starts_with(b"+++") || rest.starts_with(b"---") {
        return Ok(());
    }
    if let Some(resumed) = rest.strip_prefix(b"<... ") {
        let earlier = begun
            .remove(&tid)
            .context("resumes a call that never began")?;
        let tail = memchr::memmem::find(resumed, b" resumed>").context("no end of `resumed`")?;
        let mut text = earlier.text;
        text.extend_from_slice(&resumed[tail + b" resumed>".len()..]);
        return each(ended(tid, earlier.at, earlier.start, tick, &text)?);
    }
    if let Some(text) = rest.strip_suffix(b"<unfinished ...>") {
        begun.insert(
            tid,
            Begun {
                at,
                start: tick,
                text: text.trim_ascii_end().to_vec(),
            },
        );
        return Ok(());
    }
    each(ended(tid, at, tick, tick, rest)?)
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', line)?;
    Some((&line[..end], line[end..].trim_ascii_start()))
}

fn ended(tid: u32, at: f64, start: Tick, end: Tick, text: &[u8]) -> Result<Call> {
    let equals = memchr::memmem::rfind(text, b" = ").context("a call without a result")?;
    let result = text[equals + 3..].trim_ascii().to_vec();
    let Some(call) = text[..equals].trim_ascii_end().strip_suffix(b")") else {
        bail!("a call without a closing parenthesis");
    };
    let (name, args) = name_and_args(call)?;
    let end = (!result.starts_with(b"?")).then_some(end);
    let result = if end.is_some() { result } else { Vec::new() };
    Ok(Call {
        tid,
        at,
        start,
        end,
        name,
        args,
        result,
    })
}

fn unended(tid: u32, begun: Begun) -> Result<Call> {
    let (name, args) = name_and_args(&begun.text)?;
    let Begun { at, start, .. } = begun;
    Ok(Call {
        tid,
        at,
        start,
        end: None,
        name,
        args,
        result: Vec::new(),
    })
}

fn name_and_args(call: &[u8]) -> Result<(String, Vec<u8>)> {
    let open = memchr::memchr(b'(', call).context("a call without parentheses")?;
    Ok((
        String::from_utf8(call[..open].to_vec())?,
        call[open + 1..].to_vec(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(trace: &str) -> Vec<Call> {
        let mut calls = Vec::new();
        read(trace.as_bytes(), |call| {
            calls.push(call);
            Ok(())
        })
        .unwrap();
        calls
    }

    #[test]
    fn an_unfinished_call_is_joined_with_its_end_and_keeps_both_moments() {
        let calls = calls(
            "10 1.5 fdatasync(3<\\x2f\\x61> <unfinished ...>\n\
             11 1.6 write(3<\\x2f\\x61>, \"\\x61\", 1) = 1\n\
             10 1.7 <... fdatasync resumed>)        = 0\n",
        );
        assert_eq!(calls[0].name, "write");
        let sync = &calls[1];
        assert_eq!(
            (sync.name.as_str(), sync.start, sync.end),
            ("fdatasync", 1, Some(3))
        );
        assert_eq!(sync.args, b"3<\\x2f\\x61>");
        assert_eq!(sync.returned(), Some(0));
    }

    #[test]
    fn a_call_that_the_end_of_the_process_cut_off_has_no_end() {
        let calls = calls(
            "10 1.0 fsync(3) = ?\n\
             11 1.0 pwrite64(3, \"\\x61\", 1, 512 <unfinished ...>\n\
             11 1.1 +++ killed by SIGKILL +++\n",
        );
        assert_eq!(calls[0].end, None);
        assert_eq!((calls[1].end, calls[1].name.as_str()), (None, "pwrite64"));
        assert_eq!(calls[1].args, b"3, \"\\x61\", 1, 512");
    }

    #[test]
    fn an_injected_error_is_told_apart() {
        let calls = calls("9 1.0 fsync(3) = -1 EIO (Input/output error) (INJECTED)\n");
        assert!(calls[0].failed() && calls[0].injected());
    }

    #[test]
    fn an_opened_file_returns_its_number() {
        let calls = calls("9 1.0 openat(AT_FDCWD<\\x2f>, \"\\x61\", O_RDONLY) = 3<\\x2f\\x61>\n");
        assert_eq!(calls[0].returned(), Some(3));
        assert_eq!(calls[0].result, b"3<\\x2f\\x61>");
    }

    #[test]
    fn resuming_what_never_began_is_an_error() {
        assert!(read(&b"9 1.0 <... fsync resumed>) = 0\n"[..], |_| Ok(())).is_err());
    }
}

//! The question before something is changed for good.

use std::io::{BufRead, IsTerminal, Write};

use crate::failure::usage;

/// Asks `question` on the terminal; only `y` or `yes` goes on.
///
/// # Errors
/// Without a terminal there is nobody to ask: wrong usage, `--yes` is named.
pub fn confirm(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage(format!(
            "{question} There is no terminal to ask on; add --yes to go on"
        )));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(agrees(&line))
}

fn agrees(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::agrees;

    #[test]
    fn only_a_plain_yes_agrees() {
        for line in ["y", "Y\n", " yes \n"] {
            assert!(agrees(line), "{line}");
        }
        for line in ["", "\n", "n", "yep", "no"] {
            assert!(!agrees(line), "{line}");
        }
    }
}

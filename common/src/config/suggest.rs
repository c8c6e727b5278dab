//! What may have been meant.

/// The nearest of `candidates`, if it is near enough to be a slip.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // a stranger's kilobytes need no comparing
    if typed.len() > 100 {
        return None;
    }
    let folded = fold(typed);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&folded, &fold(candidate)),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= slips(typed.len().max(candidate.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``; did you mean `x`?``, or ``; there is x`` / ``; there are x, y``, or nothing when there is nothing.
pub fn hint<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(typed, candidates.clone()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => what_there_is(candidates),
    }
}

/// ``; there is x`` / ``; there are x, y`` with at most 20 of them, or nothing.
pub fn what_there_is<'a>(candidates: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let all: Vec<&str> = candidates.into_iter().collect();
    let shown = all[..all.len().min(SHOWN)].join(", ");
    match all.len() {
        0 => String::new(),
        1 => format!("; there is {shown}"),
        n if n > SHOWN => format!("; there are {shown} and {} more", n - SHOWN),
        _ => format!("; there are {shown}"),
    }
}

/// What was typed, made fit for a line of an error: bounded, and nothing that moves a cursor.
pub fn quoted(typed: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = typed
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if typed.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn fold(text: &str) -> String {
    text.to_lowercase().replace('-', "_")
}

fn slips(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        6..=8 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["archive", "audit", "builds"];
        assert_eq!(nearest("audti", names), Some("audit"));
        assert_eq!(nearest("Archive", names), Some("archive"));
        assert_eq!(nearest("warehouse", names), None);
        assert_eq!(nearest(&"a".repeat(1000), names), None);
    }

    #[test]
    fn a_hint_offers_one_or_lists_all() {
        assert_eq!(hint("buidls", ["builds"]), "; did you mean `builds`?");
        assert_eq!(hint("x", ["builds"]), "; there is builds");
        assert_eq!(hint("x", ["a", "b"]), "; there are a, b");
        assert_eq!(hint("x", []), "");
    }

    #[test]
    fn what_was_typed_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(quoted("a\x1b[2Jb\n"), "`a\\u{1b}[2Jb\\n`");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), 63);
    }
}

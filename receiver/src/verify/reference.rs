//! All packs as a table in Markdown: what `creel providers doc` prints, and what
//! `docs/PROVIDERS.md` holds.

use super::pack::{Facts, Repeats, Retry};
use super::registry::Registry;
use super::summary::Check;

/// One row for each pack, and one for each of their options.
pub fn reference(registry: &Registry) -> String {
    let mut lines = vec![
        "| pack | sender | checks | what is signed | a repeat is known by | handshake | waits | sends again | proof |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(registry.packs().map(|pack| row(pack.facts())));
    lines.extend(options(registry));
    lines.push(String::new());
    lines.join("\n")
}

/// One row for each option of each pack.
fn options(registry: &Registry) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        "| pack | option | default | |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for facts in registry.packs().map(|pack| pack.facts()) {
        lines.extend(facts.options.iter().map(|option| {
            let cells = [
                quoted(&facts.name),
                quoted(&option.name),
                match (&option.default, option.required) {
                    (Some(default), _) if !default.is_empty() => quoted(default),
                    (_, true) => "**required**".into(),
                    _ => String::new(),
                },
                match option.one_of.is_empty() {
                    true => option.help.clone(),
                    false => format!(
                        "{}: {}",
                        option.help,
                        each(&option.one_of, |word| quoted(word))
                    ),
                },
            ];
            format!("| {} |", cells.map(|cell| escaped(&cell)).join(" | "))
        }));
    }
    lines
}

fn row(facts: &Facts) -> String {
    let cells = [
        format!("`{}`", facts.name),
        match &facts.docs {
            Some(docs) => format!("[{}]({docs})", facts.title),
            None => facts.title.clone(),
        },
        each(&facts.checks, checks),
        each(&facts.checks, |check| signed(check, facts)),
        repeat(facts),
        each(&facts.handshakes, |when| quoted(when)),
        facts.deadline_ms.map_or(String::new(), seconds),
        again(&facts.retry),
        proof(facts),
    ];
    format!("| {} |", cells.map(|cell| escaped(&cell)).join(" | "))
}

fn each<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = items.iter().map(show).collect();
    shown.join("; ")
}

fn checks(check: &Check) -> String {
    let mut text = match check.place.as_deref() {
        Some("basic") | None => check.algorithm.clone(),
        Some(place) => format!("{}, {}", check.algorithm, quoted(place)),
    };
    if let Some(host) = &check.key_from {
        text += &format!(
            "; [key fetched](#keys-that-are-fetched) from {}",
            quoted(host)
        );
    }
    text
}

fn signed(check: &Check, facts: &Facts) -> String {
    let parts = each(&check.signed, |template| quoted(template));
    match (parts.is_empty(), facts.body_authenticated) {
        (true, _) => "nothing".into(),
        (false, true) => parts,
        (false, false) => format!("{parts}, **not the body**"),
    }
}

fn repeat(facts: &Facts) -> String {
    match facts.repeats {
        Repeats::Id => each(&facts.id, |place| quoted(place)),
        Repeats::Items => "the ids of its events".into(),
        Repeats::Signed => "what was signed".into(),
        Repeats::Option => "`id_header`, `id_json`".into(),
        Repeats::Unknown => String::new(),
    }
}

fn again(retry: &Retry) -> String {
    let known = retry.note.as_deref() != Some("not known");
    match (retry.on.is_empty(), retry.attempts, &retry.over) {
        (true, ..) if known => "never".into(),
        (true, ..) => String::new(),
        (false, Some(attempts), Some(over)) => format!("{attempts} times over {over}"),
        (false, Some(attempts), None) => format!("{attempts} times"),
        (false, None, Some(over)) => format!("for {over}"),
        (false, None, None) => "yes".into(),
    }
}

fn proof(facts: &Facts) -> String {
    let proof = facts.proof.map_or("", |proof| proof.name());
    match facts.weak.is_empty() {
        true => proof.to_owned(),
        false => format!("{proof}; not confirmed: {}", facts.weak.join(", ")),
    }
}

fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// A bar would end the cell.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|")
}

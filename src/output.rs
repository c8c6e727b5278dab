//! What goes to the screen: tables, JSON, numbers, progress.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets,
};
use creel_common::time::Timestamp;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How a command prints its data.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print JSON instead of text, for other programs
    #[arg(long)]
    pub json: bool,
}

impl Output {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            line(&serde_json::to_string_pretty(value)?)
        } else {
            line(text(value).trim_end())
        }
    }

    /// Prints one of many: a line of JSON, or a line of text.
    pub fn stream<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            line(&serde_json::to_string(value)?)
        } else {
            line(&text(value))
        }
    }
}

/// Prints a line to stdout.
///
/// # Errors
/// As [`cannot_write`] says.
pub fn line(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(cannot_write)
}

/// What a failed write to stdout comes to: a reader that has gone (`| head`) ends the process quietly.
pub fn cannot_write(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => crate::failure::Failure::Said(0).into(),
        _ => error.into(),
    }
}

/// A table without frames, as wide as the terminal; names of columns in bold.
pub struct Sheet {
    table: Table,
    columns: usize,
}

impl Sheet {
    /// A table with these columns. A name that ends in `>` is a column of numbers; one that ends
    /// in `!` is never broken into lines, because people copy what stands there.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = Self::bare(columns.len()).table;
        table.set_header(columns.iter().map(|name| {
            Cell::new(name.trim_end_matches(['>', '!'])).add_attribute(Attribute::Bold)
        }));
        for (index, name) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if name.ends_with('!') {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
                if name.ends_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self {
            table,
            columns: columns.len(),
        }
    }

    /// A table of so many columns without names.
    pub fn bare(columns: usize) -> Self {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        match anstream::AutoStream::choice(&std::io::stdout()) {
            anstream::ColorChoice::Never => table.force_no_tty(),
            _ => table.enforce_styling(),
        };
        Self { table, columns }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row<I, C>(&mut self, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<Cell>,
    {
        let cells: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        debug_assert_eq!(cells.len(), self.columns);
        self.table.add_row(cells);
    }

    /// The table as text.
    pub fn text(&self) -> String {
        let text = self.table.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n")
    }
}

/// A cell in a colour; see [`Tone`].
pub fn toned(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(comfy_table::Color::Green),
        Tone::Warn => cell.fg(comfy_table::Color::Yellow),
        Tone::Bad => cell.fg(comfy_table::Color::Red),
    }
}

/// What a colour is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// All is well.
    Good,
    /// Look here.
    Warn,
    /// Something is wrong.
    Bad,
}

/// ANSI for bold.
pub const BOLD: &str = "1";
/// ANSI for green.
pub const GOOD: &str = "32";
/// ANSI for red.
pub const BAD: &str = "31";
/// ANSI for yellow.
pub const WARN: &str = "33";
/// ANSI for dim.
pub const DIM: &str = "2";

/// `text` in a colour; taken off again by the stream when it is no terminal.
pub fn paint(code: &str, text: &str) -> String {
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A text from outside, fit for a terminal: control characters are shown, not obeyed.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(
            text.chars()
                .flat_map(|c| {
                    let escaped = c.is_control().then(|| c.escape_default());
                    let kept = (!c.is_control()).then_some(c);
                    escaped.into_iter().flatten().chain(kept)
                })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// The first `max` characters, with an ellipsis when there are more.
pub fn short(text: &str, max: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= max {
        return text.into_owned();
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A number with thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in binary units: `812 B`, `1.4 KiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A length of time in its two largest units: `3d 4h`, `12m 5s`, `1.4 s`, `120 ms`.
pub fn length(length: Duration) -> String {
    let secs = length.as_secs();
    match secs {
        0 => format!("{} ms", length.as_millis()),
        1..60 => format!("{:.1} s", length.as_secs_f64()),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86400 => format!("{}h {}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d {}h", secs / 86400, secs / 3600 % 24),
    }
}

/// How long ago `then` was, or in how long it will be: `5m 3s ago`, `in 2.0 s`.
pub fn relative(then: Timestamp, now: Timestamp) -> String {
    if then > now {
        format!("in {}", length(then.since(now)))
    } else {
        format!("{} ago", length(now.since(then)))
    }
}

/// A progress bar over `total` steps; hidden when stderr is no terminal.
pub fn progress(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), target());
    bar.set_style(
        ProgressStyle::with_template("{msg:24} {bar:30} {human_pos}/{human_len} {eta}")
            .expect("the template is a constant that parses"),
    );
    bar.set_message(what);
    bar
}

/// A progress bar over bytes, of which there are as many as it is told later.
pub fn progress_bytes(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), target());
    bar.set_style(
        ProgressStyle::with_template("{msg:24} {bar:30} {bytes}/{total_bytes} {eta}")
            .expect("the template is a constant that parses"),
    );
    bar.set_message(what);
    bar
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let shown: Vec<String> = [0, 999, 1000, 1_234_567].map(count).into();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn sizes_and_lengths_have_units() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(1434), "1.4 KiB");
        assert_eq!(bytes(25 << 20), "25.0 MiB");
        assert_eq!(length(Duration::from_millis(120)), "120 ms");
        assert_eq!(length(Duration::from_secs(725)), "12m 5s");
        assert_eq!(length(Duration::from_secs(4 * 86400 + 7200)), "4d 2h");
    }

    #[test]
    fn a_hostile_text_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("abcd", 4), "abcd");
    }

    #[test]
    fn a_sheet_shows_its_columns_and_rows() {
        let mut sheet = Sheet::new(&["route", "dead>"]);
        sheet.row(["builds", "3"]);
        let text = sheet.text();
        assert!(text.contains("builds") && text.contains('3'), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}

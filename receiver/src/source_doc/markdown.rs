//! A page in Markdown.

use super::page::{Page, Row, Says};

/// The page as Markdown; its title is a heading of the first level.
pub fn markdown(page: &Page) -> String {
    let mut out = format!("# {}\n", page.title);
    for section in &page.sections {
        out += &format!("\n## {}\n\n", section.title);
        for row in &section.rows {
            out += &line(row);
        }
    }
    out
}

fn line(row: &Row) -> String {
    let about = match row.about.as_str() {
        "" => String::new(),
        about => format!("**{}**: ", about.replace('*', "\\*")),
    };
    match &row.says {
        Says::Text(text) => format!("- {about}{text}\n"),
        Says::Link(url) => format!("- {about}<{url}>\n"),
        Says::Code(text) | Says::Block(text) => {
            let fence = fence(text);
            let block: String = text.lines().map(|line| format!("  {line}\n")).collect();
            let about = format!("- {about}");
            let about = about.trim_end();
            format!("{about}\n\n  {fence}\n{block}  {fence}\n\n")
        }
    }
}

/// Backticks, more than any run of them in the text.
fn fence(text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len);
    "`".repeat(runs.max().unwrap_or(0).max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::fence;

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(fence("a `b`"), "```");
        assert_eq!(fence("````"), "`````");
    }
}

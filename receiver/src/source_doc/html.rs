//! A page for browsers: one document, no script, nothing loaded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::page::{Page, Row, Says};

const STYLE: &str = include_str!("page.css");

/// What a browser may do with the page: apply this one style.
pub fn policy() -> String {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// The page as HTML. Every text is escaped.
pub fn html(page: &Page) -> String {
    let title = escaped(&page.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    for section in &page.sections {
        out += &format!("<section>\n<h2>{}</h2>\n<dl>\n", escaped(section.title));
        for row in &section.rows {
            out += &line(row);
        }
        out += "</dl>\n</section>\n";
    }
    out + "</main>\n</body>\n</html>\n"
}

fn line(row: &Row) -> String {
    let says = match &row.says {
        Says::Text(text) => with_code(text),
        Says::Code(text) | Says::Block(text) => format!("<pre>{}</pre>", escaped(text)),
        Says::Link(url) if url.starts_with("https://") => {
            let url = escaped(url);
            format!("<a href=\"{url}\" rel=\"noreferrer\">{url}</a>")
        }
        Says::Link(url) => escaped(url),
    };
    format!("<dt>{}</dt><dd>{says}</dd>\n", escaped(&row.about))
}

/// What stands between two backticks as code.
fn with_code(text: &str) -> String {
    let mut parts = text.split('`').peekable();
    let mut out = String::new();
    let mut code = false;
    while let Some(part) = parts.next() {
        let closed = parts.peek().is_some();
        match (code, closed) {
            (true, true) => out += &format!("<code>{}</code>", escaped(part)),
            (true, false) => out += &format!("`{}", escaped(part)),
            (false, _) => out += &escaped(part),
        }
        code = !code;
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source_doc::page::Section;

    #[test]
    fn no_text_becomes_markup() {
        let evil = "<script>alert('`\"&')</script>";
        let says = [Says::Text, Says::Code, Says::Block, Says::Link].map(|says| says(evil.into()));
        let rows = says.map(|says| Row {
            about: evil.into(),
            says,
        });
        let page = Page {
            title: evil.into(),
            sections: vec![Section {
                title: "x",
                rows: rows.into(),
            }],
        };
        let html = html(&page);
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 2 + 2 * 4);
        assert!(!html.contains("href"), "{html}");
    }

    #[test]
    fn backticks_are_code_in_pairs_only() {
        assert_eq!(with_code("a `b<` c"), "a <code>b&lt;</code> c");
        assert_eq!(with_code("a ` b"), "a ` b");
    }
}

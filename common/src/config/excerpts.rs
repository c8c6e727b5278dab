//! Problems with the lines of the file around them, for terminals.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::problems::{Problem, Problems, Severity};

impl Problems {
    /// Every problem with the line that it is about, then the heading.
    ///
    /// `colour`: with escape sequences. Secrets that were typed into the file are shown as `*`.
    pub fn excerpts(&self, colour: bool) -> String {
        let renderer = match colour {
            true => Renderer::styled(),
            false => Renderer::plain(),
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for problem in self {
            text.push_str(&self.excerpt(problem, &renderer));
            text.push_str("\n\n");
        }
        text + &self.heading()
    }

    fn excerpt(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let file = self.file().display().to_string();
        let what = match problem.path.is_empty() {
            true => &file,
            false => &problem.path,
        };
        // the path is what the compact form begins with, so both can be searched alike
        let title = level.primary_title(format!("{what}: {}", problem.message));
        let Some((snippet, line, span)) = self.line_of(problem) else {
            return renderer.render(&[Group::with_title(title)]);
        };
        let snippet = Snippet::source(snippet)
            .line_start(line)
            .path(file.as_str())
            .annotation(AnnotationKind::Primary.span(span));
        renderer.render(&[title.element(snippet)])
    }

    /// The first line that a problem is about, its number, and the part of it that is meant.
    fn line_of(&self, problem: &Problem) -> Option<(&str, usize, std::ops::Range<usize>)> {
        let span = problem.span.as_ref()?;
        let source = self.source();
        let start = source[..span.start].rfind('\n').map_or(0, |i| i + 1);
        let end = source[span.start..]
            .find('\n')
            .map_or(source.len(), |i| span.start + i);
        let part = span.start - start..span.end.clamp(span.start, end) - start;
        Some((&source[start..end], problem.line?, part))
    }
}

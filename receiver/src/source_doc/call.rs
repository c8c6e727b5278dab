//! The page over HTTP: JSON for programs, HTML for browsers, Markdown for who asks for it.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use creel_common::log::OperateError;
use creel_common::log::wire::SourceDoc;
use http::HeaderMap;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::{html, markdown, page};
use crate::failure::{Errors, Failure};
use crate::private::Api;

/// What a page can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Html,
    Markdown,
}

/// What to tell the sender of a source: URL, kind of secret, events, replies, limits, a sample, commands.
/// `Accept: text/html` gets a page for people, `text/markdown` or `text/plain` the same as text.
#[utoipa::path(
    get, path = "/v1/sources/{name}/doc", tag = "log",
    params(("name" = String, Path, description = "the source")),
    responses((status = 200, body = SourceDoc), Errors),
    security(("token" = []))
)]
pub async fn doc(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let sources = api.ingest.sources.now();
    let source = sources.get(&name).ok_or_else(|| {
        let what = format!("no source `{}`", name.escape_default());
        OperateError::NotFound(what)
    })?;
    let doc = &source.doc;
    let kind = |kind: &'static str| [(CONTENT_TYPE, kind)];
    let mut response = match wanted(&headers) {
        Form::Json => Json(doc).into_response(),
        Form::Markdown => {
            let text = markdown::markdown(&page::page(doc));
            (kind("text/markdown; charset=utf-8"), text).into_response()
        }
        Form::Html => {
            let policy = [(CONTENT_SECURITY_POLICY, html::policy())];
            let text = html::html(&page::page(doc));
            (kind("text/html; charset=utf-8"), policy, text).into_response()
        }
    };
    let fixed = [
        (VARY, "accept"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        response
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The form that is liked best; JSON where nothing else is asked for.
fn wanted(headers: &HeaderMap) -> Form {
    let lines = headers.get_all(ACCEPT).iter();
    let lines = lines.filter_map(|value| value.to_str().ok());
    let mut best = (Form::Json, 0.0);
    for item in lines.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let form = match parts
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "text/html" | "application/xhtml+xml" => Form::Html,
            "text/markdown" | "text/plain" | "text/*" => Form::Markdown,
            "application/json" | "application/*" | "*/*" => Form::Json,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        let quality = quality.unwrap_or(1.0);
        if quality > best.1 {
            best = (form, quality);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_browser_gets_a_page_and_a_program_json() {
        for (accept, form) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("application/json", Form::Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
                Form::Html,
            ),
            ("text/html;q=0.1, application/json", Form::Json),
            ("TEXT/Markdown", Form::Markdown),
            ("text/plain;q=0.5, */*;q=0.1", Form::Markdown),
            ("image/png", Form::Json),
            ("text/html;q=0", Form::Json),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(wanted(&headers), form, "{accept}");
        }
    }
}

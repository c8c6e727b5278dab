//! What a source's sender is answered, where that is not left to its pack.

use super::places::Places;
use super::problems::{About, Finding};
use super::raw::Fields;
use super::schema::is_media_type;
use super::suggest::quoted;

/// The same answer to every delivery that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 299.
    pub status: u16,
    /// The media type of `body`; there is one if there is a body.
    pub content_type: Option<String>,
    /// Sent as it stands.
    pub body: String,
}

/// A reply by the settings of a file without problems.
pub(super) fn build(fields: &Fields) -> Reply {
    let status: Option<u64> = fields.opt("status");
    Reply {
        status: status
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(200),
        content_type: fields.opt("type"),
        body: fields.opt("body").unwrap_or_default(),
    }
}

/// What is wrong with the reply of one source beyond its single values.
pub(super) fn check(source: &Fields, places: &Places) -> Vec<Finding> {
    let at = source.at("reply");
    let Some(reply) = source.opt::<Fields>("reply").filter(|_| places.has(&at)) else {
        return Vec::new();
    };
    let body: String = reply.opt("body").unwrap_or_default();
    let kind: Option<String> = reply.opt("type");
    let mut findings = Vec::new();
    if let Some(kind) = &kind
        && !is_content_type(kind)
    {
        let message = format!(
            "expected a media type such as \"text/xml\", found {}",
            quoted(kind)
        );
        findings.push(Finding::error(reply.at("type"), message));
    }
    let typed = places.has(&reply.at("type"));
    match reply.opt::<u64>("status") {
        Some(status @ (204 | 205)) if !body.is_empty() => {
            let message = format!("an answer with status {status} has no body");
            findings.push(Finding::error(reply.at("body"), message));
        }
        _ if !body.is_empty() && !typed => {
            let message = "the sender has to know what `body` is, such as type = \"text/xml\"";
            findings.push(Finding::error(reply.at("type"), message).about(About::Absence));
        }
        _ => {}
    }
    findings
}

/// `type/subtype`, and parameters that fit into a header.
fn is_content_type(text: &str) -> bool {
    let media = text.split(';').next().unwrap_or_default().trim();
    is_media_type(&media.to_ascii_lowercase()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::{Known, parse};
    use super::*;

    fn read(reply: &str) -> Result<Option<Reply>, String> {
        let text = format!("[sources.s]\nprovider = \"none\"\n{reply}");
        let config = parse(&text, Path::new("creel.toml"), &Known::default());
        let config = config.map_err(|problems| problems.to_string())?;
        Ok(config.sources["s"].reply.clone())
    }

    #[test]
    fn a_reply_is_read_with_its_lines() {
        assert_eq!(read("").unwrap(), None);
        let text = "[sources.s.reply]\ntype = \"text/xml; charset=utf-8\"\nbody = '''\n<Response>\n\
                    \t<Message>Grüße</Message>\n</Response>\n'''\n";
        let reply = read(text).unwrap().unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.content_type.as_deref(),
            Some("text/xml; charset=utf-8")
        );
        assert_eq!(
            reply.body,
            "<Response>\n\t<Message>Grüße</Message>\n</Response>\n"
        );
        let empty = read("reply = { status = 204 }\n").unwrap().unwrap();
        assert_eq!(
            (empty.status, empty.content_type, empty.body),
            (204, None, String::new())
        );
    }

    #[test]
    fn a_reply_that_cannot_be_given_is_told() {
        let large = format!(
            "reply = {{ type = \"text/plain\", body = \"{}\" }}",
            "x".repeat((64 << 10) + 1)
        );
        for (reply, told) in [
            ("reply = { status = 302 }", "must be between 200 and 299"),
            (
                "reply = { body = \"<Response/>\" }",
                "the sender has to know",
            ),
            (
                "reply = { status = 204, type = \"text/xml\", body = \"x\" }",
                "status 204 has no body",
            ),
            (
                "reply = { type = \"xml\", body = \"x\" }",
                "expected a media type",
            ),
            (
                "reply = { type = \"text/xml\\u00e9\", body = \"x\" }",
                "expected a media type",
            ),
            ("reply = { type = \"a/b\", body = \"\\u0007\" }", "control"),
            (&large, "longer than 64KiB"),
        ] {
            let problems = read(reply).unwrap_err();
            assert!(problems.contains(told), "{reply}: {problems}");
        }
    }
}

//! Contentful: method, path, the headers that the message lists, and the body.

use http::HeaderName;

use super::Message;
use crate::verify::reason::Reason;
use crate::verify::template::{Context, Sink, target};

const LIST: HeaderName = HeaderName::from_static("x-contentful-signed-headers");
const TIME: HeaderName = HeaderName::from_static("x-contentful-timestamp");

/// Longer lists than this are no sender's.
const HEADERS_MAX: usize = 64;

pub(super) const MESSAGE: Message = Message {
    render,
    covers_body: true,
    uses_time: true,
    uses_id: false,
    covers_time_or_id: true,
    uses_url: true,
};

fn render(context: &Context<'_, '_>, sink: Sink<'_>) -> Result<(), Reason> {
    let list = context.view.header(&LIST)?.ok_or(Reason::MissingValue)?;
    let names = names(list)?;
    // a time that is not signed protects nothing
    if !names.contains(&TIME) {
        return Err(Reason::Condition);
    }
    sink(context.view.request.method.as_str().as_bytes());
    sink(b"\n");
    sink(target(context.url).as_bytes());
    sink(b"\n");
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            sink(b";");
        }
        let value = context.view.header(name)?.ok_or(Reason::MissingValue)?;
        sink(name.as_str().as_bytes());
        sink(b":");
        sink(value.trim_ascii());
    }
    sink(b"\n");
    sink(context.view.request.body);
    Ok(())
}

/// The listed names in their order, in lower case.
fn names(list: &[u8]) -> Result<Vec<HeaderName>, Reason> {
    let names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let names = names.map(|name| HeaderName::from_bytes(name).map_err(|_| Reason::BadEncoding));
    let names: Vec<HeaderName> = names.take(HEADERS_MAX + 1).collect::<Result<_, _>>()?;
    match names.len() > HEADERS_MAX {
        true => Err(Reason::TooLong),
        false => Ok(names),
    }
}

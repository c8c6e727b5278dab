//! Plivo, version 3: the URL with its query sorted, the sorted fields of the form, and a nonce.

use http::Method;

use super::Message;
use crate::verify::form::{self, Pair};
use crate::verify::reason::Reason;
use crate::verify::template::{Context, Sink};
use crate::verify::url;

/// More parameters than this are no sender's.
const PARAMETERS_MAX: usize = 4096;

pub(super) const MESSAGE: Message = Message {
    render,
    covers_body: true,
    uses_time: false,
    uses_id: true,
    covers_time_or_id: true,
    uses_url: true,
};

fn render(context: &Context<'_, '_>, sink: Sink<'_>) -> Result<(), Reason> {
    let request = &context.view.request;
    let fields = match request.method == Method::POST && !request.body.is_empty() {
        true => context.view.form().ok_or(Reason::BadBody)?,
        false => &[],
    };
    let base = context.url.split(['?', '#']).next().unwrap_or("");
    let query = form::urlencoded(url::query(context.url).as_bytes());
    let query: Vec<Pair<'_>> = query.take(PARAMETERS_MAX + 1).collect();
    if query.len() > PARAMETERS_MAX {
        return Err(Reason::TooLong);
    }
    sink(base.as_bytes());
    if !query.is_empty() || !fields.is_empty() {
        sink(b"?");
    }
    for (number, pair) in sorted(&query).into_iter().enumerate() {
        if number > 0 {
            sink(b"&");
        }
        [&*pair.name, b"=", &*pair.value]
            .into_iter()
            .for_each(&mut *sink);
    }
    if !query.is_empty() && !fields.is_empty() {
        sink(b".");
    }
    for pair in sorted(fields) {
        [&*pair.name, &*pair.value].into_iter().for_each(&mut *sink);
    }
    sink(b".");
    sink(context.id.ok_or(Reason::MissingId)?);
    Ok(())
}

/// By name and then by value; repetitions stay.
fn sorted<'p, 'r>(pairs: &'p [Pair<'r>]) -> Vec<&'p Pair<'r>> {
    let mut sorted: Vec<&Pair<'_>> = pairs.iter().collect();
    sorted.sort_unstable();
    sorted
}

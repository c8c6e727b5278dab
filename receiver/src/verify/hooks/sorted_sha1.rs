//! WeChat: token, timestamp and nonce, sorted as texts and put together.

use super::Message;
use crate::verify::reason::Reason;
use crate::verify::template::{Context, Sink};

pub(super) const MESSAGE: Message = Message {
    render,
    covers_body: false,
    uses_time: true,
    uses_id: true,
    covers_time_or_id: true,
    uses_url: false,
};

fn render(context: &Context<'_, '_>, sink: Sink<'_>) -> Result<(), Reason> {
    let mut parts: [&[u8]; 3] = [
        context.secret.ok_or(Reason::MissingValue)?,
        context.time.ok_or(Reason::MissingTimestamp)?,
        context.id.ok_or(Reason::MissingId)?,
    ];
    parts.sort_unstable();
    parts.into_iter().for_each(sink);
    Ok(())
}

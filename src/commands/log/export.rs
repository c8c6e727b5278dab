//! `creel log export`: every delivery as a line of JSON.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creel_common::delivery::Delivery;
use creel_common::ids::{DeliveryId, LogId, Offset};
use creel_common::time::Timestamp;
use serde::Serialize;

use super::open_existing;
use super::read::{Piece, Range, read};
use crate::failure::said;
use crate::output::cannot_write;
use crate::settings::Global;

/// Write every delivery as one line of JSON, in the order of the log
///
/// `{"id","source","event_type","received_at","headers":[[name,value],…],"body_base64"}`; times are
/// milliseconds since 1970, header values that are no UTF-8 are read as Latin-1. Damaged places
/// are skipped and named on stderr; the exit code is 1 then.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin with this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 1)]
    from: Offset,
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    source: String,
    event_type: Option<String>,
    received_at: Timestamp,
    headers: Vec<(String, String)>,
    body_base64: String,
}

/// Writes all deliveries to stdout.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let config = global.load()?;
    let engine = open_existing(&config)?;
    let log = engine.opened().log;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut damaged = 0;
    let written = read(&*engine, args.from, &mut |piece| {
        match piece {
            Piece::Delivery(offset, delivery) => {
                let mut text = serde_json::to_vec(&line(log, offset, &delivery))?;
                text.push(b'\n');
                out.write_all(&text).map_err(cannot_write)?;
            }
            Piece::Damage(range) => {
                damaged += 1;
                let Range {
                    first,
                    last,
                    reason,
                } = range;
                tracing::error!(first, last, reason, "damaged");
            }
        }
        Ok(())
    });
    let written = written.and_then(|()| out.flush().map_err(cannot_write));
    engine
        .close()
        .map_err(|error| crate::engine::explain(&config, error))?;
    written?;
    if damaged > 0 { Err(said()) } else { Ok(()) }
}

fn line(log: LogId, offset: Offset, delivery: &Delivery) -> Line {
    let text = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        // Latin-1 has a character for every byte
        Err(_) => value.iter().map(|&byte| char::from(byte)).collect(),
    };
    let headers = delivery.head.headers.iter();
    Line {
        id: DeliveryId { log, offset }.to_string(),
        source: delivery.envelope.source.clone(),
        event_type: delivery.envelope.event_type.clone(),
        received_at: delivery.envelope.received_at,
        headers: headers.map(|h| (h.name.clone(), text(&h.value))).collect(),
        body_base64: STANDARD.encode(&delivery.body),
    }
}

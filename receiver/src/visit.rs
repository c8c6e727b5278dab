//! What an awaited request of ours looked like when it arrived.

use std::net::IpAddr;

use creel_common::heavy::heavy;
use creel_common::log::wire::{DOCTOR_HEADER, HeaderView, SeenView};
use sha2::{Digest, Sha256};

use crate::forwarded::is_trusted;
use crate::ingest::{Ingest, stored};
use crate::sources::Source;
use crate::verify::Request;

/// Judges it, and says what arrived.
pub fn seen(
    ingest: &Ingest,
    source: &Source,
    request: &Request<'_>,
    (peer, remote): (IpAddr, IpAddr),
) -> SeenView {
    let now = ingest.clock.wall();
    let (diagnosis, digest) = heavy(request.body.len(), || {
        let diagnosis = ingest.sources.now().diagnose(source, request, now);
        (diagnosis, Sha256::digest(request.body))
    });
    let headers = stored(request.headers, &source.credentials);
    let headers = headers.iter().filter(|header| header.name != DOCTOR_HEADER);
    SeenView {
        source: source.name.clone(),
        method: request.method.to_string(),
        target: source.verifier.masked(request.target),
        url: source.verifier.masked(&source.verifier.url(request)),
        remote,
        peer: peer.to_canonical(),
        peer_trusted: is_trusted(peer.to_canonical(), &ingest.trusted_proxies),
        headers: headers.map(HeaderView::from).collect(),
        body_bytes: request.body.len() as u64,
        body_sha256: hex::encode(digest),
        diagnosis: diagnosis.word.to_owned(),
        hint: diagnosis.hint,
    }
}

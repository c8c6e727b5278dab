//! Is everything that was acknowledged still there, byte for byte?

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use crate::harness::{Load, Marker, Site, export, verify};
use crate::trace::Acked;

/// What reading a log back found, compared with what senders were told.
#[derive(Debug, Default)]
pub struct Audit {
    pub acked: usize,
    /// Deliveries in the log, acknowledged or not.
    pub kept: usize,
    /// Acknowledged and not there.
    pub lost: Vec<String>,
    /// There with another body than was sent.
    pub changed: Vec<String>,
    /// Why it could not be read at all.
    pub unreadable: Option<String>,
    /// The next offset would repeat one that a sender has been given.
    pub reused: Option<u64>,
}

impl Audit {
    /// Whether nothing acknowledged is missing, wrong or about to be doubled.
    pub fn is_clean(&self) -> bool {
        let Self {
            lost,
            changed,
            unreadable,
            reused,
            ..
        } = self;
        lost.is_empty() && changed.is_empty() && unreadable.is_none() && reused.is_none()
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acked,
            kept,
            lost,
            changed,
            unreadable,
            reused,
        } = self;
        write!(
            f,
            "{acked} acked, {kept} in the log, {} lost, {} changed",
            lost.len(),
            changed.len()
        )?;
        if let Some(id) = lost.first().or(changed.first()) {
            write!(f, " (the first: {id})")?;
        }
        if let Some(offset) = reused {
            write!(f, ", offset {offset} would be used again")?;
        }
        match unreadable {
            Some(why) => write!(f, ", not readable: {why}"),
            None => Ok(()),
        }
    }
}

/// Reads the log of a stopped `site` and compares it with what was `acked` to
/// `load`. A delivery in `removable` may be gone: it was settled.
pub async fn audit(
    site: &Site,
    load: &Load,
    acked: &[Acked],
    removable: &HashSet<String>,
) -> Audit {
    let mut audit = Audit {
        acked: acked.len(),
        ..Audit::default()
    };
    let verified = match verify(site).await {
        Ok(verified) => verified,
        Err(exit) => {
            audit.unreadable = Some(format!("verify: {:?}: {}", exit.code(), exit.stderr));
            return audit;
        }
    };
    let kept = match export(site).await {
        Ok(kept) => kept,
        Err(exit) => {
            audit.unreadable = Some(format!("export: {:?}: {}", exit.code(), exit.stderr));
            return audit;
        }
    };
    audit.kept = kept.len();
    assert_eq!(
        verified.deliveries,
        kept.len() as u64,
        "verify and export disagree"
    );
    for one in acked {
        match kept.get(&one.id) {
            Some(found) if found.body == load.body(one.marker) => {}
            Some(_) => audit.changed.push(one.id.clone()),
            None if removable.contains(&one.id) => {}
            None => audit.lost.push(one.id.clone()),
        }
    }
    let highest = acked.iter().map(|one| offset_of(&one.id)).max();
    audit.reused = highest
        .filter(|&highest| highest >= verified.next)
        .map(|_| verified.next);
    assert_no_foreign_bodies(load, kept.values().map(|found| found.body.as_slice()));
    audit
}

/// What was stored without an answer must be what some sender sent, too.
fn assert_no_foreign_bodies<'b>(load: &Load, bodies: impl Iterator<Item = &'b [u8]>) {
    let mut seen = BTreeSet::new();
    for body in bodies {
        let marker = Marker::first_in(body).expect("every body of the load has a marker");
        assert!(
            load.body(marker) == body,
            "a body in the log was never sent: {marker}"
        );
        assert!(seen.insert(marker), "{marker} was stored twice");
    }
}

/// The offset in an id `<log id>-<offset>`.
pub fn offset_of(id: &str) -> u64 {
    let offset = id
        .rsplit_once('-')
        .and_then(|(_, offset)| offset.parse().ok());
    offset.unwrap_or_else(|| panic!("{id:?} is no id of a delivery"))
}

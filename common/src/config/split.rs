//! Where the items of a delivery are: as typed, else as the source's pack says.

use std::collections::BTreeMap;

use super::known::{ItemFacts, Known, ProviderFacts};
use super::problems::Finding;
use super::raw::Fields;
use crate::json::Pointer;

/// The whole body, as a pointer.
const WHOLE: &str = "/";

/// `[[routes]] split`: a delivery that carries several items is sent item by item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// JSON pointer of the array; `None` if it is the pack's, and this executable knows no packs.
    pub path: Option<String>,
    /// The field of a form that holds the JSON; else the body does.
    pub form: Option<String>,
    /// JSON pointer of an item's own id, in the item.
    pub id: Option<String>,
    /// JSON pointer of an item's event type, in the item.
    pub event_type: Option<String>,
    /// What becomes of a delivery that has no array there.
    pub otherwise: Otherwise,
    /// Only items of these event types; empty means all. The route itself then takes all deliveries.
    pub events: Vec<String>,
}

/// What becomes of a delivery that cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It dies at once.
    DeadLetter,
    /// It is sent as it is.
    Whole,
}

/// What is wrong with the `split` of a route.
pub(super) fn check(
    route: &Fields,
    sources: &BTreeMap<String, Fields>,
    known: &Known,
) -> Vec<Finding> {
    let Some(split) = route.opt::<Fields>("split") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for key in ["path", "id", "type"] {
        let typed: Option<String> = split.opt(key);
        if let Some(Err(message)) = typed.map(|typed| Pointer::parse(&typed)) {
            findings.push(Finding::error(split.at(key), message));
        }
    }
    let placed = split.opt::<String>("path").is_some() || split.opt::<String>("form").is_some();
    if !placed
        && let Some(facts) = pack_of(route, sources, known)
        && facts.items.is_none()
    {
        let message = format!(
            "provider `{}` is not known to send several items at once; say where they are: split = {{ path = \"/events\" }}",
            facts.name
        );
        findings.push(Finding::error(split.path, message));
    }
    findings
}

/// The `split` of a route in a file without problems; `events` is what the route matches.
pub(super) fn build(
    route: &Fields,
    events: Vec<String>,
    sources: &BTreeMap<String, Fields>,
    known: &Known,
) -> Option<Split> {
    let split: Fields = route.opt("split")?;
    let form: Option<String> = split.opt("form");
    let typed: Option<String> = split.opt("path");
    let typed = typed.or_else(|| form.is_some().then(|| WHOLE.to_owned()));
    let pack = pack_of(route, sources, known).and_then(|facts| facts.items.as_ref());
    // what the pack says of its own array holds for no other
    let pack = pack.filter(|pack| typed.as_ref().is_none_or(|path| *path == pack.path));
    let of_pack = |of: fn(&ItemFacts) -> Option<String>| pack.and_then(of);
    Some(Split {
        path: typed.or_else(|| of_pack(|pack| Some(pack.path.clone()))),
        form,
        id: split.opt("id").or_else(|| of_pack(|pack| pack.id.clone())),
        event_type: split
            .opt("type")
            .or_else(|| of_pack(|pack| pack.event_type.clone())),
        otherwise: match split.opt::<String>("otherwise").as_deref() {
            Some("whole") => Otherwise::Whole,
            _ => Otherwise::DeadLetter,
        },
        events,
    })
}

/// The pack of the route's source, if this executable knows it.
fn pack_of<'k>(
    route: &Fields,
    sources: &BTreeMap<String, Fields>,
    known: &'k Known,
) -> Option<&'k ProviderFacts> {
    let source = sources.get(&route.opt::<String>("source")?)?;
    let provider: String = source.opt("provider")?;
    known.providers.iter().find(|facts| facts.name == provider)
}

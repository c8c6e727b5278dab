//! Which of a source's secrets a request says it was signed with: the account's whose token that is, or a
//! key's own id.
//!
//! Senders with sub-accounts have a secret for each. Where a source's secrets bear the names that its
//! requests give, only the secret of that name may have signed, so that no account speaks for another.

use super::pipeline::{self, Pipeline};
use super::reason::Reason;
use super::request::View;

/// The secrets that may have signed a request.
pub(crate) struct Named {
    /// Whether each may; all of them where the request names none of them.
    may_sign: Option<Vec<bool>>,
    /// The first name it gives, if one of the secrets bears it.
    pub name: Option<String>,
}

impl Named {
    /// Those among `ids`, by what the first of `places` that is there says.
    pub fn of(places: &[Pipeline], view: &View<'_>, ids: &[String]) -> Result<Self, Reason> {
        let all = Self {
            may_sign: None,
            name: None,
        };
        let Some((_, values)) = pipeline::first(places, view)? else {
            return Ok(all);
        };
        let values = values
            .iter()
            .filter_map(|value| std::str::from_utf8(value).ok());
        let names: Vec<&str> = values.filter(|name| !name.is_empty()).collect();
        let known = |name: &&&str| ids.iter().any(|id| bears(id, name));
        let Some(name) = names.iter().find(known) else {
            return Ok(all);
        };
        // different names at once: nobody bears them all
        let may_sign = |id: &String| names.iter().all(|name| bears(id, name));
        Ok(Self {
            may_sign: Some(ids.iter().map(may_sign).collect()),
            name: Some((*name).to_owned()),
        })
    }

    /// Whether the secret in that place may have signed.
    pub fn may_sign(&self, index: usize) -> bool {
        let known = self.may_sign.as_ref();
        known.is_none_or(|may_sign| may_sign.get(index).copied().unwrap_or(false))
    }
}

/// Whether a secret with that id is one of that name: `NAME`, or `NAME.` and anything, as while it is rotated.
fn bears(id: &str, name: &str) -> bool {
    id.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::bears;

    #[test]
    fn an_id_bears_a_name_whole_or_with_a_dot_behind_it() {
        assert!(bears("AC1", "AC1") && bears("AC1.new", "AC1"));
        for (id, name) in [
            ("AC12", "AC1"),
            ("AC1", "AC12"),
            ("ac1", "AC1"),
            ("AC1", "C1"),
        ] {
            assert!(!bears(id, name), "{id} {name}");
        }
    }
}

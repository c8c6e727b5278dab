//! What people change.

use serde::{Deserialize, Serialize};

use crate::log::{Actor, RewindTo, Selection};

/// Who acts, and why: recorded with what was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ActCall {
    /// Who, in their own words; the token's name is always recorded.
    pub who: Option<String>,
    /// Why.
    pub why: Option<String>,
}

impl From<Actor> for ActCall {
    fn from(actor: Actor) -> Self {
        Self {
            who: (!actor.who.is_empty()).then_some(actor.who),
            why: actor.why,
        }
    }
}

/// Changes dead letters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeadCall {
    /// Which ones.
    pub which: Selection,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// Sets a route's cursor back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RewindCall {
    /// Where to.
    pub to: RewindTo,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// Moves a cursor to another name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameCall {
    /// The new name.
    pub to: String,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// Orders a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BackupOrderCall {
    /// An absolute path on the receiver's machine: new, empty, or with an earlier backup of this log.
    #[cfg_attr(feature = "openapi", schema(example = "/backup/creel"))]
    pub dir: String,
    /// Read all of it back afterwards.
    #[serde(default)]
    pub verify: bool,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// How many deliveries something concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CountReply {
    /// How many.
    pub count: u64,
}

//! Why something was refused.

use serde::{Deserialize, Serialize};

use crate::log::{OperateError, WorkError};

/// What kind of refusal an error is; programs branch on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// 410: the lease has ended; nothing changed.
    Stale,
    /// 404: no such route.
    NoRoute,
    /// 404: no such delivery, dead letter or path.
    NotFound,
    /// 422: the request makes no sense, or is not allowed as things stand.
    Invalid,
    /// 409: something of the kind is under way already.
    Busy,
    /// 401: no token, or none that is known.
    Unauthorized,
    /// 403: the token does not allow it.
    Forbidden,
    /// 400: another version of the protocol than the ones named.
    Protocol,
    /// 503: the log has stopped; try again.
    Unavailable,
}

impl RefusalKind {
    /// Its HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Stale => 410,
            Self::NoRoute | Self::NotFound => 404,
            Self::Invalid => 422,
            Self::Busy => 409,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::Protocol => 400,
            Self::Unavailable => 503,
        }
    }
}

/// The body of every error on the private listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// What is wrong, in words.
    #[cfg_attr(feature = "openapi", schema(example = "no route `github-bilds`"))]
    pub error: String,
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// The lease or route it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Refusal {
    /// A refusal about nothing in particular.
    pub fn new(kind: RefusalKind, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            kind,
            subject: None,
        }
    }

    fn about(mut self, subject: impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }
}

impl From<WorkError> for Refusal {
    fn from(error: WorkError) -> Self {
        let text = error.to_string();
        match error {
            WorkError::Stale(lease) => Self::new(RefusalKind::Stale, text).about(lease),
            WorkError::NoRoute(route) => Self::new(RefusalKind::NoRoute, text).about(route),
            WorkError::Unavailable(_) => Self::new(RefusalKind::Unavailable, text),
            WorkError::Invalid(_) => Self::new(RefusalKind::Invalid, text),
        }
    }
}

impl From<Refusal> for WorkError {
    fn from(refusal: Refusal) -> Self {
        let subject = refusal.subject.unwrap_or_default();
        match refusal.kind {
            RefusalKind::Stale => Self::Stale(subject.parse().unwrap_or_default()),
            RefusalKind::NoRoute => Self::NoRoute(subject),
            RefusalKind::Unavailable => Self::Unavailable(refusal.error),
            RefusalKind::NotFound
            | RefusalKind::Invalid
            | RefusalKind::Busy
            | RefusalKind::Unauthorized
            | RefusalKind::Forbidden
            | RefusalKind::Protocol => Self::Invalid(refusal.error),
        }
    }
}

impl From<OperateError> for Refusal {
    fn from(error: OperateError) -> Self {
        let kind = match &error {
            OperateError::NotFound(_) => RefusalKind::NotFound,
            OperateError::Invalid(_) => RefusalKind::Invalid,
            OperateError::Busy(_) => RefusalKind::Busy,
            OperateError::Forbidden(_) => RefusalKind::Forbidden,
            OperateError::Unavailable(_) => RefusalKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Refusal> for OperateError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.error;
        match refusal.kind {
            RefusalKind::NotFound | RefusalKind::NoRoute => Self::NotFound(text),
            RefusalKind::Invalid | RefusalKind::Stale | RefusalKind::Protocol => {
                Self::Invalid(text)
            }
            RefusalKind::Busy => Self::Busy(text),
            RefusalKind::Unauthorized | RefusalKind::Forbidden => Self::Forbidden(text),
            RefusalKind::Unavailable => Self::Unavailable(text),
        }
    }
}

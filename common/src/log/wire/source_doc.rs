//! What the sender of a source has to be told, and what it can expect.

use serde::{Deserialize, Serialize};

use super::HeaderView;

/// Everything that is to be known for setting a source up at its sender. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceDoc {
    /// Its name.
    pub name: String,
    /// Its provider pack.
    pub provider: String,
    /// The sender's name.
    pub title: String,
    /// The sender's own documentation.
    pub docs: Option<String>,
    /// Its path on the public listener.
    pub path: String,
    /// The URL to enter at the sender, with everything that it needs; `null` where no `public_url` is
    /// configured. Where the URL carries the secret, `SECRET` stands in its place.
    pub url: Option<String>,
    /// The same without what was added.
    pub url_bare: Option<String>,
    /// What was added.
    pub url_parts: Vec<UrlPart>,
    /// Where at the sender it is entered.
    pub places: Vec<String>,
    /// Methods that the sender uses.
    pub methods: Vec<String>,
    /// The secret.
    pub secret: SecretDoc,
    /// The events.
    pub events: EventsDoc,
    /// The answer to a delivery that is durable.
    pub reply: ReplyDoc,
    /// Requests that are answered and not stored, each as the conditions by which it is known.
    pub handshakes: Vec<String>,
    /// What is taken.
    pub limits: LimitsDoc,
    /// What the sender does when it gets no 2xx.
    pub retry: RetryDoc,
    /// How repeats are recognised.
    pub repeats: RepeatsDoc,
    /// What a delivery looks like, without its signature.
    pub sample: SampleDoc,
    /// What to try it with.
    pub commands: Vec<CommandDoc>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// A part of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UrlPart {
    /// As it stands in the URL.
    #[cfg_attr(feature = "openapi", schema(example = "#rc=5&rp=all"))]
    pub text: String,
    /// What it is for.
    pub why: String,
}

/// Which secret, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretDoc {
    /// What it is; `null` where there is none.
    pub kind: Option<String>,
    /// Where at the sender it is found or made.
    pub place: Option<String>,
    /// The ids of those that are configured.
    pub ids: Vec<String>,
}

/// Which events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventsDoc {
    /// Which to choose at the sender.
    pub choose: Option<String>,
    /// The routes that take from this source.
    pub routes: Vec<String>,
    /// The only event types that any of them takes; `null` where one takes all.
    pub only: Option<Vec<String>>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplyDoc {
    /// Its status.
    pub status: u16,
    /// The media type of its body; `null` where there is none.
    pub content_type: Option<String>,
    /// Its body.
    pub body: String,
    /// Who decided it.
    pub by: ReplyBy,
    /// The status that an unverified request is answered with.
    pub refused: u16,
}

/// Who decided what a delivery is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReplyBy {
    /// It is creel's own.
    Creel,
    /// The provider pack, because its sender expects it.
    Pack,
    /// The source's `reply`.
    Source,
}

/// What is taken, and how long there is for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitsDoc {
    /// Largest body in bytes.
    pub body_bytes_max: u64,
    /// Media types of bodies that are taken; any if there are none.
    pub content_types: Vec<String>,
    /// Networks that requests may come from; empty means any.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Most deliveries that are taken, in words; `null` where there is no limit.
    #[serde(default)]
    pub rate: Option<String>,
    /// Most requests that one address may make, in words; `null` where there is no limit.
    #[serde(default)]
    pub rate_per_address: Option<String>,
    /// How long a body may take, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long the sender waits for the answer, in milliseconds, where that is known.
    pub deadline_ms: Option<u64>,
    /// Whether the sender signs a time, which must be near.
    pub signs_time: bool,
    /// How far that may be off, in milliseconds, where the source says so and not its pack.
    pub tolerance_ms: Option<u64>,
}

/// What a sender does when it gets no 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RetryDoc {
    /// What makes it send again: `connect`, `timeout`, `4xx`, `5xx` or a status. Empty: nothing does, or it
    /// is not known.
    pub on: Vec<String>,
    /// How often.
    pub attempts: Option<u64>,
    /// For how long.
    pub over: Option<String>,
    /// What else is known.
    pub note: Option<String>,
}

/// How a delivery is recognised that comes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RepeatsDoc {
    /// By what, in words; `null`: not at all.
    pub known_by: Option<String>,
    /// For how long, in milliseconds.
    pub window_ms: u64,
}

/// A delivery as the provider would send it, without its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SampleDoc {
    /// Its method.
    pub method: String,
    /// Its event type.
    pub event_type: Option<String>,
    /// Header lines.
    pub headers: Vec<HeaderView>,
    /// The body as text.
    pub body: String,
}

/// A command to try it with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandDoc {
    /// As it is typed.
    pub command: String,
    /// What it does.
    pub what: String,
}

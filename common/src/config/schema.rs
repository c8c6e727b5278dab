//! What a section of the file is made of: one table of keys, which the reader,
//! the JSON Schema and the reference in `docs/CONFIG.md` all come from.

use std::time::Duration;

/// A table of the file and its keys.
#[derive(Debug)]
pub struct Section {
    /// As the reference calls it: `[receiver]`, `[sources.NAME]`.
    pub title: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
    /// What may stand here beside `keys`, if anything: settings that somebody else checks.
    pub others: Option<&'static str>,
    /// Exactly one of these keys must be given.
    pub one_of: &'static [&'static str],
}

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    /// As typed.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// What holds when it is left out.
    pub absent: Absent,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy)]
pub enum Absent {
    /// It must not be left out.
    Required,
    /// This value, as it would be typed.
    Default(&'static str),
    /// Something that is no constant, in words.
    Means(&'static str),
}

/// What a value looks like. Bounds are inclusive.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Not empty, no control characters, at most [`TEXT_MAX`] bytes.
    Text,
    /// `[a-z0-9][a-z0-9._-]{0,63}`
    Name,
    /// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`: such as others give
    Id,
    /// Text of several lines, of at most so many bytes.
    Lines(usize),
    /// A path, relative to the file's directory; otherwise like `Text`.
    Path,
    /// The name of an environment variable.
    EnvVar,
    /// The name of a provider pack.
    Provider,
    /// The name of a kind of destination.
    Kind,
    /// `IP:PORT`
    Address,
    /// `IP/BITS` or a single address.
    Network,
    /// An http or https URL without user, query and fragment.
    Url,
    /// A moment with its offset from UTC, as RFC 3339 writes it.
    Time,
    /// `type/subtype`, without parameters.
    MediaType,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// With a unit: `7d`, `1h30m`, `250ms`.
    Duration(Duration, Duration),
    /// Bytes with a unit: `1GiB`, `10MB`.
    Size(u64, u64),
    /// A whole number.
    Count(u64, u64),
    /// A number.
    Factor(f64, f64),
    /// `100/s`, or a number per second.
    Rate(f64, f64),
    /// An array of at most so many.
    List(&'static Shape, usize),
    /// An array of at least one and at most so many, or one alone.
    OneOrMore(&'static Shape, usize),
    /// A table of names and texts.
    Texts,
    /// A table with these keys.
    Section(&'static Section),
    /// The same; `true` is an empty one, and `false` is as if it were left out.
    Switch(&'static Section),
    /// `{ env = … }` or `{ file = … }`, perhaps with more keys: never the secret itself.
    Secret(&'static Section),
    /// A table of names, each with such a section.
    Named(&'static Section),
}

/// Most bytes of any text.
pub const TEXT_MAX: usize = 4096;

/// Most characters of a name.
pub const NAME_MAX: usize = 64;

/// What a name looks like, as a regular expression.
pub const NAME_PATTERN: &str = "[a-z0-9][a-z0-9._-]{0,63}";

/// What an id looks like, as a regular expression.
pub const ID_PATTERN: &str = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}";

impl Section {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Whether `text` can be the name of a source, a destination or a route.
pub fn is_name(text: &str) -> bool {
    let part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=NAME_MAX).contains(&text.len())
        && part(text.as_bytes()[0])
        && text.bytes().all(|b| part(b) || b"._-".contains(&b))
}

/// Whether `text` can be the id of a secret.
pub fn is_id(text: &str) -> bool {
    is_name(&text.to_ascii_lowercase())
}

/// Whether `text` is a media type without parameters, in lower case.
pub fn is_media_type(text: &str) -> bool {
    let part = |part: &str| {
        let fits =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&^_.+-".contains(&b);
        (1..=127).contains(&part.len()) && part.bytes().all(fits)
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| part(kind) && part(subtype))
}

/// Whether `text` can be the name of an environment variable.
pub fn is_env_var(text: &str) -> bool {
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    first && text.len() <= 255 && text.bytes().all(part)
}

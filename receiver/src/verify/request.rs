//! The request as a verifier sees it, and what is read out of it on demand.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::{HeaderMap, HeaderName, Method};

use super::form::{self, Pair};
use super::pipeline::VALUES_MAX;
use super::reason::Reason;
use super::url;

/// One request, byte for byte. Nothing in it is believed yet.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    pub method: &'r Method,
    /// `http` or `https` as the sender used it: from the connection, or from
    /// `X-Forwarded-Proto` if the caller trusts who set it.
    pub scheme: &'r str,
    /// Host and port as the sender used them, likewise.
    pub host: &'r str,
    /// Path and query exactly as on the wire.
    pub target: &'r str,
    pub headers: &'r HeaderMap,
    pub body: &'r [u8],
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Targets can carry tokens, headers and bodies do: none of them is shown.
        f.debug_struct("Request")
            .field("method", self.method)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A request with what was parsed out of it so far.
pub(crate) struct View<'r> {
    pub request: Request<'r>,
    form: OnceCell<Option<Vec<Pair<'r>>>>,
    sorted: OnceCell<Option<Vec<u8>>>,
}

impl<'r> View<'r> {
    pub fn new(request: &Request<'r>) -> Self {
        Self {
            request: *request,
            form: OnceCell::new(),
            sorted: OnceCell::new(),
        }
    }

    /// The one value of a header; `None` if it is not there.
    ///
    /// # Errors
    /// [`Reason::DuplicateHeader`] if it occurs twice with different values.
    pub fn header(&self, name: &HeaderName) -> Result<Option<&'r [u8]>, Reason> {
        let mut values = self.request.headers.get_all(name).iter();
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if values.any(|other| other != first) {
            return Err(Reason::DuplicateHeader);
        }
        Ok(Some(first.as_bytes()))
    }

    /// The values of a query parameter, decoded: all of them, or the first so many that are too many.
    pub fn query(&self, name: &str) -> Vec<Cow<'r, [u8]>> {
        form::urlencoded(url::query(self.request.target).as_bytes())
            .filter(|pair| *pair.name == *name.as_bytes())
            .map(|pair| pair.value)
            .take(VALUES_MAX + 1)
            .collect()
    }

    /// Whether the body says it is a form.
    pub fn is_form(&self) -> bool {
        form::kind(self.request.headers).is_some()
    }

    /// The fields of the form; `None` if the body is none.
    pub fn form(&self) -> Option<&[Pair<'r>]> {
        self.form
            .get_or_init(|| form::parse(self.request.headers, self.request.body))
            .as_deref()
    }

    /// Names and values of an urlencoded form, sorted by name and then by value,
    /// exact repetitions once, without any delimiter. `None` for other bodies:
    /// a multipart body carries bytes that such a string does not cover.
    pub fn form_sorted(&self) -> Option<&[u8]> {
        self.sorted
            .get_or_init(|| {
                if form::kind(self.request.headers) != Some(form::Kind::Urlencoded) {
                    return None;
                }
                self.form().map(form::sorted)
            })
            .as_deref()
    }
}

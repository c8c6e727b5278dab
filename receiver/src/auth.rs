//! Who may do what on the private listener.
//!
//! Bearer tokens only, in the `Authorization` header; never in a URL, where
//! proxies and histories keep them. In memory there are digests only, compared
//! in constant time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use creel_common::config::{ResolvedToken, Role};
use creel_common::log::wire::{Refusal, RefusalKind};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

use crate::current::Current;
use crate::failure::Failure;
use crate::tag::Tag;

/// Query parameters under which people put tokens.
const TOKEN_PARAMETERS: [&str; 5] = [
    "token",
    "access_token",
    "api_key",
    "apikey",
    "authorization",
];

/// A token's holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
    /// Its name, for the audit.
    pub name: Arc<str>,
}

/// The tokens that are known, as digests. Clones share them, also when they are replaced.
#[derive(Clone, Default)]
pub struct Tokens(Current<Vec<Known>>);

struct Known {
    /// Of the token.
    digest: Tag,
    caller: Caller,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.0.now();
        let names = known.iter().map(|known| &known.caller);
        f.debug_list().entries(names).finish()
    }
}

impl Tokens {
    /// Keeps the digests of these (from `Config::resolve_tokens`), nothing else.
    pub fn new(tokens: impl IntoIterator<Item = ResolvedToken>) -> Self {
        Self(Current::new(known(tokens)))
    }

    /// From now on these are known, and no others.
    pub fn replace(&self, tokens: impl IntoIterator<Item = ResolvedToken>) {
        self.0.replace(known(tokens));
    }

    /// Whose token this is. Looks at all of them, whichever matches.
    fn holder(&self, presented: &[u8]) -> Option<Caller> {
        let presented = Tag::sha256(presented).into_bytes();
        let mut found = None;
        for known in self.0.now().iter() {
            if known.digest.is(&presented) {
                found = Some(known.caller.clone());
            }
        }
        found
    }

    /// Whose token a request carries; `None` when it carries none.
    ///
    /// # Errors
    /// A token in the URL, or one that is not known.
    pub fn caller(&self, headers: &HeaderMap, uri: &Uri) -> Result<Option<Caller>, Failure> {
        if has_token_parameter(uri) {
            return Err(unauthorized("tokens do not belong in URLs"));
        }
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(None);
        };
        let known = bearer(value.as_bytes()).and_then(|token| self.holder(token));
        match known {
            Some(caller) => Ok(Some(caller)),
            None => Err(unauthorized("the token is not known")),
        }
    }
}

fn known(tokens: impl IntoIterator<Item = ResolvedToken>) -> Vec<Known> {
    let known = tokens.into_iter().map(|token| Known {
        digest: Tag::sha256(token.secret.expose().trim().as_bytes()),
        caller: Caller {
            role: token.role,
            name: token.name.into(),
        },
    });
    known.collect()
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| token.trim_ascii())
}

fn has_token_parameter(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| {
        TOKEN_PARAMETERS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    })
}

fn unauthorized(what: &str) -> Failure {
    Failure(Refusal::new(RefusalKind::Unauthorized, what))
}

/// What a part of the private listener asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any token.
    Any,
    /// A worker's token.
    Work,
    /// A token that may look.
    Read,
    /// A token that may change.
    Operate,
}

impl Access {
    /// Whether a role gets in.
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Any => true,
            Self::Work => role == Role::Worker,
            Self::Read => matches!(role, Role::Read | Role::Operate),
            Self::Operate => role == Role::Operate,
        }
    }
}

/// A part of the listener, guarded.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The known tokens.
    pub tokens: Tokens,
    /// What this part asks for.
    pub access: Access,
}

/// Lets a request through with its [`Caller`], or answers 401 or 403.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let caller = match guard.tokens.caller(request.headers(), request.uri()) {
        Ok(Some(caller)) => caller,
        Ok(None) => return unauthorized("a bearer token is needed").into_response(),
        Err(failure) => return failure.into_response(),
    };
    if !guard.access.allows(caller.role) {
        let what = "the token's role does not allow this";
        return Failure(Refusal::new(RefusalKind::Forbidden, what)).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_common::secret::Secret;

    fn tokens() -> Tokens {
        Tokens::new([ResolvedToken {
            role: Role::Read,
            name: "grafana".into(),
            secret: Secret::new("canary\n"),
        }])
    }

    fn headers(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, http::HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn a_known_token_names_its_holder_and_no_other_does() {
        let uri = Uri::from_static("/v1/log");
        let caller = tokens().caller(&headers("bearer canary"), &uri).unwrap();
        assert_eq!(&*caller.unwrap().name, "grafana");
        for wrong in [
            "Bearer canar",
            "Bearer canary1",
            "Bearer ",
            "Basic canary",
            "canary",
        ] {
            assert!(tokens().caller(&headers(wrong), &uri).is_err(), "{wrong}");
        }
        assert_eq!(tokens().caller(&HeaderMap::new(), &uri).unwrap(), None);
    }

    #[test]
    fn a_token_in_the_url_is_refused_even_beside_a_good_one() {
        for uri in ["/v1/log?token=canary", "/v1/log?a=1&Access%5Ftoken=x"] {
            let uri: Uri = uri.parse().unwrap();
            assert!(
                tokens().caller(&headers("Bearer canary"), &uri).is_err(),
                "{uri}"
            );
        }
    }

    #[test]
    fn tokens_are_not_shown() {
        let shown = format!("{:?}", tokens());
        assert!(shown.contains("grafana") && !shown.contains("canary"));
    }
}

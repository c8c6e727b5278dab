//! Conditions: when a verify block or a handshake applies.
//!
//! `method=POST`, `form`, `header:X`, `json:/type=1`, `!query:y`,
//! `query:verify=={param:verify_code}`.

use std::borrow::Cow;

use http::Method;

use super::pipeline::{self, Locator, Params};
use super::request::View;
use crate::tag;
use creel_common::json;

#[derive(Debug, Clone)]
pub(crate) struct Condition {
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Method(Method),
    Form,
    Present(Locator),
    Equals(Locator, String),
}

impl Condition {
    /// # Errors
    /// What is wrong with the text, and what was expected.
    pub fn parse(text: &str, params: &Params) -> Result<Self, String> {
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        Ok(Self {
            negated,
            test: Test::parse(rest, params)?,
        })
    }

    pub fn holds(&self, view: &View<'_>) -> bool {
        self.test.holds(view) != self.negated
    }

    /// The method this insists on.
    pub fn method(&self) -> Option<&Method> {
        match &self.test {
            Test::Method(method) if !self.negated => Some(method),
            _ => None,
        }
    }
}

pub(crate) fn all_hold(conditions: &[Condition], view: &View<'_>) -> bool {
    conditions.iter().all(|condition| condition.holds(view))
}

impl Test {
    fn parse(text: &str, params: &Params) -> Result<Self, String> {
        if text == "form" {
            return Ok(Test::Form);
        }
        let Some((place, value)) = text.split_once('=') else {
            return Locator::parse(text, params).map(Test::Present);
        };
        if place == "method" {
            return Method::from_bytes(value.as_bytes())
                .map(Test::Method)
                .map_err(|_| format!("`{value}` is no method"));
        }
        let value = value.strip_prefix('=').unwrap_or(value);
        let value = match value
            .strip_prefix("{param:")
            .and_then(|v| v.strip_suffix('}'))
        {
            Some(name) => pipeline::param(name, params)?,
            None => value.to_owned(),
        };
        Ok(Test::Equals(Locator::parse(place, params)?, value))
    }

    fn holds(&self, view: &View<'_>) -> bool {
        match self {
            Test::Method(method) => view.request.method == method,
            Test::Form => view.is_form(),
            Test::Present(locator) => !values(locator, view).is_empty(),
            Test::Equals(locator, wanted) => values(locator, view)
                .iter()
                .any(|value| tag::same(value, wanted.as_bytes())),
        }
    }
}

/// Arrays and objects of a JSON body count here, and of a repeated header every value.
fn values<'r>(locator: &Locator, view: &View<'r>) -> Vec<Cow<'r, [u8]>> {
    match locator {
        Locator::Header(name) => view
            .request
            .headers
            .get_all(name)
            .iter()
            .map(|value| Cow::Borrowed(value.as_bytes()))
            .collect(),
        Locator::Json(pointer) => json::comparable(view.request.body, pointer)
            .map(Cow::Owned)
            .into_iter()
            .collect(),
        other => other.read(view).ok().flatten().unwrap_or_default(),
    }
}

//! Reads which keys of a series a query means: by name, or by their labels.

use axum::{extract::FromRequestParts, http::request::Parts};
use forebay::series::Filter;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::{
    Problem,
    query::{Query, check_query, checked_key, decoded},
};
use crate::{api::labels, app::Shared};

/// The keys of the query and its conditions on labels, and its other parameters as a type.
#[derive(Debug)]
pub(super) struct ChosenAnd<T>(pub(super) Chosen, pub(super) T);

/// The keys of a query, or the conditions on labels in their place.
#[derive(Debug)]
pub(super) struct Chosen {
    keys: Vec<String>,
    labels: Vec<String>,
}

/// The keys that a query means.
#[derive(Debug)]
pub(super) enum Selection {
    /// These, in the order of the query.
    Keys(Vec<String>),
    /// Those of a filter.
    Filter(Filter),
}

impl<T: DeserializeOwned> FromRequestParts<Shared> for ChosenAnd<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        check_query(query)?;
        let (mut chosen, mut others) = (Chosen { keys: vec![], labels: vec![] }, vec![]);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match &*decoded(name) {
                "key" => chosen.keys.push(decoded(value)),
                "label" => chosen.labels.push(decoded(value)),
                // The decoder of types accepts each name once.
                _ => others.push(pair),
            }
        }
        let path = format!("{}?{}", parts.uri.path(), others.join("&"));
        let mut rest = parts.clone();
        rest.uri = path.parse().map_err(|_| Problem::field("", "query: not a query"))?;
        let Query(query) = Query::from_request_parts(&mut rest, app).await?;
        Ok(Self(chosen, query))
    }
}

impl Chosen {
    /// The keys: by name, by labels, or with `has_default` also all.
    pub(super) fn selection(self, has_default: bool) -> Result<Selection, Problem> {
        let Self { keys, labels } = self;
        if keys.is_empty() && (has_default || !labels.is_empty()) {
            return Ok(Selection::Filter(labels::filter(labels.iter().map(String::as_str))?));
        }
        if keys.is_empty() {
            return Err(Problem::field("key", "query: missing field `key`, or `label` in its place"));
        }
        if !labels.is_empty() {
            return Err(Problem::field("key", "key: keys and labels: one of them"));
        }
        for key in &keys {
            checked_key(key)?;
        }
        Ok(Selection::Keys(keys))
    }

    /// The filter of a query that has no keys.
    pub(super) fn filter(self) -> Result<Filter, Problem> {
        match self.selection(true)? {
            Selection::Filter(filter) => Ok(filter),
            Selection::Keys(_) => Err(Problem::field("key", "query: unknown field `key`")),
        }
    }

    /// Whether keys are named.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// The query of keys, by name or by labels.
#[derive(Debug, IntoParams)]
#[expect(dead_code, reason = "describes the parameters to OpenAPI; `ChosenAnd` reads them")]
#[into_params(parameter_in = Query)]
pub(super) struct ChosenQuery {
    /// 1 to 512 bytes of UTF-8. Once for each key: `key=a&key=b`, up to 1 000. The head of a request has at most 32 KiB.
    #[param(max_items = 1_000)]
    key: Option<Vec<String>>,
    /// In place of keys: `NAME=VALUE` or `NAME!=VALUE`, for each condition. A label that is there more than once has one of
    /// its values.
    label: Option<Vec<String>>,
}

/// The conditions on labels of a query.
#[derive(Debug, IntoParams)]
#[expect(dead_code, reason = "describes the parameter to OpenAPI; `ChosenAnd` reads it")]
#[into_params(parameter_in = Query)]
pub(super) struct LabelsQuery {
    /// Only keys with these labels: `NAME=VALUE` or `NAME!=VALUE`, for each condition.
    label: Option<Vec<String>>,
}

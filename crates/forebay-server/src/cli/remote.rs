//! How commands reach a running server, and what they find in a configuration.

use anyhow::Result;
use forebay::Name;

use crate::{client::Client, config::Secret, text::unknown};

/// A client of the server at `url`, with the token of the environment.
pub(super) fn client(url: &str) -> Result<Client> {
    let token = std::env::var("FOREBAY_TOKEN").ok().filter(|token| !token.is_empty());
    Client::new(url, token.map(Secret::new))
}

/// What a configuration declares under `name`.
pub(super) fn declared<'a, T>(
    what: &str,
    name: &str,
    all: &'a std::collections::BTreeMap<Name, T>,
) -> Result<(&'a Name, &'a T)> {
    let found = all.iter().find(|(known, _)| known.as_str() == name);
    found.ok_or_else(|| unknown(what, name, all.keys().map(Name::as_str)).into())
}

//! Reading `[[tokens]]` and `FOREBAY_TOKEN`.

use std::path::Path;

use super::{
    environment::Environment,
    fields::{Fields, Node},
    file::read_file,
    mistake::Mistake,
    model::{Scope, Scopes, Token},
    secret::Secret,
};
use crate::text::quoted;

pub(super) fn read_tokens(top: &mut Fields<'_>, environment: &Environment<'_>) -> Vec<Token> {
    let Some(list) = top.optional("tokens") else { return vec![] };
    let mut tokens: Vec<Token> = vec![];
    for node in list.list() {
        let Some(mut fields) = node.fields() else { continue };
        let name = fields.required("name", "\"ingest\"").and_then(|node| node.text());
        let secret = read_secret(&mut fields, environment);
        let scopes = fields.required("scopes", "[\"write\"]").map(|node| read_scopes(&node));
        if let (Some(name), Some(secret), Some(scopes)) = (name, secret, scopes) {
            if tokens.iter().any(|token| token.name == name || token.secret == secret) {
                fields
                    .mistake(format!("token {}: its name or secret is that of another token", quoted(&name)));
            }
            tokens.push(Token { name, secret, scopes });
        }
        fields.finish();
    }
    tokens
}

fn read_scopes(list: &Node<'_>) -> Scopes {
    let words = [Scope::Read, Scope::Write, Scope::Admin].map(|scope| (scope.as_str(), scope));
    let scopes = list
        .list()
        .iter()
        .filter_map(|node| node.choice("scope", &words))
        .fold(Scopes::default(), Scopes::with);
    if scopes == Scopes::default() {
        list.mistake("a token has at least one of read, write and admin");
    }
    scopes
}

/// The secret of a token: in the file, in a variable, or in a file of its own.
fn read_secret(fields: &mut Fields<'_>, environment: &Environment<'_>) -> Option<Secret> {
    let places = [fields.optional("token"), fields.optional("token_env"), fields.optional("token_file")];
    let (place, node) = match places.each_ref().map(Option::as_ref) {
        [Some(node), None, None] => (0, node),
        [None, Some(node), None] => (1, node),
        [None, None, Some(node)] => (2, node),
        _ => {
            fields.mistake("a token has one of token_env (a variable's name), token_file (a path) and token");
            return None;
        }
    };
    let text = node.text()?;
    let secret = match place {
        0 => text,
        1 => node.accept(
            environment(&text).ok_or_else(|| format!("environment variable {} is not set", quoted(&text))),
        )?,
        _ => {
            let file = read_file(Path::new(&text));
            let content = node.accept(file.map_err(|wrong| format!("{} {wrong}", quoted(&text))))?;
            content.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    node.accept(checked_secret(secret))
}

fn checked_secret(secret: String) -> Result<Secret, &'static str> {
    // An `Authorization` header cannot contain other characters.
    if !secret.is_empty() && secret.bytes().all(|c| c.is_ascii_graphic()) {
        Ok(Secret::new(secret))
    } else {
        Err("a token is one or more printable ASCII characters without blanks")
    }
}

/// Reads `FOREBAY_TOKEN`: one token with all scopes. An empty value is a mistake: a failed deployment must not be open.
pub(super) fn token_of_environment(
    environment: &Environment<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Token> {
    match checked_secret(environment("FOREBAY_TOKEN")?) {
        Ok(secret) => Some(Token { name: "FOREBAY_TOKEN".into(), secret, scopes: Scopes::ALL }),
        Err(message) => {
            mistakes.push(Mistake::of("FOREBAY_TOKEN", message));
            None
        }
    }
}

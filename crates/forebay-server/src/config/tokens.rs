//! Reading `[[tokens]]` and `FOREBAY_TOKEN`.

use std::{collections::BTreeSet, path::Path};

use super::{
    environment::Environment,
    fields::{Fields, Node},
    file::read_file,
    mistake::Mistake,
    model::{Scope, Token},
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
                node.mistake(format!("token {}: its name or secret is that of another token", quoted(&name)));
            }
            tokens.push(Token { name, secret, scopes });
        }
        fields.finish();
    }
    tokens
}

fn read_scopes(list: &Node<'_>) -> BTreeSet<Scope> {
    let words = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let scopes: BTreeSet<_> = list.list().iter().filter_map(|node| node.choice("scope", &words)).collect();
    if scopes.is_empty() {
        list.mistake("a token has at least one of read, write, admin and map");
    }
    scopes
}

/// The secret of a token: in the file, in a variable, or in a file of its own.
fn read_secret(fields: &mut Fields<'_>, environment: &Environment<'_>) -> Option<Secret> {
    let places = ["token", "token_env", "token_file"].map(|place| Some((place, fields.optional(place)?)));
    let [(place, node)] = &*places.into_iter().flatten().collect::<Vec<_>>() else {
        fields
            .node
            .mistake("a token has one of token_env (a variable's name), token_file (a path) and token");
        return None;
    };
    let text = node.text()?;
    let secret = match *place {
        "token" => Ok(text),
        "token_env" => {
            environment(&text).ok_or_else(|| format!("environment variable {} is not set", quoted(&text)))
        }
        _ => match read_file(Path::new(&text)) {
            Ok(content) => Ok(content.trim_end_matches(['\r', '\n']).to_owned()),
            Err(wrong) => Err(format!("{} {wrong}", quoted(&text))),
        },
    };
    node.accept(checked_secret(node.accept(secret)?))
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
        Ok(secret) => Some(Token { name: "FOREBAY_TOKEN".into(), secret, scopes: Scope::ALL.into() }),
        Err(message) => {
            mistakes.push(Mistake::of("FOREBAY_TOKEN", message));
            None
        }
    }
}

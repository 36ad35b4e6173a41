//! Bodies of `/v1/map`.

use forebay::{
    cluster::{CommandError, Fate, Reply},
    time::secs,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fields::Key;
use crate::text::Span;

/// Commands on plain keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with commands")]
pub(crate) struct MapRequest {
    /// 1 to 10 000 commands. Each host executes its own in this order; there is no order between hosts.
    pub(crate) commands: Vec<MapCommand>,
    /// The longest wait for all answers: 10 ms to 10 s, default `1s`.
    #[serde(default = "default_deadline")]
    #[schema(value_type = String, default = "1s", example = "1s")]
    pub(crate) deadline: Span,
}

fn default_deadline() -> Span {
    Span(secs(1))
}

/// A command on one plain key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    tag = "op",
    rename_all = "lowercase",
    deny_unknown_fields,
    expecting = "an object with op (get, set, incr, del, expire or raw) and key"
)]
pub(crate) enum MapCommand {
    /// Reads a value: a text, or null.
    Get { key: Key },
    /// Writes a value. The key has no time to live afterwards.
    Set { key: Key, value: Word },
    /// Adds to an integer, which starts at 0. The answer is the sum.
    Incr {
        key: Key,
        #[serde(default = "one")]
        #[schema(default = 1)]
        by: i64,
    },
    /// Removes a key. The answer is whether it existed.
    Del { key: Key },
    /// Sets the time to live. The answer is whether the key existed.
    Expire {
        key: Key,
        #[schema(value_type = String, example = "1d")]
        ttl: Span,
    },
    /// Another command of Redis on this key alone, such as `HSET`: its name, and its words after the key. Only on Redis.
    Raw {
        key: Key,
        name: String,
        #[serde(default)]
        args: Vec<Word>,
    },
}

fn one() -> i64 {
    1
}

impl MapCommand {
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::Incr { key, .. }
            | Self::Del { key }
            | Self::Expire { key, .. }
            | Self::Raw { key, .. } => &key.0,
        }
    }
}

/// A text, or an integer, which is written in decimal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a text or an integer")]
pub(crate) enum Word {
    Text(String),
    Integer(i64),
}

impl Word {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(n) => n.to_string(),
        }
    }
}

/// The answers to commands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MapAnswers)]
pub(crate) struct AnswersBody {
    /// One for each command, in their order.
    pub(crate) answers: Vec<AnswerBody>,
    /// How many of them are not `ok`.
    pub(crate) failed: usize,
}

/// The answer to one command.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MapAnswer)]
pub(crate) struct AnswerBody {
    /// `ok`; `not-sent`: nothing was done; `rejected`: the host refused it, and nothing was done; `maybe-executed`: no answer
    /// came, and it was executed once or not at all; `unreadable`: it was executed, and the answer is no text.
    pub(crate) status: &'static str,
    /// The name of the host that has the key.
    pub(crate) host: String,
    /// The answer, if the status is `ok`.
    pub(crate) value: Value,
    /// The reason, for any other status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Whether to repeat the command, if it failed: `now`, `later`, `unknown` (it may have been executed), `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<&'static str>,
}

impl AnswerBody {
    pub(crate) fn ok(host: &str, value: Value) -> Self {
        Self { status: "ok", host: host.into(), value, error: None, retry: None }
    }

    /// The answer of a command without a value.
    pub(crate) fn failed(error: &CommandError, retry: &'static str) -> Self {
        let status = match error.fate() {
            Fate::NotSent => "not-sent",
            Fate::Rejected => "rejected",
            Fate::Unreadable => "unreadable",
            _ => "maybe-executed",
        };
        let reason = format!("{error}: {}", error.cause());
        Self {
            status,
            host: error.host().into(),
            value: Value::Null,
            error: Some(reason),
            retry: Some(retry),
        }
    }

    pub(crate) fn unreadable(host: &str) -> Self {
        let reason = "the answer is not UTF-8, which JSON cannot hold".to_owned();
        Self {
            status: "unreadable",
            host: host.into(),
            value: Value::Null,
            error: Some(reason),
            retry: Some("never"),
        }
    }
}

/// An answer in JSON; `None`: it has bytes that are not UTF-8.
pub(crate) fn to_json(reply: &Reply) -> Option<Value> {
    Some(match reply {
        Reply::Integer(n) => (*n).into(),
        Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.into(),
        Reply::Double(n) if n.is_finite() => (*n).into(),
        Reply::Double(n) => n.to_string().into(),
        Reply::Boolean(yes) => (*yes).into(),
        Reply::Array(each) => each.iter().map(to_json).collect::<Option<Vec<Value>>>()?.into(),
        Reply::Map(pairs) => pairs.iter().map(pair).collect::<Option<Map<String, Value>>>()?.into(),
        Reply::Refused(why) => Map::from_iter([("error".to_owned(), Value::from(&**why))]).into(),
        _ => Value::Null,
    })
}

fn pair((field, value): &(Reply, Reply)) -> Option<(String, Value)> {
    let field = match to_json(field)? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some((field, to_json(value)?))
}

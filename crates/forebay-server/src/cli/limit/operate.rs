//! What an operator does with a limit: resets, overrides, lists.

use anyhow::{Result, bail};
use forebay::{
    Forebay,
    limit::{LimitHandle, Outstanding, SetBy},
};
use serde_json::{Value, json};

use super::{
    super::{
        remote::{declared, open},
        say, say_json,
    },
    Args,
};
use crate::{
    client::escaped,
    text::{Allowance, shown},
};

/// How many lines a list has at most: what the server keeps.
const MOST: usize = 256;

/// How many overrides are asked for at a time.
const PAGE: usize = 1_000;

/// What to do.
pub(super) enum What {
    Reset(String),
    /// What the key is allowed from now on; `None`: what the configuration says.
    Override(String, Option<Allowance>),
    Overrides,
    Near,
    Top,
}

/// What was asked for; `None`: a take, or a look.
pub(super) fn asked(args: &Args) -> Result<Option<What>> {
    let (operation, list) = (&args.operation, &args.operation.list);
    let Some(key) = args.key.clone() else {
        let asked = [(list.overrides, What::Overrides), (list.near, What::Near), (list.top, What::Top)];
        return Ok(asked.into_iter().find_map(|(is_asked, what)| is_asked.then_some(what)));
    };
    if !(1..=forebay::key::MAX_KEY).contains(&key.len()) {
        bail!("key of {} bytes: a key has 1 to {} bytes", key.len(), forebay::key::MAX_KEY);
    }
    Ok(if operation.reset {
        Some(What::Reset(key))
    } else if operation.remove_override {
        Some(What::Override(key, None))
    } else {
        operation.instead.map(|instead| What::Override(key, Some(instead)))
    })
}

/// Does it, and says what came of it.
pub(super) async fn run(args: &Args, what: What) -> Result<()> {
    let answer = match args.place.opened()? {
        Some(config) => {
            let (_, definition) = declared("limit", &args.name, &config.limits)?;
            let bay: Forebay = open(&config).await?;
            let answer = in_store(&bay.limit(definition.clone())?, &what).await;
            bay.close().await?;
            answer?
        }
        None => at_server(args, &what).await?,
    };
    match (args.json, &answer) {
        (true, _) => say_json(&answer.to_string()),
        (false, Value::Array(rows)) if rows.is_empty() => say("none"),
        (false, Value::Array(rows)) => rows.iter().for_each(|row| say(&describe(row))),
        (false, Value::Object(left)) if left.contains_key("outstanding") => {
            let (amount, until) = (&left["outstanding"], left["until"].as_str().unwrap_or_default());
            say(&format!("done; others hold {amount} until {until}"));
        }
        (false, _) => say("done"),
    }
    Ok(())
}

async fn in_store(limit: &LimitHandle, what: &What) -> Result<Value> {
    match what {
        What::Reset(key) => {
            let left = limit.reset(key).await?;
            let until =
                |left: Outstanding| json!({"outstanding": left.amount, "until": left.until.to_string()});
            return Ok(left.map_or_else(|| json!({"done": true}), until));
        }
        What::Override(key, Some(instead)) => limit.set_override(key, instead.0).await?,
        What::Override(key, None) => drop(limit.remove_override(key).await?),
        What::Overrides => {
            let set_by = |set_by| if set_by == SetBy::Definition { "configuration" } else { "request" };
            let all = limit.overrides().into_iter();
            let row = |one: forebay::limit::Overridden| json!({"key": one.key, "allow": one.instead.to_string(), "set_by": set_by(one.set_by)});
            return Ok(all.map(row).collect());
        }
        What::Near | What::Top => bail!("a server knows that, not its store: ask it with --server"),
    }
    Ok(json!({"done": true}))
}

async fn at_server(args: &Args, what: &What) -> Result<Value> {
    let mut client = args.place.client()?;
    let path = format!("/v1/limits/{}", escaped(&args.name));
    let of = |key: &str| format!("{path}/overrides?key={}", escaped(key));
    match what {
        What::Reset(key) => {
            let answer = client.delete(&format!("{path}?key={}", escaped(key))).await?.expect(&[])?;
            return Ok(if answer.is_object() { answer } else { json!({"done": true}) });
        }
        What::Override(key, Some(instead)) => {
            let body = json!({"allow": instead.0.to_string()}).to_string();
            client.put(&of(key), body.into_bytes()).await?.expect(&[])?
        }
        What::Override(key, None) => client.delete(&of(key)).await?.expect(&[])?,
        What::Overrides => {
            let (mut all, mut after) = (vec![], String::new());
            loop {
                let page = format!("{path}/overrides?limit={PAGE}{after}");
                let Value::Array(rows) = client.get(&page).await?.expect(&[])? else { break };
                let last = rows.last().and_then(|row| row["key"].as_str());
                let is_last = rows.len() < PAGE;
                after = format!("&after={}", escaped(last.unwrap_or_default()));
                all.extend(rows);
                if is_last {
                    break;
                }
            }
            return Ok(all.into());
        }
        What::Near => return client.get(&format!("{path}/near?limit={MOST}")).await?.expect(&[]),
        What::Top => return client.get(&format!("{path}/top?limit={MOST}")).await?.expect(&[]),
    };
    Ok(json!({"done": true}))
}

/// A row of whichever list.
fn describe(row: &Value) -> String {
    let text = |field: &str| shown(row[field].as_str().unwrap_or_default());
    let key = text("key");
    if row["allow"].is_string() {
        return format!("{}\t{}\t{key}", text("allow"), text("set_by"));
    }
    if let Some(share) = row["share"].as_f64() {
        let number = |field: &str| row[field].as_u64().unwrap_or_default();
        return format!("{:.0} %\t{} of {}\t{key}", share * 100.0, number("used"), number("limit"));
    }
    let error = row["error"].as_u64().filter(|error| *error > 0);
    let error = error.map(|error| format!(" (at most {error} less)")).unwrap_or_default();
    format!("{}{error}\t{key}", row["denied"].as_u64().unwrap_or_default())
}

//! The keys that `forebay series` is about, and `forebay series --keys`.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    remote::{Place, Target},
    runtime::block_on,
    terminal::{say, say_json},
};
use crate::{
    api::{labels::Labels, series::KeysBody},
    client::escaped,
    text::shown,
};

/// The most keys that one request lists.
const PAGE: &str = "10000";

/// Keys by name, or by their labels.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Chosen {
    /// The keys, 1 to 1000: each 1 to 512 bytes
    #[arg(
        required_unless_present_any = ["export", "import", "label", "group_by", "list_keys", "top", "bottom"],
        value_name = "KEY",
        conflicts_with_all = ["label", "group_by", "list_keys"]
    )]
    pub(super) key: Vec<String>,
    /// In place of keys: those with this value of a label, or NAME!=VALUE; once for each condition. A label that is there more
    /// than once has one of its values
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "import")]
    pub(super) label: Vec<String>,
}

/// The options of a list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct KeysArgs {
    /// List the keys that have a count which is kept, with their labels
    #[arg(long = "keys", conflicts_with_all = ["export", "import", "plot"])]
    pub(super) list_keys: bool,
}

impl Chosen {
    /// The parameters of a request.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = self.key.iter().map(|key| ("key", key.as_str()));
        keys.chain(self.label.iter().map(|label| ("label", label.as_str())))
    }
}

/// The query of a URL.
pub(super) fn query_string<'a>(pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> String {
    let pairs = pairs.into_iter().map(|(field, value)| format!("{field}={}", escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Prints the keys, page by page.
pub(super) fn run(
    place: &Place,
    name: &str,
    (chosen, prefix): (&Chosen, Option<&str>),
    json: bool,
) -> Result<ExitCode> {
    block_on(async {
        let target = Target::open(place).await?;
        let listed = list(&target, name, (chosen, prefix), json).await;
        target.close().await?;
        listed
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(
    target: &Target,
    name: &str,
    (chosen, prefix): (&Chosen, Option<&str>),
    json: bool,
) -> Result<()> {
    let mut client = target.client()?;
    let mut after: Option<String> = None;
    loop {
        let pairs = chosen.parameters().chain(prefix.map(|prefix| ("prefix", prefix)));
        let pairs = pairs.chain(after.as_deref().map(|after| ("after", after))).chain([("limit", PAGE)]);
        let path = format!("/v1/series/{}/keys?{}", escaped(name), query_string(pairs));
        let page: KeysBody = client.get(&path).await?.read(&[])?;
        let lines: Vec<String> = (0..page.keys.len()).map(|place| line(&page, place, json)).collect();
        match lines.join("\n") {
            text if text.is_empty() => {}
            text if json => say_json(&text),
            text => say(&text),
        }
        after = page.keys.last().filter(|_| page.more).cloned();
        if after.is_none() {
            return Ok(());
        }
    }
}

/// A key: as JSON, or as text with its labels.
fn line(page: &KeysBody, place: usize, json: bool) -> String {
    let (key, labels) = (&page.keys[place], page.labels.get(place));
    match labels {
        _ if json => serde_json::json!({"key": key, "labels": labels}).to_string(),
        Some(labels) => describe_labels(labels),
        None => shown(key).into_owned(),
    }
}

/// Labels as text: `endpoint=/checkout, status=500`.
pub(super) fn describe_labels(labels: &Labels) -> String {
    shown(&labels.to_string()).into_owned()
}

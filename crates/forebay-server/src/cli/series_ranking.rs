//! `forebay series --top` and `--bottom`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{
    remote::{Place, Target},
    runtime::block_on,
    series_keys::{Chosen, describe_labels, query_string},
    terminal::answer,
};
use crate::{
    api::{ranking::RankedBody, series_query::RangeQuery},
    client::escaped,
    text::shown,
};

/// The options of a ranking.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RankingArgs {
    /// Show the N keys with the largest counts (1 to 1000) between --from and --to, by default of the last day; with
    /// --group-by, groups
    #[arg(long, value_name = "N", conflicts_with_all = ["export", "import", "plot", "list_keys", "bottom"])]
    pub(super) top: Option<usize>,
    /// Show the N keys with the smallest counts, likewise, of at most 10000
    #[arg(long, value_name = "N", conflicts_with_all = ["export", "import", "plot", "list_keys"])]
    pub(super) bottom: Option<usize>,
}

impl RankingArgs {
    /// The ranking that is asked for, and the number of rows.
    fn wanted(&self) -> Option<(&'static str, usize)> {
        self.top.map(|rows| ("top", rows)).or(self.bottom.map(|rows| ("bottom", rows)))
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted().is_some()
    }

    pub(super) fn run(
        &self,
        place: &Place,
        name: &str,
        (chosen, prefix, query): (&Chosen, Option<&str>, &RangeQuery),
        json: bool,
    ) -> Result<ExitCode> {
        let Some((ranking, rows)) = self.wanted() else { return Ok(ExitCode::SUCCESS) };
        if !chosen.key.is_empty() {
            bail!("--{ranking}: it names the keys; choose among them by --label or --prefix");
        }
        let known = ["from", "to", "tz", "group_by"];
        if let Some((field, _)) = query.parameters().find(|(field, _)| !known.contains(field)) {
            bail!("--{}: --{ranking} takes --from, --to, --tz and --group-by", field.replace('_', "-"));
        }
        let limit = rows.to_string();
        let pairs = chosen.parameters().chain(query.parameters());
        let pairs = pairs.chain(prefix.map(|prefix| ("prefix", prefix))).chain([("limit", limit.as_str())]);
        let path = format!("/v1/series/{}/{ranking}?{}", escaped(name), query_string(pairs));
        let found: Vec<RankedBody> = block_on(async {
            let target = Target::open(place).await?;
            let found = async { target.client()?.get(&path).await?.read(&[]) }.await;
            target.close().await?;
            found
        })?;
        answer(json, &found, |rows| describe(rows))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each key, and whether others may belong there.
fn describe(rows: &[RankedBody]) -> String {
    let width = rows.iter().map(|row| row.sum.to_string().len()).max().unwrap_or_default();
    let mut lines: Vec<String> =
        rows.iter().map(|row| format!("{:>width$}  {}", row.sum, name(row))).collect();
    let unsure = rows.iter().find(|row| !row.exact);
    if let Some(row) = unsure {
        let most = row.at_most_missed;
        lines.push(format!(
            "Keys that are not shown have at most {most}: rows up to that may not belong here."
        ));
    }
    if rows.iter().any(|row| row.partial) {
        lines.push("A host was down: counts may be missing.".to_owned());
    }
    if lines.is_empty() {
        lines.push("No key has a count there.".to_owned());
    }
    lines.join("\n")
}

fn name(row: &RankedBody) -> String {
    match &row.labels {
        Some(labels) => describe_labels(labels),
        None => shown(&row.key).into_owned(),
    }
}

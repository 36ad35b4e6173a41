//! `forebay series --plot`: a picture in a file, or in the terminal.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use forebay::Clock;

use super::{output, terminal};
use crate::{
    api::{
        chart::DrawQuery,
        series::RangeAnswer,
        series_query::{RangeQuery, WrongParameter},
    },
    chart::{self, Graph, Line, Options},
};

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct PlotArgs {
    /// Draw a chart: into FILE.svg, or without a file into the terminal
    #[arg(long, value_name = "FILE.svg", num_args = 0..=1, default_missing_value = "-", value_parser = target,
        conflicts_with_all = ["export", "import", "list_keys"])]
    plot: Option<Target>,
    #[command(flatten, next_help_heading = "Options of --plot")]
    draw: DrawQuery,
}

/// The target of a drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Terminal,
    File(PathBuf),
}

/// A key after `--plot` would be taken for a file, and a file for a key that is missing.
fn target(text: &str) -> Result<Target, String> {
    let path = Path::new(text);
    let is_device = path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir());
    if text == "-" {
        Ok(Target::Terminal)
    } else if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg")) || is_device {
        Ok(Target::File(path.to_owned()))
    } else {
        Err("a file whose name ends with .svg, or nothing for the terminal; keys come before --plot"
            .to_owned())
    }
}

impl PlotArgs {
    /// Refuses options that do not go together.
    pub(super) fn check(&self, json: bool, watch: bool) -> Result<()> {
        let drawn = self.draw.parameters().next();
        match &self.plot {
            None => match drawn {
                Some((name, _)) => bail!("--{name}: an option of --plot"),
                None => Ok(()),
            },
            Some(Target::File(_)) if watch => bail!("--watch: draws into the terminal; leave out the file"),
            Some(Target::File(path)) => output::check(path),
            Some(Target::Terminal) if json => bail!("--json: a chart in the terminal is no JSON"),
            Some(Target::Terminal) => {
                let picture =
                    self.draw.parameters().find(|(name, _)| ["theme", "width", "height"].contains(name));
                if let Some((name, _)) = picture {
                    bail!("--{name}: of a file, as in --plot FILE.svg");
                }
                if let Some(kind @ ("line" | "stacked")) = self.draw.kind.as_deref() {
                    bail!("--kind {kind}: of a file, as in --plot FILE.svg; a terminal has bars or heatmap");
                }
                Ok(())
            }
        }
    }

    /// Returns whether the terminal shows the chart.
    pub(super) fn is_in_terminal(&self) -> bool {
        self.plot == Some(Target::Terminal)
    }

    /// Returns whether a file gets the chart.
    pub(super) fn is_in_file(&self) -> bool {
        matches!(self.plot, Some(Target::File(_)))
    }

    /// The query to ask for.
    pub(super) fn query(&self, query: &RangeQuery) -> Result<RangeQuery> {
        if self.is_in_terminal() && query.moving.is_some() {
            bail!("--moving: a line, and a terminal has none; --plot FILE.svg has it");
        }
        match &self.plot {
            None => Ok(query.clone()),
            Some(_) => self.draw.range(query, Clock::system().now()).map_err(|wrong| plotted(&wrong)),
        }
    }

    /// Draws into the file, if there is one.
    pub(super) fn write(&self, series: &str, query: &RangeQuery, answer: &RangeAnswer) -> Result<()> {
        let Some(Target::File(path)) = &self.plot else { return Ok(()) };
        let (graph, options) = self.graph(series, query, answer)?;
        output::write(path, chart::draw(graph, &options).as_bytes())
    }

    /// The chart in the terminal.
    pub(super) fn lines(&self, series: &str, query: &RangeQuery, answer: &RangeAnswer) -> Result<Vec<Line>> {
        let (graph, options) = self.graph(series, query, answer)?;
        Ok(chart::terminal(graph, &options, terminal::size().0))
    }

    fn graph(&self, series: &str, query: &RangeQuery, answer: &RangeAnswer) -> Result<(Graph, Options)> {
        let now = Clock::system().now();
        self.draw.graph(series, query, answer, now).map_err(|wrong| plotted(&wrong))
    }
}

fn plotted(wrong: &WrongParameter) -> anyhow::Error {
    anyhow!("--{}", wrong.detail)
}

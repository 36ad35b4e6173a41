//! `forebay series --import`.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, pin::pin, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use futures::{TryStreamExt, stream};
use serde::Serialize;

use super::{
    bar::Bar,
    import_state::{Rejects, State},
    remote::{Place, Target},
    runtime::{DENIED, block_on},
    terminal::{answer, complain},
};
use crate::{
    import::{Batch, Columns, Feed, Form, Options, Position, Reader, Sender, Sent, Unit},
    replay::Source,
    text::{Span, count, shown},
};

/// Requests under way at the same time. Each has at most 256 KiB.
const MAX_IN_FLIGHT: usize = 4;

/// Refused lines that are shown.
const MAX_SHOWN: usize = 10;

/// The options of an import.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Count the lines of a file: CSV with a header, or JSON objects, also as gzip; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["export", "key"])]
    pub(super) import: Option<String>,
    /// With --import: the column of CSV with the key
    #[arg(long, value_name = "NAME", requires = "import", default_value = "key")]
    key_column: String,
    /// With --import: the column of CSV with the values of a label, in place of a key; once for each label. Columns labels.NAME
    /// are read without it
    #[arg(long, value_name = "LABEL=COLUMN", requires = "import", value_parser = label_column)]
    label_column: Vec<(String, String)>,
    /// With --import: the column of CSV with the time
    #[arg(long, value_name = "NAME", requires = "import", default_value = "at")]
    at_column: String,
    /// With --import: the column of CSV with the amount; without such a column each line counts 1
    #[arg(long, value_name = "NAME", requires = "import", default_value = "n")]
    n_column: String,
    /// With --import: the unit of times that are numbers
    #[arg(long, value_enum, requires = "import", default_value_t)]
    unit: Unit,
    /// With --import: keep the position in this file, and go on from there
    #[arg(long, value_name = "FILE", requires = "import")]
    state: Option<PathBuf>,
    /// With --state: go on from a position that is older than a day, although some lines may count twice
    #[arg(long, requires = "state")]
    accept_repeats: bool,
    /// With --import: write refused lines to this file, with their number and the reason
    #[arg(long, value_name = "FILE", requires = "import")]
    rejects: Option<PathBuf>,
    /// With --import: make this another import than an earlier one of the same lines, which would count once
    #[arg(long, value_name = "TEXT", requires = "import", value_parser = id)]
    import_id: Option<String>,
    /// With --import: how long a server that does not answer is waited for
    #[arg(long, value_name = "SPAN", requires = "import", default_value = "2m")]
    patience: Span,
}

fn label_column(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(label, column)| !label.is_empty() && !column.is_empty());
    let (label, column) = pair.ok_or("LABEL=COLUMN, such as endpoint=path")?;
    Ok((label.to_owned(), column.to_owned()))
}

fn id(text: &str) -> Result<String, String> {
    let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
    if is_id { Ok(text.to_owned()) } else { Err("1 to 64 visible ASCII characters".to_owned()) }
}

/// The result of an import.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Lines that were read, without empty ones.
    lines: u64,
    /// Lines that count, and the sum of their amounts.
    imported: u64,
    sum: u64,
    /// Those of them that had been imported before.
    repeated: u64,
    /// Lines with an amount of zero.
    zeros: u64,
    /// Refused lines by reason.
    refused: BTreeMap<&'static str, u64>,
    /// The lines and the bytes of the file before which all is done.
    position: Position,
}

impl Summary {
    fn add(&mut self, sent: &Sent) {
        let Batch { records, zeros, refused, end, .. } = &sent.batch;
        self.lines += records;
        self.zeros += zeros;
        self.imported += sent.records;
        self.sum = self.sum.saturating_add(sent.sum);
        self.repeated += if sent.is_repeated { sent.records } else { 0 };
        for line in refused {
            *self.refused.entry(line.reason.word()).or_default() += 1;
        }
        self.position = end.clone();
    }

    fn describe(&self) -> String {
        let Self { lines, imported, sum, repeated, zeros, refused, .. } = self;
        let mut text = format!("{}: {imported} imported, sum {sum}", count(*lines, "line"));
        if *repeated > 0 {
            let _ = write!(text, "; {repeated} of them had been imported before, and count once");
        }
        if *zeros > 0 {
            let _ = write!(text, "; {zeros} with an amount of 0");
        }
        for (place, (reason, lines)) in refused.iter().enumerate() {
            let before = if place == 0 { "; refused:" } else { "," };
            let _ = write!(text, "{before} {lines} {reason}");
        }
        text
    }
}

pub(super) fn run(
    args: &ImportArgs,
    place: &Place,
    (name, format): (&str, Option<&str>),
    json: bool,
) -> Result<ExitCode> {
    let source = Source::from(args.import.as_deref().unwrap_or("-"));
    let form = match format {
        None => None,
        Some("csv") => Some(Form::Csv),
        Some("json") => Some(Form::Json),
        Some(other) => bail!("--format {other}: an import reads csv or json"),
    };
    let mut import = Import::open(args, name, &source, form)?;
    let ended = block_on(import.run(place));
    import.bar.finish();
    answer(json, &import.summary, Summary::describe)?;
    if let Err(error) = ended {
        let line = import.summary.position.lines;
        return Err(error.context(format!(
            "the import ended after line {line}; the same command within a day goes on, and counts no line twice"
        )));
    }
    Ok(if import.summary.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

/// An import that is under way.
struct Import<'a> {
    args: &'a ImportArgs,
    name: &'a str,
    reader: Option<Reader>,
    state: State,
    rejects: Option<Rejects>,
    bar: Bar,
    summary: Summary,
    shown: usize,
}

impl<'a> Import<'a> {
    fn open(args: &'a ImportArgs, name: &'a str, source: &Source, form: Option<Form>) -> Result<Self> {
        let id = args.import_id.as_deref();
        let read = |path: &PathBuf| State::read(path, name, id, args.accept_repeats);
        let known = args.state.as_ref().map(read).transpose()?.flatten();
        let input = source.open()?;
        let bar = Bar::new(input.size(), input.taken());
        let columns = Columns {
            key: args.key_column.clone(),
            labels: args.label_column.clone(),
            at: args.at_column.clone(),
            n: args.n_column.clone(),
        };
        let options = Options { form, columns, unit: args.unit };
        let position = known.as_ref().map(|state| &state.position);
        let reader =
            Reader::open(input, &options, position).with_context(|| format!("importing {source}"))?;
        // An export without a count has no line of JSON. Without a hint, a download has probably failed.
        ensure!(!reader.is_empty() || form == Some(Form::Json), "nothing to import: {source} is empty");
        let unread = reader.unread();
        if !unread.is_empty() {
            complain(&format!("columns that are not read: {}", shown(&unread.join(", "))));
        }
        let rejects = args.rejects.as_ref().map(|path| Rejects::open(path, known.is_some())).transpose()?;
        let position = reader.position();
        let summary = Summary { position: position.clone(), ..Summary::default() };
        let state = State {
            series: name.to_owned(),
            id: args.import_id.clone(),
            position,
            is_settled: false,
            saved: String::new(),
        };
        Ok(Self { args, name, reader: Some(reader), state, rejects, bar, summary, shown: 0 })
    }

    async fn run(&mut self, place: &Place) -> Result<()> {
        let target = Arc::new(Target::open(place).await?);
        let connect = target.clone();
        let patience = self.args.patience.0;
        let sender = Sender::new(move || connect.client(), self.name, self.args.import_id.clone(), patience);
        let ended = self.send_all(&sender).await;
        drop(sender);
        if let Some(target) = Arc::into_inner(target) {
            target.close().await?;
        }
        ended
    }

    async fn send_all(&mut self, sender: &Sender) -> Result<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        let feed = Feed::start(reader)?;
        let batches =
            stream::try_unfold(feed, async |mut feed| Ok(feed.next().await?.map(|batch| (batch, feed))));
        let mut sent = pin!(batches.map_ok(|batch| sender.send(batch)).try_buffered(MAX_IN_FLIGHT));
        while let Some(sent) = sent.try_next().await? {
            self.note(&sent)?;
        }
        self.state.is_settled = true;
        self.save()
    }

    /// Notes the outcome of a batch: the refused lines first, so that none is missing after the position.
    fn note(&mut self, sent: &Sent) -> Result<()> {
        self.summary.add(sent);
        for line in sent.batch.refused.iter().take(MAX_SHOWN - self.shown) {
            self.shown += 1;
            let text = format!("refused line {}: {}: {}", line.line, line.reason, shown(&line.detail));
            self.bar.suspend(|| complain(&text));
        }
        if let Some(rejects) = &mut self.rejects {
            rejects.add(&sent.batch.refused)?;
        }
        if sent.batch.is_cut {
            self.bar.suspend(|| complain("the last line has no line end: the file may be incomplete"));
        }
        self.bar.show(self.summary.position.lines);
        self.save()
    }

    fn save(&mut self) -> Result<()> {
        let Some(path) = &self.args.state else { return Ok(()) };
        self.state.save(path, &self.summary.position)
    }
}

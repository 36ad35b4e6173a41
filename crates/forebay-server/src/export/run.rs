//! Runs an export: reads keys and buckets, and hands out parts of the text.

use std::{fmt, mem, time::Duration};

use forebay::{
    Error, ErrorKind, Retry, Timestamp,
    series::{BucketReader, Buckets, Filter, KeyQuery, SeriesHandle},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::{
    openmetrics::{EOF, metric_name, sample_name, write_head, write_sample},
    points::{Point, Points},
    rows::{csv_header, csv_name, json_name, write_csv, write_json},
};
use crate::{api::series_export::Format, prometheus::labels_of};

/// The bytes of a part of the text.
const PART: usize = 64 * 1024;

/// Parts that wait for the connection.
const MAX_WAITING: usize = 2;

/// Keys that are read at the same time: enough to hide the round trip to the store.
const MAX_IN_FLIGHT: usize = 8;

/// Keys in a page of the list of keys.
const KEY_PAGE: usize = 10_000;

/// The keys of an export.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// These, in this order.
    Named(Vec<String>),
    /// Those of a filter.
    Filter(Filter),
}

/// An export of a series.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    pub series: SeriesHandle,
    pub keys: Keys,
    pub from: Timestamp,
    pub to: Timestamp,
    /// The length of a point; `None`: the buckets as they are kept.
    pub step: Option<Duration>,
    /// Whether zeros are written between the counts of a key.
    pub zeros: bool,
    pub format: Format,
}

/// An export that has no end. The connection must break, so that the text does not look complete.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the export broke off")
    }
}

impl std::error::Error for Broken {}

/// The next message of the task that reads.
enum Part {
    Text(String),
    End,
    Failed(Error),
}

/// The reason why the task ends early.
enum Stop {
    /// Nobody reads the text any more.
    Gone,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The lines that one walk through the keys writes.
#[derive(Clone, Copy, Debug)]
enum Lines {
    Csv,
    Json,
    /// OpenMetrics: the cumulative counter.
    Total,
    /// OpenMetrics: the counts.
    Increments,
}

impl Export {
    /// Starts the export, and waits for its first part.
    ///
    /// # Errors
    /// If there is no first part. A later error ends the stream with [`Broken`].
    pub(crate) async fn start(self) -> Result<impl Stream<Item = Result<String, Broken>>, Error> {
        let (sender, mut parts) = mpsc::channel(MAX_WAITING);
        let name = self.series.name().clone();
        tokio::spawn(async move {
            let mut output = Output { sender, text: String::new() };
            let last = match self.write(&mut output).await {
                Ok(()) => Part::End,
                Err(Stop::Gone) => return,
                Err(Stop::Failed(error)) => Part::Failed(error),
            };
            // If nobody reads it, nobody needs to know.
            let _ = output.sender.send(last).await;
        });
        let first = match parts.recv().await {
            Some(Part::Failed(error)) => return Err(error),
            // The task panicked.
            None => return Err(Error::new(ErrorKind::Unavailable, "the export broke off")),
            Some(first) => first,
        };
        Ok(stream::unfold((Some(first), Some(parts)), move |(first, parts)| {
            let name = name.clone();
            async move {
                let mut parts = parts?;
                let part = match first {
                    Some(first) => Some(first),
                    None => parts.recv().await,
                };
                match part {
                    Some(Part::Text(text)) => Some((Ok(text), (None, Some(parts)))),
                    Some(Part::End) => None,
                    Some(Part::Failed(error)) => {
                        tracing::warn!(series = %name, %error, "an export broke off");
                        Some((Err(Broken), (None, None)))
                    }
                    None => Some((Err(Broken), (None, None))),
                }
            }
        }))
    }

    async fn write(&self, output: &mut Output) -> Result<(), Stop> {
        let metric = metric_name(self.series.name().as_str());
        match self.format {
            Format::Csv => {
                output.text.push_str(&csv_header(&self.series));
                self.write_keys(Lines::Csv, &metric, output).await?;
            }
            Format::Json => self.write_keys(Lines::Json, &metric, output).await?,
            // The samples of a metric stand together. So the keys are read twice.
            Format::Openmetrics => {
                let total = format!("{metric}_total");
                let help = "Sum of the counts since the first one in this text.";
                // As a counter it would have the name of the other metric, which must be unique.
                write_head(&mut output.text, &total, "unknown", help);
                self.write_keys(Lines::Total, &total, output).await?;
                write_head(&mut output.text, &metric, "gauge", "Count of the bucket that ends at this time.");
                self.write_keys(Lines::Increments, &metric, output).await?;
                output.text.push_str(EOF);
            }
        }
        output.send().await
    }

    async fn write_keys(&self, lines: Lines, metric: &str, output: &mut Output) -> Result<(), Stop> {
        let zeros = self.zeros || matches!(lines, Lines::Total | Lines::Increments);
        let read = async |key: Result<String, Error>| {
            let mut reader = self.series.buckets(key?, self.from, self.to);
            let page = reader.next().await?;
            Ok::<_, Error>((reader, page))
        };
        let mut keys = std::pin::pin!(self.key_stream().map(read).buffered(MAX_IN_FLIGHT));
        while let Some((reader, page)) = keys.try_next().await? {
            let points = Points::new(self.step, zeros);
            let name = match lines {
                Lines::Csv => csv_name(&self.series, reader.key()),
                Lines::Json => json_name(&self.series, reader.key()),
                Lines::Total | Lines::Increments => {
                    sample_name(metric, labels_of(&self.series, reader.key()))
                }
            };
            let writer = KeyWriter { lines, name, zeros, total: 0, points };
            writer.write(reader, page, output).await?;
        }
        Ok(())
    }

    /// The keys, page by page.
    fn key_stream(&self) -> impl Stream<Item = Result<String, Error>> {
        let filter = match &self.keys {
            Keys::Named(keys) => return stream::iter(keys.clone()).map(Ok).left_stream(),
            Keys::Filter(filter) => filter.clone(),
        };
        let first = KeyQuery::new().filter(filter).limit(KEY_PAGE);
        let pages = stream::try_unfold(Some(first), move |query| async move {
            let Some(query) = query else { return Ok(None) };
            let page = self.series.keys(&query).await?;
            if page.partial {
                let name = self.series.name();
                let text = format!("series {name}: keys that other hosts accepted are not added yet");
                return Err(Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Later));
            }
            let next = page.keys.last().filter(|_| page.more).map(|last| query.after(last));
            Ok(Some((stream::iter(page.keys).map(Ok), next)))
        });
        pages.try_flatten().right_stream()
    }
}

/// Writes the points of a key.
struct KeyWriter {
    lines: Lines,
    /// The text that names the key, in the form of the lines.
    name: String,
    zeros: bool,
    /// The sum of the points so far.
    total: u64,
    points: Points,
}

impl KeyWriter {
    async fn write(
        mut self,
        mut reader: BucketReader,
        mut page: Option<Vec<Buckets>>,
        output: &mut Output,
    ) -> Result<(), Stop> {
        while let Some(runs) = page {
            for Buckets { start, step, counts, .. } in runs {
                let mut start = start;
                for n in counts {
                    // Most buckets are zero.
                    if n > 0 || self.zeros {
                        self.points.push(Point { start, step, n });
                        self.write_ready(output).await?;
                    }
                    start = start.plus(step);
                }
            }
            page = reader.next().await?;
        }
        self.points.finish();
        self.write_ready(output).await
    }

    async fn write_ready(&mut self, output: &mut Output) -> Result<(), Stop> {
        while let Some(point) = self.points.pop() {
            let (text, name) = (&mut output.text, &self.name);
            self.total = self.total.saturating_add(point.n);
            match self.lines {
                Lines::Csv => write_csv(text, name, point),
                Lines::Json => write_json(text, name, point),
                Lines::Total => write_sample(text, name, self.total, point.end()),
                Lines::Increments => write_sample(text, name, point.n, point.end()),
            }
            if output.text.len() >= PART {
                output.send().await?;
            }
        }
        Ok(())
    }
}

/// The text, and the connection that it goes to.
struct Output {
    sender: mpsc::Sender<Part>,
    text: String,
}

impl Output {
    async fn send(&mut self) -> Result<(), Stop> {
        let text = mem::take(&mut self.text);
        self.sender.send(Part::Text(text)).await.map_err(|_| Stop::Gone)
    }
}

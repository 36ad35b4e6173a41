//! Evaluates expressions: a column of values for each row, one value for each instant.

use std::collections::BTreeSet;

use super::{
    Fault, Instants, LOOKBACK, Labels, Query, Row, Stream,
    aggregate::aggregate,
    arithmetic::apply,
    binary::{between_rows, with_numbers},
    expression::{Binary, Expression, OverTime, Selector},
    over_time::{Span, Windowed},
};

/// The most values that a query computes, in all its rows and steps. They are in memory together.
const MAX_VALUES: usize = 5_000_000;

/// The most samples that the windows of a query read, each as often as a window has it.
const MAX_READS: usize = 100_000_000;

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// A number for each instant.
    Scalar(Vec<f64>),
    /// Rows with a value for each instant, some without.
    Vector(Vec<Row>),
    /// The samples of a window: of a query that is only a selector with a range.
    Samples(Vec<(Labels, Vec<(i64, f64)>)>),
}

/// Evaluates a query. `data` has the samples of each of its selectors.
pub(crate) fn evaluate(query: &Query, data: &[Vec<Stream>], instants: Instants) -> Result<Answer, Fault> {
    let mut evaluation = Evaluation { query, data, instants, values: 0, reads: 0 };
    if let Expression::Range(selector) = query.root {
        return evaluation.samples(selector);
    }
    Ok(match evaluation.value(&query.root)? {
        Value::Scalar(values) => Answer::Scalar(values),
        Value::Vector(rows) => Answer::Vector(rows),
    })
}

enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
}

struct Evaluation<'a> {
    query: &'a Query,
    data: &'a [Vec<Stream>],
    instants: Instants,
    values: usize,
    reads: usize,
}

impl Evaluation<'_> {
    fn value(&mut self, expression: &Expression) -> Result<Value, Fault> {
        match expression {
            Expression::Number(number) => Ok(Value::Scalar(vec![*number; self.instants.count])),
            Expression::Instant(selector) => self.instant(*selector).map(Value::Vector),
            Expression::Range(_) => Err(Fault::bad_data("query: a range outside of a function")),
            Expression::OverTime { function, selector, parameter } => {
                let parameters = match parameter {
                    Some(parameter) => self.numbers(parameter)?,
                    None => vec![0.0; self.instants.count],
                };
                self.over_time(*function, *selector, &parameters).map(Value::Vector)
            }
            Expression::Negation(of) => Ok(match self.value(of)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|value| -value).collect()),
                Value::Vector(rows) => Value::Vector(unique(rows.into_iter().map(negated).collect())?),
            }),
            Expression::Aggregation { operator, parameter, grouping, of } => {
                let limits = match parameter {
                    Some(parameter) => self.numbers(parameter)?,
                    None => vec![],
                };
                let rows = self.rows(of)?;
                self.reserve(rows.len())?;
                aggregate(*operator, grouping, &limits, rows).map(Value::Vector)
            }
            Expression::Binary(binary) => self.binary(binary),
        }
    }

    fn numbers(&mut self, expression: &Expression) -> Result<Vec<f64>, Fault> {
        match self.value(expression)? {
            Value::Scalar(values) => Ok(values),
            Value::Vector(_) => Err(Fault::bad_data("query: a vector where a number is expected")),
        }
    }

    fn rows(&mut self, expression: &Expression) -> Result<Vec<Row>, Fault> {
        match self.value(expression)? {
            Value::Vector(rows) => Ok(rows),
            Value::Scalar(_) => Err(Fault::bad_data("query: a number where a vector is expected")),
        }
    }

    fn binary(&mut self, binary: &Binary) -> Result<Value, Fault> {
        let (left, right) = (self.value(&binary.left)?, self.value(&binary.right)?);
        let rows = match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                // Between numbers, a comparison gives 0 or 1.
                let value = |(left, right)| apply(binary.operator, true, left, right).unwrap_or(f64::NAN);
                return Ok(Value::Scalar(pairs.map(value).collect()));
            }
            (Value::Vector(rows), Value::Scalar(numbers)) => with_numbers(binary, rows, &numbers, false),
            (Value::Scalar(numbers), Value::Vector(rows)) => with_numbers(binary, rows, &numbers, true),
            (Value::Vector(left), Value::Vector(right)) => {
                self.reserve(left.len().max(right.len()))?;
                between_rows(binary, &left, &right)?
            }
        };
        unique(rows).map(Value::Vector)
    }

    /// The newest sample of each instant.
    fn instant(&mut self, selector: usize) -> Result<Vec<Row>, Fault> {
        let Self { query, data, instants, .. } = *self;
        let (selector, streams) = (&query.selectors[selector], &data[selector]);
        self.reserve(streams.len())?;
        let row = |stream: &Stream| {
            let newest = |instant: i64| {
                let end = instant.saturating_sub(selector.offset);
                let window = stream.samples.within(end.saturating_sub(LOOKBACK), end);
                window.last().map(|newest| stream.samples.values[newest])
            };
            Row { labels: stream.labels.clone(), values: instants.iter().map(newest).collect() }
        };
        unique(streams.iter().map(row).filter(Row::has_values).collect())
    }

    fn over_time(
        &mut self,
        function: OverTime,
        selector: usize,
        parameters: &[f64],
    ) -> Result<Vec<Row>, Fault> {
        let Self { query, data, instants, .. } = *self;
        let (selector, streams) = (&query.selectors[selector], &data[selector]);
        self.reserve(streams.len().max(1))?;
        let mut rows = vec![];
        for Stream { labels, samples } in streams {
            let windowed = Windowed::new(samples);
            let mut values = Vec::with_capacity(instants.count);
            for (instant, parameter) in instants.iter().zip(parameters) {
                let (from, to) = selector.span(instant);
                let (value, reads) = windowed.value(function, *parameter, Span { from, to });
                self.read(reads)?;
                values.push(value);
            }
            // Only the last sample is still one of its metric.
            let labels = if function == OverTime::Last { labels.clone() } else { labels.without_name() };
            rows.push(Row { labels, values });
        }
        if function == OverTime::Absent {
            return Ok(absent(selector, &rows, instants.count));
        }
        unique(rows.into_iter().filter(Row::has_values).collect())
    }

    /// The samples of a window.
    fn samples(&mut self, selector: usize) -> Result<Answer, Fault> {
        let (selector, streams) = (&self.query.selectors[selector], &self.data[selector]);
        let (from, to) = selector.span(self.instants.start);
        let mut found = vec![];
        for Stream { labels, samples } in streams {
            let window = samples.within(from, to);
            self.values += window.len();
            if self.values > MAX_VALUES {
                return Err(too_many_values());
            }
            if !window.is_empty() {
                found.push((
                    labels.clone(),
                    window.map(|place| (samples.time(place), samples.values[place])).collect(),
                ));
            }
        }
        Ok(Answer::Samples(found))
    }

    /// Counts the values of rows before they are computed.
    fn reserve(&mut self, rows: usize) -> Result<(), Fault> {
        self.values = self.values.saturating_add(rows.saturating_mul(self.instants.count));
        if self.values > MAX_VALUES { Err(too_many_values()) } else { Ok(()) }
    }

    fn read(&mut self, samples: usize) -> Result<(), Fault> {
        self.reads += samples;
        if self.reads <= MAX_READS {
            return Ok(());
        }
        let text = format!(
            "the windows of the query read more than {MAX_READS} samples: ask for fewer keys, shorter windows, a longer step"
        );
        Err(Fault::execution(text))
    }
}

fn too_many_values() -> Fault {
    let text = format!(
        "the query computes more than {MAX_VALUES} values: ask for fewer keys, a longer step or a shorter range"
    );
    Fault::execution(text)
}

fn negated(mut row: Row) -> Row {
    row.labels = row.labels.without_name();
    row.values.iter_mut().flatten().for_each(|value| *value = -*value);
    row
}

/// One row where no row has a value, with the labels that the selector names.
fn absent(selector: &Selector, rows: &[Row], instants: usize) -> Vec<Row> {
    let labels = selector.matchers.iter().filter(|matcher| matches!(matcher.op, super::MatchOp::Equal));
    let labels =
        Labels::new(labels.map(|matcher| (matcher.name.as_str(), matcher.value.as_str()))).without_name();
    let is_absent = |instant: usize| rows.iter().all(|row| row.values[instant].is_none());
    let row =
        Row { labels, values: (0..instants).map(|instant| is_absent(instant).then_some(1.0)).collect() };
    if row.has_values() { vec![row] } else { vec![] }
}

/// Refuses two rows with the same labels: without the names of their metrics they cannot be told apart.
fn unique(rows: Vec<Row>) -> Result<Vec<Row>, Fault> {
    let mut known = BTreeSet::new();
    match rows.iter().find(|row| !known.insert(&row.labels)) {
        Some(row) => Err(Fault::execution(format!(
            "vector cannot contain metrics with the same labelset: {}",
            row.labels
        ))),
        None => Ok(rows),
    }
}

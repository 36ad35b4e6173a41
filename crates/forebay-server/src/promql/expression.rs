//! Expressions: what a query computes.

use promql_parser::label::Matcher;

/// The time before an instant in which its sample is looked for, in milliseconds.
pub(crate) const LOOKBACK: i64 = 5 * 60 * 1_000;

/// A query, and the samples that it needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(super) root: Expression,
    /// The selectors, which expressions name by their position. All are different.
    pub(crate) selectors: Vec<Selector>,
}

/// A part of a query that reads samples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    /// Conditions on the labels, with that on the name.
    pub(crate) matchers: Vec<Matcher>,
    /// By how much earlier samples are read, in milliseconds.
    pub(crate) offset: i64,
    pub(crate) window: Window,
}

/// The time before an instant of which samples are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The newest sample of the last 5 minutes.
    Lookback,
    /// All samples of so many milliseconds.
    Range(i64),
}

impl Selector {
    /// The samples that an evaluation at `instant` reads: those after the first time, up to the second one.
    pub(crate) fn span(&self, instant: i64) -> (i64, i64) {
        let end = instant.saturating_sub(self.offset);
        let length = match self.window {
            Window::Lookback => LOOKBACK,
            Window::Range(length) => length,
        };
        (end.saturating_sub(length), end)
    }
}

/// An expression. A selector is a position in [`Query::selectors`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number(f64),
    /// The value of each instant.
    Instant(usize),
    /// All samples of a window. Only a query as a whole has this form.
    Range(usize),
    OverTime {
        function: OverTime,
        selector: usize,
        /// The quantile.
        parameter: Option<Box<Self>>,
    },
    Negation(Box<Self>),
    Aggregation {
        operator: Aggregate,
        /// The number of rows of `topk`.
        parameter: Option<Box<Self>>,
        grouping: Grouping,
        of: Box<Self>,
    },
    Binary(Box<Binary>),
}

/// Two operands. Only a comparison can be a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binary {
    pub(super) operator: Operator,
    /// Whether a comparison gives 0 or 1, rather than filtering the left operand.
    pub(super) as_number: bool,
    pub(super) matching: Matching,
    pub(super) left: Expression,
    pub(super) right: Expression,
}

/// A function of the samples of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverTime {
    Rate,
    Increase,
    Sum,
    Average,
    Min,
    Max,
    Count,
    Last,
    Present,
    Absent,
    StandardDeviation,
    Variance,
    Quantile,
}

/// The functions by name.
pub(super) const FUNCTIONS: [(&str, OverTime); 13] = [
    ("rate", OverTime::Rate),
    ("increase", OverTime::Increase),
    ("sum_over_time", OverTime::Sum),
    ("avg_over_time", OverTime::Average),
    ("min_over_time", OverTime::Min),
    ("max_over_time", OverTime::Max),
    ("count_over_time", OverTime::Count),
    ("last_over_time", OverTime::Last),
    ("present_over_time", OverTime::Present),
    ("absent_over_time", OverTime::Absent),
    ("stddev_over_time", OverTime::StandardDeviation),
    ("stdvar_over_time", OverTime::Variance),
    ("quantile_over_time", OverTime::Quantile),
];

/// An aggregation over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
    Count,
    Top,
    Bottom,
}

/// The aggregations by name.
pub(super) const AGGREGATIONS: [(&str, Aggregate); 7] = [
    ("sum", Aggregate::Sum),
    ("avg", Aggregate::Average),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("count", Aggregate::Count),
    ("topk", Aggregate::Top),
    ("bottomk", Aggregate::Bottom),
];

/// The labels by which rows are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The operators as they are written.
pub(super) const OPERATORS: [(&str, Operator); 13] = [
    ("+", Operator::Add),
    ("-", Operator::Subtract),
    ("*", Operator::Multiply),
    ("/", Operator::Divide),
    ("%", Operator::Modulo),
    ("^", Operator::Power),
    ("atan2", Operator::Atan2),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
];

impl Operator {
    pub(super) fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual)
    }
}

/// The rows of two vectors that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matching {
    /// The labels that are compared. The name of the metric is never one of `Without`.
    pub(super) labels: Grouping,
    pub(super) many: Many,
}

/// The side that may have several rows for one of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Many {
    Neither,
    /// `group_left`, with labels that are taken from the right.
    Left(Vec<String>),
    /// `group_right`, with labels that are taken from the left.
    Right(Vec<String>),
}

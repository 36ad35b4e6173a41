//! The steps of a transaction.
//!
//! A database implements the steps on its own connection. Everything that decides what a batch, a move or a replay does is
//! written once, over these steps.

use forebay::{Timestamp, buffer::Schema};

use super::{
    bindings::{Bindings, Parameters},
    codec::Cell,
    ddl::MOVES,
    dialect::Dialect,
    error::StepError,
    plan::{MergeMode, Plan},
    statement,
    table::Table,
};

/// The result of a step that may find a reason why the sink cannot go on.
pub(crate) type Checked<T> = Result<T, StepError>;

/// The plan for a transaction.
pub(crate) type PlanFor<T> = Plan<<T as Transaction>::Dialect>;

/// The future of a step.
pub(crate) trait Step<T, E = sqlx::Error>: Future<Output = Result<T, E>> + Send {}

impl<T, E, F: Future<Output = Result<T, E>> + Send> Step<T, E> for F {}

/// A row of texts. NULL is `None`.
pub(crate) type TextRow = Vec<Option<String>>;

/// An open transaction. It is rolled back when it is dropped.
pub(crate) trait Transaction: Send + Sized {
    type Dialect: Dialect;

    /// When it began, for rows that record that.
    fn now(&self) -> Timestamp;

    /// How many of `left` rows one statement takes, at least 1.
    fn rows_per_statement(left: usize) -> usize;

    /// Runs a statement; returns how many rows it affected.
    fn execute(&mut self, sql: String, bindings: Bindings<'_, Self::Dialect>) -> impl Step<u64>;

    /// Runs a query whose columns are all texts.
    fn query(&mut self, sql: String, bindings: Bindings<'_, Self::Dialect>) -> impl Step<Vec<TextRow>>;

    /// Runs an `INSERT` of one row; returns false if its key exists. Waits while another transaction is about to insert it.
    fn insert_new(&mut self, sql: String, parameters: Parameters<Self::Dialect>) -> impl Step<bool>;

    /// Runs statements without parameters.
    fn run(&mut self, script: String) -> impl Step<()>;

    /// Prepares a statement and does not run it.
    fn prepare(&mut self, sql: String) -> impl Step<()>;

    /// Makes transactions that create tables take turns, where `IF NOT EXISTS` fails for two at once.
    fn before_create(&mut self) -> impl Step<()> {
        async { Ok(()) }
    }

    /// Checks what the server can do.
    fn check_server(&mut self) -> impl Step<(), StepError> {
        async { Ok(()) }
    }

    /// Checks what only this database knows about a table and the plan for it; returns warnings for an operator.
    fn check_table(
        &mut self,
        schema: &Schema,
        table: &Table,
        plan: &PlanFor<Self>,
    ) -> impl Step<Vec<String>, StepError>;

    /// Merges rows by one statement, wholly or not at all.
    fn merge_rows(&mut self, plan: &PlanFor<Self>, mode: MergeMode, rows: &[Encoded]) -> impl Step<Outcome> {
        async move {
            let sql = statement::merge(plan, mode, rows.len());
            let reached = self.execute(sql, encoded(plan, mode, rows)).await?;
            Ok(Outcome::counted(reached, mode, rows.len()))
        }
    }

    /// Whether any row of the buffer was moved. From now on, until this transaction ends, none is.
    fn any_moved(&mut self, plan: &PlanFor<Self>, buffer: &str) -> impl Step<bool> {
        let mut bind = Parameters::<Self::Dialect>::new();
        let moves = Self::Dialect::own(&plan.place, MOVES);
        let sql = format!("SELECT buffer FROM {moves} WHERE buffer = {} LIMIT 1", bind.text(buffer));
        async move { Ok(!self.query(sql, bind.into()).await?.is_empty()) }
    }

    /// Waits for the transactions that merge or move rows of the buffer. From now on, until this one ends, none does.
    fn exclude_merges(&mut self, plan: &PlanFor<Self>, buffer: &str) -> impl Step<()> {
        let _ = (plan, buffer);
        async { Ok(()) }
    }

    /// Takes the lock that a batch's entry in the ledger takes, for a transaction that merges rows without such an entry.
    fn lock_as_merge(&mut self, plan: &PlanFor<Self>) -> impl Step<()> {
        let _ = plan;
        async { Ok(()) }
    }

    /// Whether the database may answer a commit before it is durable, because somebody ended its waiting.
    fn may_be_cut_short(&self) -> bool {
        false
    }

    fn commit(self) -> impl Step<()>;
    fn rollback(self) -> impl Step<()>;
}

/// The result of a statement that merges rows.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All rows are merged.
    Merged {
        /// How many rows of the table were reached.
        rows: u64,
        /// The indexes of the rows that the table does not have; empty unless the mode asks.
        unreached: Vec<usize>,
    },
    /// No row is merged. A row is refused for this reason; `None`: a row was not reached.
    Refused(Option<String>),
}

impl Outcome {
    /// The outcome of a statement that only counts the rows it reached.
    pub(crate) fn counted(reached: u64, mode: MergeMode, rows: usize) -> Self {
        // A trigger left rows out. Trying fewer rows at once finds them.
        if mode.all && reached < rows as u64 {
            return Self::Refused(None);
        }
        Self::Merged { rows: reached, unreached: vec![] }
    }
}

/// Which of `rows` rows are among those that a statement answered, counted from 1.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn reached(answered: Vec<TextRow>, rows: usize) -> Vec<bool> {
    let mut reached = vec![false; rows];
    let numbers =
        answered.into_iter().filter_map(|row| row.into_iter().next().flatten()?.parse::<usize>().ok());
    for number in numbers {
        if let Some(reached) = number.checked_sub(1).and_then(|index| reached.get_mut(index)) {
            *reached = true;
        }
    }
    reached
}

/// The indexes of the rows that were not reached.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn unreached(reached: &[bool]) -> Vec<usize> {
    (0..reached.len()).filter(|index| !reached[*index]).collect()
}

/// A row with encoded cells.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Its index among the rows of the batch.
    pub(crate) index: usize,
    pub(crate) cells: Vec<Cell>,
}

/// The bindings of a statement that merges rows.
pub(crate) fn encoded<'a, D: Dialect>(
    plan: &'a Plan<D>,
    mode: MergeMode,
    rows: impl IntoIterator<Item = &'a Encoded>,
) -> Bindings<'a, D> {
    let rows = rows.into_iter().map(|row| &*row.cells).collect();
    Bindings::Rows { codecs: plan.codecs(mode.columns).collect(), rows }
}

/// The bindings of a statement about one key.
pub(crate) fn one_key<'a, D: Dialect>(plan: &'a Plan<D>, key: &'a [Cell]) -> Bindings<'a, D> {
    Bindings::Rows { codecs: plan.codecs(0).collect(), rows: vec![key] }
}

/// Splits a row into texts that are not NULL.
pub(crate) fn texts<const N: usize>(row: TextRow) -> sqlx::Result<[String; N]> {
    let texts: Option<Vec<String>> = row.into_iter().collect();
    let texts = texts.and_then(|texts| <[String; N]>::try_from(texts).ok());
    texts.ok_or_else(|| sqlx::Error::Decode("a column is missing or NULL".into()))
}

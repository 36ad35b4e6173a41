//! Merging rows into the buffer.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::handle::{BufferHandle, Inner};
use crate::{
    engine::{Joined, elsewhere::was_not_sent, step::BufferPart},
    error::{Error, ErrorKind, Result},
    model::{Pressure, Row},
    once::{Place, RequestItem},
};

impl BufferHandle {
    /// Merges many rows. An error of one row does not stop the others.
    ///
    /// # Errors
    /// Each row has its own result, in the order of `rows`: as awaiting a [`Write`](crate::buffer::Write).
    ///
    /// # Cost
    /// One round trip, shared with other calls; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let rows = ["1", "2"].map(|id| projects.row(id).add("hits", 1).into_row().expect("fits the definition"));
    /// assert!(projects.add_rows(rows.into()).await.iter().all(Result::is_ok));
    /// assert_eq!(projects.stats().await?.pending_rows, 2);
    /// # Ok(()) }
    /// ```
    pub async fn add_rows(&self, rows: Vec<Row>) -> Vec<Result<()>> {
        let schema = &self.0.schema;
        if let Err(error) = self.admit().await {
            return vec![Err(error); rows.len()];
        }
        let mut answers: Vec<Option<Result<()>>> = vec![None; rows.len()];
        let mut waiting = vec![];
        for (i, row) in rows.into_iter().enumerate() {
            let named = schema.check_named(|column| row.cells.get(column).is_some_and(Option::is_some));
            match named {
                Ok(()) => waiting.push((i, self.part_of(&row.key).index, row)),
                Err(error) => answers[i] = Some(Err(error)),
            }
        }
        let mut alternative = 0;
        while !waiting.is_empty() {
            let spare = if self.has_alternatives() { waiting.clone() } else { vec![] };
            self.add_to_parts(waiting, &mut answers).await;
            let unsent = |i: usize| matches!(&answers[i], Some(Err(error)) if was_not_sent(error));
            let elsewhere = |(i, _, row): (usize, u16, Row)| {
                let index = *self.alternatives(&row.key).get(alternative)?;
                Some((i, index, row))
            };
            waiting = spare.into_iter().filter(|(i, ..)| unsent(*i)).filter_map(elsewhere).collect();
            alternative += 1;
        }
        self.0.progress.note_written(answers.iter().flatten().filter(|answer| answer.is_ok()).count());
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing_answer()))).collect()
    }

    /// Merges rows into the partitions beside them. The first number of each is the place of its answer.
    async fn add_to_parts(&self, rows: Vec<(usize, u16, Row)>, answers: &mut [Option<Result<()>>]) {
        let mut by_part: BTreeMap<u16, (Vec<usize>, Vec<Row>)> = BTreeMap::new();
        for (i, index, row) in rows {
            let (places, rows) = by_part.entry(index).or_default();
            places.push(i);
            rows.push(row);
        }
        let adds = by_part.into_iter().map(async |(index, (places, rows))| {
            (places, self.0.store.engine().buffer_add(&self.part(index), rows).await)
        });
        for (places, answer) in futures::future::join_all(adds).await {
            match answer {
                Ok(each) => places.into_iter().zip(each).for_each(|(i, answer)| answers[i] = Some(answer)),
                Err(error) => places.into_iter().for_each(|i| answers[i] = Some(Err(error.clone()))),
            }
        }
    }

    /// Merges a row as an item of a request that is [carried out once](crate::Forebay::once): by one of its attempts.
    ///
    /// # Errors
    /// As awaiting a [`Write`](crate::buffer::Write); [`ErrorKind::Ambiguous`] with [`Retry::Never`](crate::Retry::Never) when
    /// it can no longer be known whether an earlier attempt merged the row.
    pub async fn add_once(&self, item: &RequestItem, row: Row) -> Result<()> {
        self.0.schema.check_row(&row)?;
        if item.is_applied(&Place::Buffer(self.part_once(item, &row.key)?)).await? {
            return Ok(());
        }
        self.add_part(item, 0, row).await
    }

    /// Merges a row as a part of an item.
    pub(crate) async fn add_part(&self, item: &RequestItem, nth: usize, row: Row) -> Result<()> {
        self.admit().await?;
        let part = self.part_once(item, &row.key)?;
        let answer = item.merge(nth, part, row).await;
        self.0.progress.note_written(usize::from(answer.is_ok()));
        answer
    }

    /// Adds a row to the next batch for its partition. An engine without batches returns the row.
    pub(super) fn join_batch(
        self,
        row: Row,
        waker: &Waker,
    ) -> ControlFlow<(Self, Row), Result<BatchedWrite>> {
        let Inner { store, schema, .. } = &*self.0;
        if !store.engine().gathers_rows() {
            return ControlFlow::Break((self, row));
        }
        if let Err(error) = self.admit_now() {
            return ControlFlow::Continue(Err(error));
        }
        match store.engine().buffer_join((schema, schema.partition_of(&row.key)), row, waker) {
            ControlFlow::Continue(joined) => {
                ControlFlow::Continue(joined.map(|joined| BatchedWrite { buffer: self, joined }))
            }
            ControlFlow::Break(row) => ControlFlow::Break((self, row)),
        }
    }

    /// Merges one row by a call of its own.
    pub(super) async fn add_one(&self, row: Row) -> Result<()> {
        self.admit().await?;
        let spare = self.has_alternatives().then(|| row.clone());
        let answer = match (self.add_to_part(self.part_of(&row.key), row).await, spare) {
            (Err(error), Some(row)) if was_not_sent(&error) => {
                // Boxed: it is rare.
                Box::pin(self.add_elsewhere(row, error)).await
            }
            (answer, _) => answer,
        };
        self.0.progress.note_written(usize::from(answer.is_ok()));
        answer
    }

    async fn add_to_part(&self, part: BufferPart, row: Row) -> Result<()> {
        let answers = self.0.store.engine().buffer_add(&part, vec![row]).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(missing_answer()))
    }

    /// Merges a row that was not sent, since its host is down, into a partition of another host.
    async fn add_elsewhere(&self, row: Row, error: Error) -> Result<()> {
        for index in self.alternatives(&row.key) {
            match self.add_to_part(self.part(index), row.clone()).await {
                Err(error) if was_not_sent(&error) => {}
                answer => return answer,
            }
        }
        Err(error)
    }

    /// Refuses a write while too much waits for the sink. The pressure is known as of at most a second ago.
    async fn admit(&self) -> Result<()> {
        if self.0.store.engine().is_in_process() && self.is_pressure_outdated() {
            // Boxed: its kilobytes would otherwise be moved with every write. If it fails, the last pressure counts.
            let _ = Box::pin(self.stats()).await;
        }
        self.admit_now()
    }

    /// [`admit`](Self::admit) without waiting: a refresh that is due runs in the background.
    fn admit_now(&self) -> Result<()> {
        let Inner { store, schema, admission, .. } = &*self.0;
        if !store.engine().is_in_process() && self.is_pressure_outdated() {
            // If the store does not answer, the write itself fails.
            let buffer = self.clone();
            tokio::spawn(async move { buffer.stats().await.map(drop) });
        }
        if admission.pressure() < Pressure::Hard {
            return Ok(());
        }
        let (name, bounds) = (&schema.name, schema.bounds);
        let text = format!("buffer {name}: too much waits for the database: {bounds}");
        Err(Error::new(ErrorKind::Overloaded, text))
    }

    fn is_pressure_outdated(&self) -> bool {
        self.0.admission.is_due(self.0.store.clock().coarse())
    }
}

/// A row that is sent in a batch with others.
#[derive(Debug)]
pub(super) struct BatchedWrite {
    buffer: BufferHandle,
    joined: Joined,
}

impl Future for BatchedWrite {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.joined).poll(context));
        self.buffer.0.progress.note_written(usize::from(answer.is_ok()));
        Poll::Ready(answer)
    }
}

/// An engine answers each row. If it did not, that is a defect of the engine, and the row may have been merged.
pub(super) fn missing_answer() -> Error {
    Error::new(ErrorKind::Ambiguous, "buffer write: the store gave fewer answers than rows")
}

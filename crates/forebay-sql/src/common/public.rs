//! What the public types have in common: methods and the `Sink` trait, handed on to the one sink.

/// Gives a type `struct Name(SqlSink<..>)` the methods of every sink.
macro_rules! public_sink {
    ($name:ident, $dialect:ty) => {
        const _: () = {
            use std::{fmt, time::Duration};

            use forebay::{
                buffer::{RowKey, Schema},
                sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, Sink, SinkError, Snapshot},
            };
            use uuid::Uuid;

            use crate::{
                Options, Totals,
                common::{ddl, fit::check_buffer},
            };

            impl $name {
                /// A sink with the same connections and other options.
                #[must_use = "the sink it is called on keeps its options"]
                pub fn with(&self, options: Options) -> Self {
                    Self(self.0.with(options))
                }

                /// The statements that create what a buffer needs, for who does so by hand.
                pub fn ddl(schema: &Schema) -> String {
                    ddl::script::<$dialect>(schema, &ddl::named_place::<$dialect>(schema))
                }

                /// Checks a buffer without opening anything, as [`check`](Self::check) does a URL: what a configuration is
                /// checked by, and what [`prepare`](forebay::sink::Sink::prepare) checks first.
                ///
                /// # Errors
                /// [`ErrorKind::Configuration`](forebay::ErrorKind::Configuration) for a table that a buffer cannot have,
                /// or columns that are one to the database.
                pub fn check_buffer(schema: &Schema) -> forebay::Result<()> {
                    let configuration = |why| forebay::Error::new(forebay::ErrorKind::Configuration, why);
                    check_buffer::<$dialect>(schema).map_err(configuration)
                }

                /// Forgets the batches that were applied longer ago than the ledger's retention, except the newest 1 000: a
                /// clock that jumps ahead must not take what was applied a moment ago. Returns how many. Looks at the ledgers
                /// beside the tables that were prepared.
                ///
                /// Happens by itself when a buffer is prepared, and every hour while batches come.
                ///
                /// # Errors
                /// [`SinkError::Transient`](forebay::sink::SinkError::Transient) if the database does not take it now.
                ///
                /// # Cancellation
                /// What was pruned so far stays so.
                pub async fn prune(&self) -> Result<u64, SinkError> {
                    self.0.prune().await
                }

                /// Counts the rows of a buffer's table and adds up its `sum` columns, in one snapshot: for checks and reports.
                ///
                /// # Errors
                /// [`SinkError::Permanent`](forebay::sink::SinkError::Permanent) for a table that does not fit the buffer, or a
                /// sum that would leave 64 bits; [`SinkError::Transient`](forebay::sink::SinkError::Transient) if the database
                /// does not answer now.
                ///
                /// # Cost
                /// Reads the whole table.
                pub async fn totals(&self, schema: &Schema) -> Result<Totals, SinkError> {
                    self.0.totals(schema).await
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl Sink for $name {
                fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
                    Box::pin(self.0.prepare(schema))
                }

                fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
                    Box::pin(self.0.apply(batch))
                }

                fn read<'a>(
                    &'a self,
                    schema: &'a Schema,
                    row: &'a RowKey,
                    ids: &'a [Uuid],
                ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
                    Box::pin(self.0.read(schema, row, ids))
                }

                fn ledger_retention(&self) -> Option<Duration> {
                    Some(self.0.ledger_retention())
                }

                fn dead_letters<'a>(
                    &'a self,
                    schema: &'a Schema,
                    after: u64,
                    limit: u32,
                ) -> BoxFuture<'a, Result<Vec<DeadLetter>, SinkError>> {
                    Box::pin(self.0.list_dead(schema, after, limit))
                }

                fn count_dead<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<u64, SinkError>> {
                    Box::pin(self.0.count_dead(schema))
                }

                fn replay_dead<'a>(
                    &'a self,
                    schema: &'a Schema,
                    ids: &'a [u64],
                ) -> BoxFuture<'a, Result<Replayed, SinkError>> {
                    Box::pin(self.0.replay_dead(schema, ids))
                }

                fn move_row<'a>(
                    &'a self,
                    schema: &'a Schema,
                    from: &'a RowKey,
                    to: &'a RowKey,
                ) -> BoxFuture<'a, Result<RowKey, SinkError>> {
                    Box::pin(self.0.move_row(schema, from, to))
                }

                fn warnings(&self) -> Vec<String> {
                    self.0.warnings()
                }

                fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
                    Box::pin(self.0.ping())
                }
            }
        };
    };
}

pub(crate) use public_sink;

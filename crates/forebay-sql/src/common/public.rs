//! The methods that all public types have, and the `Sink` trait. Both delegate to the one sink.
//!
//! Futures are boxed, so that what is behind them, the driver included, is compiled in this crate. An `async fn` is compiled in
//! each crate that awaits it.

/// Implements the methods of every sink for a type `struct Name(Session<..>)`.
macro_rules! public_sink {
    ($name:ident, $dialect:ty) => {
        const _: () = {
            use std::{fmt, time::Duration};

            use forebay::{
                buffer::{RowKey, Schema},
                sink::{Answer, Applied, Batch, DeadLetter, Replayed, Sink, Snapshot},
            };
            use uuid::Uuid;

            use crate::{
                Options, Totals,
                common::{ddl, fit::check_buffer},
            };

            impl $name {
                /// Returns a sink with the same connections and other options.
                #[must_use = "the sink itself keeps its options"]
                pub fn with(&self, options: Options) -> Self {
                    Self(self.0.with(options))
                }

                /// Returns the statements that create the tables of a buffer, to run them by hand.
                ///
                /// # Examples
                /// ```
                /// # use forebay::Buffer;
                #[doc = concat!("use forebay_sql::", stringify!($name), ";")]
                /// let schema = Buffer::new("projects").key("id").sum("hits").build()?;
                #[doc = concat!("assert!(", stringify!($name), "::ddl(&schema).contains(\"forebay_ledger\"));")]
                /// # Ok::<(), forebay::Error>(())
                /// ```
                pub fn ddl(schema: &Schema) -> String {
                    ddl::script::<$dialect>(schema, &ddl::named_place::<$dialect>(schema))
                }

                /// Checks a buffer without connecting, for the check of a configuration.
                /// [`prepare`](forebay::sink::Sink::prepare) checks the same first.
                ///
                /// # Errors
                /// [`ErrorKind::Configuration`](forebay::ErrorKind::Configuration) for a table that a buffer cannot have,
                /// or columns that are the same to the database.
                ///
                /// # Examples
                /// ```
                /// # use forebay::Buffer;
                #[doc = concat!("use forebay_sql::", stringify!($name), ";")]
                /// let schema = Buffer::new("p").table("forebay_ledger").key("id").sum("hits").build()?;
                #[doc = concat!("assert!(", stringify!($name), "::check_buffer(&schema).is_err());")]
                /// # Ok::<(), forebay::Error>(())
                /// ```
                pub fn check_buffer(schema: &Schema) -> forebay::Result<()> {
                    let configuration = |why| forebay::Error::new(forebay::ErrorKind::Configuration, why);
                    check_buffer::<$dialect>(schema).map_err(configuration)
                }

                /// Removes the entries of batches that were applied longer ago than the ledger's retention. Keeps the newest
                /// 1 000, so that a clock that jumps ahead does not remove recent ones. Returns how many it removed. Looks at the
                /// ledgers beside the tables that were prepared.
                ///
                /// A sink prunes by itself when a buffer is prepared, and every hour while batches come.
                ///
                /// # Errors
                /// [`SinkError::Transient`](forebay::sink::SinkError::Transient) if the database does not answer now.
                ///
                /// # Cancellation
                /// Entries that were removed stay removed.
                pub fn prune(&self) -> Answer<'_, u64> {
                    Box::pin(self.0.prune())
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
                pub fn totals<'a>(&'a self, schema: &'a Schema) -> Answer<'a, Totals> {
                    Box::pin(self.0.totals(schema))
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl Sink for $name {
                fn prepare<'a>(&'a self, schema: &'a Schema) -> Answer<'a, ()> {
                    Box::pin(self.0.prepare(schema))
                }

                fn apply<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Applied> {
                    Box::pin(self.0.apply(batch))
                }

                fn read<'a>(
                    &'a self,
                    schema: &'a Schema,
                    row: &'a RowKey,
                    ids: &'a [Uuid],
                ) -> Answer<'a, Snapshot> {
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
                ) -> Answer<'a, Vec<DeadLetter>> {
                    Box::pin(self.0.list_dead(schema, after, limit))
                }

                fn count_dead<'a>(&'a self, schema: &'a Schema) -> Answer<'a, u64> {
                    Box::pin(self.0.count_dead(schema))
                }

                fn replay_dead<'a>(
                    &'a self,
                    schema: &'a Schema,
                    ids: &'a [u64],
                ) -> Answer<'a, Replayed> {
                    Box::pin(self.0.replay_dead(schema, ids))
                }

                fn move_row<'a>(
                    &'a self,
                    schema: &'a Schema,
                    from: &'a RowKey,
                    to: &'a RowKey,
                ) -> Answer<'a, RowKey> {
                    Box::pin(self.0.move_row(schema, from, to))
                }

                fn warnings(&self) -> Vec<String> {
                    self.0.warnings()
                }

                fn ping(&self) -> Answer<'_, ()> {
                    Box::pin(self.0.ping())
                }
            }
        };
    };
}

pub(crate) use public_sink;

//! The buffers that a store holds, also those that nobody defines.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;

use crate::{
    engine::{Engine, step::BufferPart},
    error::Result,
    key::Name,
    model::{Buffer, Schema},
};

/// The size and age of a buffer in the store.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::{Buffer, Forebay};
/// # let bay = Forebay::open("memory:").await?;
/// # let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// projects.row("42").add("hits", 1).await?;
/// let stored = bay.stored_buffers().await?;
/// assert_eq!((stored[0].name.as_str(), stored[0].pending_rows), ("projects", 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredBuffer {
    /// Its name.
    pub name: Name,
    /// Rows that are not in a database yet, as far as the store knows.
    pub pending_rows: u64,
    /// The age of the oldest of them.
    pub oldest_age: Duration,
}

impl StoredBuffer {
    pub(crate) async fn find(engine: &Engine) -> Result<Vec<Self>> {
        let mut parts = vec![];
        let stored = engine.buffer_parts().await?;
        if let Some(failure) = stored.failure {
            return Err(failure);
        }
        for (name, index) in stored.found {
            parts.push(BufferPart { schema: any_schema(&name)?, index });
        }
        let sizes = join_all(parts.iter().map(|part| engine.buffer_stats(part))).await;
        let mut found: BTreeMap<Name, Self> = BTreeMap::new();
        for (part, size) in parts.iter().zip(sizes) {
            let (name, size) = (&part.schema.name, size?);
            let empty = || Self { name: name.clone(), pending_rows: 0, oldest_age: Duration::ZERO };
            let stored = found.entry(name.clone()).or_insert_with(empty);
            stored.pending_rows += size.rows();
            stored.oldest_age = stored.oldest_age.max(size.age());
        }
        Ok(found.into_values().collect())
    }
}

/// A definition to ask a store for sizes with: they do not depend on the columns.
fn any_schema(name: &Name) -> Result<Arc<Schema>> {
    Buffer::new(name.as_str()).table("unknown").key("key").sum("value").build()
}

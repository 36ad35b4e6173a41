//! The keys of one partition.

use crate::{
    engine::step::{KeyRange, SeriesPart, SummaryPart},
    error::Result,
    model::summary::SummaryKind,
    store::Store,
    time::Timestamp,
};

/// The first keys of a range that a partition has: of hits, or of summaries.
pub(super) async fn list_keys(
    store: &Store,
    summaries: Option<SummaryKind>,
    part: &SeriesPart,
    range: &KeyRange<'_>,
    now: Timestamp,
) -> Result<Vec<String>> {
    match summaries {
        Some(kind) => store.engine().summary_list(SummaryPart { kind, part }, range, now).await,
        None => store.engine().series_list(part, range, now).await,
    }
}

//! Reads of summaries on a Redis host, and of the keys that have any.

use super::super::{Redis, reply::foreign_key};
use crate::{
    engine::step::{KeyRange, Span, Summaries, SummaryPart},
    error::Result,
    model::resolution::Resolution,
    time::Timestamp,
};

impl Redis {
    /// One pipeline, with a command for each key of the store.
    pub(crate) async fn summary_read(
        &self,
        series: SummaryPart<'_>,
        spans: &[Span<'_>],
    ) -> Result<Vec<Summaries>> {
        let kind = series.kind;
        let mut names = vec![];
        for (number, span) in spans.iter().enumerate().filter(|(_, span)| span.from < span.to) {
            for place in kind.place(span.from)..=kind.place(span.to - 1) {
                names.push((number, place, self.keys.summary(series, span.resolution, place, span.key)));
            }
        }
        let mut found: Vec<Summaries> = vec![vec![]; spans.len()];
        if names.is_empty() {
            return Ok(found);
        }
        let commands = names.iter().map(|(.., name)| kind.read(name)).collect();
        let answers = self.host.read_all(commands).await?;
        for ((number, place, name), answer) in names.into_iter().zip(answers) {
            let Some(summaries) = kind.summaries(place, answer) else {
                let stored_as = kind.stored_as().into();
                return Err(foreign_key(self.host.name(), &self.keys, name.as_bytes(), stored_as));
            };
            let span = &spans[number];
            let within = |(bucket, _): &(i64, _)| (span.from..span.to).contains(bucket);
            found[number].extend(summaries.into_iter().filter(within));
        }
        Ok(found)
    }

    /// The keys in the lists, without those whose last summary has expired.
    pub(crate) async fn summary_list(
        &self,
        series: SummaryPart<'_>,
        range: &KeyRange<'_>,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let Some(coarsest) = series.part.grid.resolutions.last().copied() else { return Ok(vec![]) };
        let mut found: Vec<String> = vec![];
        let mut after = range.after.map(str::to_owned);
        loop {
            let rest = KeyRange { after: after.as_deref(), ..*range };
            let (page, is_last) = self.listed_keys(series.part, coarsest, &rest, now).await?;
            after = page.last().map(|(key, _)| key.clone());
            found.extend(self.keys_with_summaries(series, coarsest, page, now).await?);
            if is_last || found.len() >= range.most {
                found.truncate(range.most);
                return Ok(found);
            }
        }
    }

    /// Those of the keys that have a summary which is kept, in their order. Only those of the oldest list may have none.
    async fn keys_with_summaries(
        &self,
        series: SummaryPart<'_>,
        coarsest: Resolution,
        listed: Vec<(String, i64)>,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let first = coarsest.oldest_kept(now);
        let oldest = coarsest.place(first).0;
        let end = (oldest + 1) * coarsest.slots();
        let span = |(key, _): &(String, i64)| (key.clone(), first..end);
        let old: Vec<_> = listed.iter().filter(|(_, chunk)| *chunk == oldest).map(span).collect();
        let spans: Vec<Span<'_>> = old
            .iter()
            .map(|(key, buckets)| Span { key, resolution: coarsest, from: buckets.start, to: buckets.end })
            .collect();
        let mut summaries = vec![];
        // Few at a time: each may be large.
        for spans in spans.chunks(20) {
            summaries.extend(self.summary_read(series, spans).await?.iter().map(|found| !found.is_empty()));
        }
        let mut has_any = summaries.into_iter();
        let kept = listed.into_iter().filter(|(_, chunk)| *chunk != oldest || has_any.next() == Some(true));
        Ok(kept.map(|(key, _)| key).collect())
    }
}

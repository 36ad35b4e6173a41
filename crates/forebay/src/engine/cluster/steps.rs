//! The steps of the seam, each on the host that has its tag.

use std::{borrow::Cow, time::Duration};

use uuid::Uuid;

use super::engine::Cluster;
use crate::{
    engine::{
        notifier::Subscription,
        request::{Begin, ChargeToken, End, Known, Seen, Token},
        step::{
            Allotted, BufferPart, BufferStats, Claim, Claimed, Frozen, Generation, LeaseStep, Leases,
            LockState, PendingRow, Place, Point, Rotate, SeriesPart, Span, Take, Taken, TakenAll,
        },
    },
    error::Result,
    key::{Name, tag_text},
    model::{
        Row, RowKey,
        rate::allotments::{AllotmentRequest, Outstanding},
    },
    time::{Timestamp, When},
};

/// Does a step on the host of a tag.
macro_rules! at {
    ($cluster:expr, $tag:expr, $engine:ident => $step:expr) => {{
        let member = $cluster.member(&$tag);
        let guard = member.begin()?;
        let $engine = &member.engine;
        guard.end($step.await)
    }};
}

impl Cluster {
    pub(crate) async fn take(&self, take: Take<'_>, when: When) -> Result<Taken> {
        at!(self, limit_tag(&take), host => host.take(take, when))
    }

    pub(crate) async fn take_up_to(&self, take: Take<'_>, when: When) -> Result<(u64, Taken)> {
        at!(self, limit_tag(&take), host => host.take_up_to(take, when))
    }

    pub(crate) async fn take_all(&self, takes: &[Take<'_>], when: When) -> Result<TakenAll> {
        let tag = takes.first().map_or(Cow::Borrowed("-"), limit_tag);
        at!(self, tag, host => host.take_all(takes, when))
    }

    /// Whether one host has all of the keys.
    pub(crate) fn together(&self, takes: &[Take<'_>]) -> bool {
        let mut hosts = takes.iter().map(|take| self.number(&limit_tag(take)));
        let first = hosts.next();
        hosts.all(|host| Some(host) == first)
    }

    pub(crate) async fn refund(&self, take: Take<'_>, charged: Option<u64>, when: When) -> Result<Taken> {
        at!(self, limit_tag(&take), host => host.refund(take, charged, when))
    }

    pub(crate) async fn allot(
        &self,
        take: Take<'_>,
        request: AllotmentRequest,
        when: When,
    ) -> Result<Allotted> {
        at!(self, limit_tag(&take), host => host.allot(take, request, when))
    }

    pub(crate) async fn reset(&self, take: Take<'_>, when: When) -> Result<Outstanding> {
        at!(self, limit_tag(&take), host => host.reset(take, when))
    }

    pub(crate) async fn lease(&self, step: LeaseStep<'_>) -> Result<Leases> {
        at!(self, tag_text(step.key), host => host.lease(step))
    }

    pub(crate) async fn override_set(
        &self,
        limit: &Name,
        key: &str,
        instead: Option<&str>,
        mark: Uuid,
    ) -> Result<bool> {
        at!(self, OVERRIDES, host => host.override_set(limit, key, instead, mark))
    }

    pub(crate) async fn override_marks(&self) -> Result<Vec<(Name, Uuid)>> {
        at!(self, OVERRIDES, host => host.override_marks())
    }

    pub(crate) async fn overrides(&self, limit: &Name) -> Result<Vec<(Box<str>, Box<str>)>> {
        at!(self, OVERRIDES, host => host.overrides(limit))
    }

    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        at!(self, buffer_tag(part), host => host.buffer_add(part, rows))
    }

    pub(crate) async fn buffer_rotate(
        &self,
        part: &BufferPart,
        rotate: Rotate,
        most: u64,
    ) -> Result<Option<Uuid>> {
        at!(self, buffer_tag(part), host => host.buffer_rotate(part, rotate, most))
    }

    pub(crate) async fn buffer_frozen(&self, part: &BufferPart) -> Result<Vec<Frozen>> {
        at!(self, buffer_tag(part), host => host.buffer_frozen(part))
    }

    pub(crate) async fn buffer_read(&self, part: &BufferPart, id: Uuid) -> Result<Option<Generation>> {
        at!(self, buffer_tag(part), host => host.buffer_read(part, id))
    }

    pub(crate) async fn buffer_ack(
        &self,
        part: &BufferPart,
        id: Uuid,
        last_write: Option<Timestamp>,
    ) -> Result<()> {
        at!(self, buffer_tag(part), host => host.buffer_ack(part, id, last_write))
    }

    pub(crate) async fn buffer_pending(&self, part: &BufferPart, row: &RowKey) -> Result<Vec<PendingRow>> {
        at!(self, buffer_tag(part), host => host.buffer_pending(part, row))
    }

    pub(crate) async fn buffer_stats(&self, part: &BufferPart) -> Result<BufferStats> {
        at!(self, buffer_tag(part), host => host.buffer_stats(part))
    }

    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        at!(self, series_tag(part), host => host.series_add(part, points, now))
    }

    pub(crate) async fn series_now(&self, part: &SeriesPart) -> Timestamp {
        self.member(&series_tag(part)).engine.series_now(part).await
    }

    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        at!(self, series_tag(part), host => host.series_read(part, spans))
    }

    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, now: Timestamp) -> Result<()> {
        at!(self, series_tag(part), host => host.series_delete(part, key, now))
    }

    pub(crate) async fn once_begin(&self, begin: Begin<'_>) -> Result<Known> {
        at!(self, tag_text(begin.key), host => host.once_begin(begin))
    }

    pub(crate) async fn once_end(&self, key: &str, owner: Uuid, end: End<'_>) -> Result<bool> {
        at!(self, tag_text(key), host => host.once_end(key, owner, end))
    }

    pub(crate) async fn buffer_add_once(&self, part: &BufferPart, row: Row, token: &Token) -> Result<()> {
        at!(self, buffer_tag(part), host => host.buffer_add_once(part, row, token))
    }

    pub(crate) async fn series_add_once(
        &self,
        part: &SeriesPart,
        point: Point,
        now: Timestamp,
        token: &Token,
    ) -> Result<()> {
        at!(self, series_tag(part), host => host.series_add_once(part, point, now, token))
    }

    pub(crate) async fn buffer_peek(&self, part: &BufferPart, token: &Token) -> Result<Seen> {
        at!(self, buffer_tag(part), host => host.buffer_peek(part, token))
    }

    pub(crate) async fn series_peek(&self, part: &SeriesPart, token: &Token) -> Result<Seen> {
        at!(self, series_tag(part), host => host.series_peek(part, token))
    }

    pub(crate) async fn take_all_once(
        &self,
        takes: &[Take<'_>],
        when: When,
        token: ChargeToken,
    ) -> Result<TakenAll> {
        let tag = takes.first().map_or(Cow::Borrowed("-"), limit_tag);
        at!(self, tag, host => host.take_all_once(takes, when, token))
    }

    pub(crate) async fn refund_once(&self, charged: &[(Take<'_>, u64)], token: ChargeToken) -> Result<()> {
        let tag = charged.first().map_or(Cow::Borrowed("-"), |(take, _)| limit_tag(take));
        at!(self, tag, host => host.refund_once(charged, token))
    }

    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        at!(self, tag_text(claim.name), host => host.lock_claim(claim))
    }

    pub(crate) async fn lock_renew(&self, name: &str, owner: Uuid) -> Result<Option<Duration>> {
        at!(self, tag_text(name), host => host.lock_renew(name, owner))
    }

    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        at!(self, tag_text(name), host => host.lock_release(name, owner))
    }

    pub(crate) async fn lock_state(&self, name: &str) -> Result<LockState> {
        at!(self, tag_text(name), host => host.lock_state(name))
    }

    pub(crate) fn lock_subscribe(&self, name: &str, owner: Uuid) -> Subscription {
        self.member(&tag_text(name)).engine.lock_subscribe(name, owner)
    }

    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        at!(self, tag_text(name), host => host.lock_force_release(name))
    }
}

impl Cluster {
    /// The number of the host that has all keys of a structure, and their slot if slots decide.
    pub(crate) fn place_of(&self, place: Place<'_>) -> (usize, Option<u16>) {
        let tag = match place {
            Place::Key(key) => tag_text(key),
            Place::Buffer(part) => buffer_tag(part).into(),
            Place::Series(part) => series_tag(part).into(),
        };
        (self.number(&tag), self.slot_of_tag(&tag))
    }
}

/// The tag of all overrides: one host has them, so that one question tells whether any have changed.
const OVERRIDES: &str = "overrides";

fn limit_tag<'a>(take: &Take<'a>) -> Cow<'a, str> {
    tag_text(take.key)
}

fn buffer_tag(part: &BufferPart) -> String {
    format!("{}.{}", part.schema.name, part.index)
}

fn series_tag(part: &SeriesPart) -> String {
    format!("{}.{}", part.grid.name, part.index)
}

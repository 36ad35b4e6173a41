//! Stand-ins of the partitions of a series on a Redis host: points in, and generations out.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::{
    Redis, announced,
    chunk::{self, Gain},
    reply::{strings, text, unexpected},
    rows,
    script::Script,
};
use crate::{
    applied::one_for_all,
    engine::{
        cluster::Group,
        step::{HandedPoints, Place, Point, SeriesPart},
    },
    error::Result,
    key::Name,
    time::{Timestamp, days, secs},
};

/// For how long one process alone hands over what a stand-in has, from each generation on.
const LEASE: Duration = secs(5);

/// For how long a partition remembers which generations it has received, after each time that one was offered. A stand-in whose
/// host is away for longer, between its last offer and its next one, would have its points added twice.
const MARK_LIFE: Duration = days(30);

/// For how long a stand-in keeps what its partition has received. A server that writes its log to disk every second may lose two
/// seconds of it when it dies.
const HOLD: Duration = secs(3);

/// The words of a partition for what became of a generation.
const ADDED: &str = "added";
const KNOWN: &str = "known";

/// What a stand-in has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Nothing,
    /// Only what its partition has received a moment ago.
    Received,
    /// Points that its partition does not have, or may not have.
    Points,
}

/// What a partition says of a generation that was offered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It was added now.
    Added,
    /// It had been added before.
    Known,
}

/// The next generation that a stand-in hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Points(HandedPoints),
    /// It has nothing.
    None,
    /// Another process hands over.
    Busy,
}

impl Redis {
    /// Adds points to a stand-in, each of them once.
    pub(crate) async fn stand_in_add(
        &self,
        part: &SeriesPart,
        points: &[Point],
        now: Timestamp,
    ) -> Result<()> {
        let gains = chunk::finest(&part.grid, points, now);
        if gains.is_empty() {
            return Ok(());
        }
        let outcomes =
            self.stand_in_writers.of(part, &self.host, &self.keys).write(part.index, gains).await?;
        one_for_all(outcomes)
    }

    /// The stand-ins in some registers: of which series, of which partition, and their number.
    pub(crate) async fn registered_stand_ins(&self, registers: &[Group]) -> Result<Vec<(Name, u16, u8)>> {
        let members =
            |register: &Group| redis::cmd("SMEMBERS").arg(self.keys.stand_ins(*register)).to_owned();
        let mut found = vec![];
        for tags in self.host.read_unfenced(registers.iter().map(members).collect()).await? {
            let tags = match tags {
                tags @ (Value::Set(_) | Value::Array(_)) => strings(tags),
                _ => None,
            };
            let tags = tags.and_then(|tags| tags.iter().map(|tag| read_tag(tag)).collect::<Option<Vec<_>>>());
            found.extend(tags.ok_or_else(|| unexpected(self.host.name(), "a question for stand-ins"))?);
        }
        Ok(found)
    }

    /// Registers a stand-in that is in no register any more.
    pub(crate) async fn register_stand_in(&self, part: &SeriesPart) -> Result<()> {
        let register = self.keys.stand_ins(self.keys.register_of(Place::Series(part)));
        announced::announce(&self.host, [(register, part.tag())]).await
    }

    /// What each stand-in has.
    pub(crate) async fn stand_ins_hold(&self, parts: &[&SeriesPart]) -> Result<Vec<Holding>> {
        let exists = |keys: &[String]| redis::cmd("EXISTS").arg(keys).to_owned();
        let ask = |part: &&SeriesPart| {
            let points = [self.keys.stand_in_live(part), self.keys.stand_in_frozen(part)];
            [exists(&points), exists(&[self.keys.stand_in_held(part)])]
        };
        let answers = self.host.read_all(parts.iter().flat_map(ask).collect()).await?;
        let holding = |[points, held]: &[Value; 2]| match (points, held) {
            (Value::Int(0), Value::Int(0)) => Holding::Nothing,
            (Value::Int(0), _) => Holding::Received,
            _ => Holding::Points,
        };
        Ok(answers.as_chunks().0.iter().map(holding).collect())
    }

    /// Notes what became of the generation that was offered, if one was, and reads the next.
    pub(crate) async fn stand_in_next(
        &self,
        part: &SeriesPart,
        owner: Uuid,
        received: Option<(Uuid, Received)>,
    ) -> Result<Next> {
        self.stand_in_next_after(part, owner, received, HOLD).await
    }

    /// [`stand_in_next`](Self::stand_in_next) where what was received is held for so long.
    pub(super) async fn stand_in_next_after(
        &self,
        part: &SeriesPart,
        owner: Uuid,
        received: Option<(Uuid, Received)>,
        hold: Duration,
    ) -> Result<Next> {
        let mut call = self.host.call(Script::StandInNext, 4, 512);
        call.command.arg(self.keys.stand_in_live(part)).arg(self.keys.stand_in_frozen(part));
        call.command.arg(self.keys.stand_in_held(part)).arg(self.keys.stand_in_lease(part));
        call.command.arg(rows::id_text(owner)).arg(LEASE.as_millis().to_string());
        let (generation, word) = match received {
            None => (String::new(), ""),
            Some((generation, Received::Added)) => (rows::id_text(generation), ADDED),
            Some((generation, Received::Known)) => (rows::id_text(generation), KNOWN),
        };
        call.command.arg(generation).arg(word).arg(hold.as_micros().to_string());
        call.command.arg(chunk::longest_life(&part.grid).as_millis().to_string());
        let mut words = strings(self.host.run_one(call).await?).unwrap_or_default().into_iter();
        let next = match words.next().as_deref() {
            Some("busy") => Some(Next::Busy),
            Some("none") => Some(Next::None),
            Some("next") => words.next().and_then(|text| read_generation(&text)).map(Next::Points),
            _ => None,
        };
        next.ok_or_else(|| unexpected(self.host.name(), "a question for the points of a stand-in"))
    }

    /// Adds a generation of a stand-in to its partition, once. Buckets that have left their retention are dropped.
    pub(crate) async fn series_receive(
        &self,
        part: &SeriesPart,
        handed: &HandedPoints,
        now: Timestamp,
    ) -> Result<Received> {
        self.receive_gains(part, handed.generation, &chunk::gains(&part.grid, &handed.points, now)).await
    }

    /// Adds merged gains to a partition, once for each id, which tells the day.
    pub(super) async fn receive_gains(
        &self,
        part: &SeriesPart,
        id: Uuid,
        gains: &[Gain],
    ) -> Result<Received> {
        if gains.is_empty() {
            return Ok(Received::Known);
        }
        let chunk::Arguments { chunks, lists, tops } = chunk::arguments(gains, &part.grid, 3);
        let keys = 2 + lists.len() + tops.len() + chunks.len();
        let mut call = self.host.call(Script::SeriesReceive, keys, 256 + 64 * gains.len());
        call.command.arg(self.keys.series_received(part, day_of(id))).arg(self.keys.series_open(part));
        for chunk in lists {
            call.command.arg(self.keys.series_keys(part, chunk));
        }
        for (step, bucket) in tops {
            call.command.arg(self.keys.series_top(part, step, bucket));
        }
        for (gain, _) in &chunks {
            call.command.arg(self.keys.series_chunk(part, gain.step, gain.chunk, &gain.key));
        }
        call.command.arg(&id.as_bytes()[..]).arg(MARK_LIFE.as_millis().to_string());
        for (_, argument) in &chunks {
            call.command.arg(argument);
        }
        match text(self.host.run_one(call).await?).as_deref() {
            Some(ADDED) => Ok(Received::Added),
            Some(KNOWN) => Ok(Received::Known),
            _ => Err(unexpected(self.host.name(), "gains for a series")),
        }
    }
}

/// The day on which a generation was begun: its mark is in the set of that day.
fn day_of(generation: Uuid) -> u64 {
    generation.get_timestamp().map_or(0, |at| at.to_unix().0 / 86_400)
}

/// Reads the tag of a stand-in.
fn read_tag(tag: &str) -> Option<(Name, u16, u8)> {
    let (home, number) = tag.rsplit_once('~')?;
    let (series, index) = home.rsplit_once('.')?;
    Some((Name::from_store(series), index.parse().ok()?, number.parse().ok()?))
}

/// Reads a frozen generation, as `lua/stand_in.lua` describes it.
fn read_generation(text: &str) -> Option<HandedPoints> {
    let (generation, mut rest) = text.split_once(' ')?;
    let mut points = vec![];
    while !rest.is_empty() {
        let (length, after) = rest.split_once(':')?;
        let (field, after) = after.split_at_checked(length.parse().ok()?)?;
        let (n, after) = after.split_once(',')?;
        let (start, key) = field.split_once(':')?;
        let at = Timestamp::from_secs(start.parse().ok()?);
        points.push(Point { key: key.into(), at, n: n.parse().ok()? });
        rest = after;
    }
    Some(HandedPoints { generation: generation.parse().ok()?, points })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_read_back_whatever_its_keys_are() {
        let id = Uuid::now_v7();
        let text =
            format!("{} 6:-10:a:7,14:1790000000:é,9223372036854775807,13:1790000010:,,1,", id.simple());
        let read = read_generation(&text).expect("ours");
        let point = |key: &str, at, n| Point { key: key.into(), at: Timestamp::from_secs(at), n };
        let expected = [
            point("a:", -10, 7),
            point("é,", 1_790_000_000, 9_223_372_036_854_775_807),
            point(",,", 1_790_000_010, 1),
        ];
        assert_eq!((read.generation, &read.points[..]), (id, &expected[..]));
        assert!(read_generation("no generation").is_none());
        assert!(read_generation(&format!("{id} 99:1:a1,")).is_none());
    }

    #[test]
    fn a_tag_names_the_partition_and_the_number() {
        let (name, index, number) = read_tag("hits.limited.12~3").expect("ours");
        assert_eq!((name.as_str(), index, number), ("hits.limited", 12, 3));
        assert!(read_tag("hits.12").is_none());
    }
}

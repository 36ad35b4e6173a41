//! The names of all keys. A test compares the table in `docs/keyspace.md` with this file.

use uuid::Uuid;

use crate::{
    engine::{
        cluster::{Group, Layout, Slot},
        step::{BufferPart, Place, SeriesPart, SummaryPart},
    },
    key::Name,
    model::{rate::rule::Rule, resolution::Resolution, summary::SummaryKind},
};

/// Writes the keys of this engine.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Box<str>,
    pub layout: Layout,
}

/// The keys without a tag: every host has some of its own.
pub(super) const EVERYWHERE: [&[u8]; 5] = [b"cluster", b"buffers", b"stand-ins", b"once-bytes", b"probe"];

impl Keys {
    pub(super) fn new(prefix: &str, layout: Layout) -> Self {
        Self { prefix: prefix.into(), layout }
    }

    /// The first part of every key.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key under which a host of a cluster has its own name.
    pub(super) fn cluster_name(&self) -> String {
        format!("{}:cluster:name", self.prefix)
    }

    /// The key under which each host of a cluster has the placement of all keys.
    pub(super) fn cluster_placement(&self) -> String {
        format!("{}:cluster:placement", self.prefix)
    }

    /// The key under which a host of a cluster has its fence: see fence.rs.
    pub(super) fn cluster_fence(&self) -> String {
        format!("{}:cluster:fence", self.prefix)
    }

    /// The key under which a host notes the keys that calls came with while slots are about to leave it.
    pub(super) fn cluster_touched(&self) -> String {
        format!("{}:cluster:touched", self.prefix)
    }

    /// The key under which the touched keys are that a resharder has taken.
    pub(super) fn cluster_taken(&self) -> String {
        format!("{}:cluster:taken", self.prefix)
    }

    /// The key under which the mark of the resharder is that is at work.
    pub(super) fn cluster_reshard(&self) -> String {
        format!("{}:cluster:reshard", self.prefix)
    }

    /// The type stored under a key of Forebay, and the remedy if something else is there.
    pub(super) fn kept(&self, key: &[u8]) -> Option<Kept> {
        let (kind, rest, part) = self.parts(key)?;
        Some(match kind {
            kind if Rule::words().any(|word| word == kind) => Kept("string", RESET),
            "leases" => Kept("zset", RESET),
            "members" => Kept("zset", DELETE),
            "lock" if part.is_empty() => Kept("string", FORCE_RELEASE),
            "lock" => Kept("zset", FORCE_RELEASE),
            "buffer" if part == "paused" => Kept("string", DELETE),
            "buffer" if part == "frozen" => Kept("list", DELETE),
            "buffers" | "stand-ins" => Kept("set", DELETE),
            "cluster" if rest == "touched" || rest == "taken" => Kept("set", DELETE),
            "buffer" | "series" if part.starts_with("once:") => Kept("set", DELETE),
            "series" if part.starts_with("received:") => Kept("set", DELETE),
            "series" if part == "frozen" || part == "held" => Kept("list", DELETE),
            "series" if part.starts_with("keys:") || part.starts_with("top:") => Kept("zset", DELETE),
            "series" if part == "lease" => Kept("string", DELETE),
            "series" if part.starts_with("moved:") && part.matches(':').count() > 1 => Kept("string", DELETE),
            "series" if let Some(stored_as) = summary_type(part) => Kept(stored_as, DELETE_SERIES),
            "series"
                if !matches!(part, "guard" | "live" | "open" | "moves")
                    && !part.starts_with("open:")
                    && !part.starts_with("moved:") =>
            {
                Kept("string", DELETE_SERIES)
            }
            "buffer" | "series" | "{overrides}" | "once-bytes" => Kept("hash", DELETE),
            _ => Kept("string", DELETE),
        })
    }

    /// The parts of a key of Forebay: its first word, what follows that, and what follows the tag.
    pub(super) fn parts<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str, &'a str)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&*self.prefix)?.strip_prefix(':')?;
        let (kind, rest) = key.split_once(':').unwrap_or((key, ""));
        // Callers' keys are in the tag, and have no brace there.
        let part = rest.split_once("}:").map_or("", |(_, part)| part);
        Some((kind, rest, part))
    }

    /// The part of a key that decides on its host.
    pub(super) fn home<'a>(&self, key: &'a [u8]) -> Home<'a> {
        let own = key.strip_prefix(self.prefix.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        let Some(own) = own else { return Home::Key(key) };
        let kind = own.split(|&byte| byte == b':').next().unwrap_or_default();
        let tag = own.iter().position(|&byte| byte == b'{').and_then(|open| {
            let inside = &own[open + 1..];
            let close = inside.iter().position(|&byte| byte == b'}')?;
            (close > 0).then(|| (&inside[..close], &inside[close + 1..]))
        });
        match tag {
            Some((_, b":paused")) if kind == b"buffer" => Home::EveryHost,
            Some((tag, _)) if kind == b"buffer" => Home::Buffer(tag),
            Some((tag, _)) => Home::Tag(tag),
            None if EVERYWHERE.contains(&kind) => Home::EveryHost,
            None => Home::Key(key),
        }
    }

    /// The key under which a host has the mark of the process that moves keys to it.
    pub(super) fn cluster_import(&self) -> String {
        format!("{}:cluster:import", self.prefix)
    }

    /// The same for a slot of a Redis Cluster: in that slot.
    pub(super) fn cluster_import_of(&self, slot: Slot) -> String {
        format!("{}:cluster:import:{{{}}}", self.prefix, slot.letters("").as_str())
    }

    /// The key that tells that keys are copied here from hosts of another layout, or were until that ended in the middle.
    pub(super) fn cluster_convert(&self) -> String {
        format!("{}:cluster:convert", self.prefix)
    }

    /// The key that a host is asked to write. A node of a Redis Cluster is asked for one of a group that it has.
    pub(super) fn probe(&self, group: Group) -> String {
        self.grouped("probe", group)
    }

    /// The key of a lock. Its queue's keys begin with it.
    pub(super) fn lock(&self, name: &str) -> String {
        format!("{}:lock:{{{}}}", self.prefix, self.layout.tag(Place::Named(name)))
    }

    /// The prefix of the channels of processes.
    pub(super) fn inboxes(&self) -> String {
        format!("{}:inbox:", self.prefix)
    }

    /// The key of a request that is carried out once.
    pub(super) fn once(&self, key: &str) -> String {
        format!("{}:once:{}", self.prefix, self.tagged(key))
    }

    /// The key of the members of a series that has a bound on its keys.
    pub(super) fn members(&self, series: &Name) -> String {
        format!("{}:members:{}", self.prefix, self.tagged(series.as_str()))
    }

    /// The key under which the bytes of requests that are carried out once are counted: of those of one tag.
    pub(super) fn once_bytes(&self, key: &str) -> String {
        self.once_bytes_of(self.layout.group(key))
    }

    /// The same of the requests of a group.
    pub(super) fn once_bytes_of(&self, group: Group) -> String {
        self.grouped("once-bytes", group)
    }

    /// The key of the charge of a request: beside the limit's key.
    pub(super) fn charge(&self, key: &str, token: u128) -> String {
        format!("{}:charge:{}:{token:032x}", self.prefix, self.tagged(key))
    }

    /// The key of the tokens of rows, of requests that began in an hour.
    pub(super) fn buffer_once(&self, part: &BufferPart, hour: u32) -> String {
        format!("{}:{hour}", self.buffer(part, "once"))
    }

    /// The key of the tokens of points, of requests that began in an hour.
    pub(super) fn series_once(&self, part: &SeriesPart, hour: u32) -> String {
        format!("{}:once:{hour}", self.series(part))
    }

    /// Appends the key of one key of a limit.
    ///
    /// The unit of the state is part of the key: a count of minutes read as one of seconds, after a change of the
    /// configuration, would deny until it expired, or admit too much.
    pub(super) fn limit(&self, to: &mut Vec<u8>, rule: &Rule, limit: &str, key: &str) {
        for part in [&*self.prefix, ":", rule.word(), ":", limit, ":"] {
            to.extend_from_slice(part.as_bytes());
        }
        rule.write_span(to);
        let tag = self.layout.tag(Place::Key(key));
        for part in [":{", &*tag, "}"] {
            to.extend_from_slice(part.as_bytes());
        }
        if self.layout == Layout::Grouped {
            to.push(b':');
            to.extend_from_slice(key.as_bytes());
        }
    }

    /// The key of the leases of one key of a limit.
    pub(super) fn leases(&self, limit: &str, key: &str) -> String {
        format!("{}:leases:{limit}:{}", self.prefix, self.tagged(key))
    }

    /// The key under which each limit has the mark of its overrides.
    pub(super) fn override_marks(&self) -> String {
        format!("{}:{{overrides}}:marks", self.prefix)
    }

    /// The key of the overrides of a limit.
    pub(super) fn overrides(&self, limit: &Name) -> String {
        format!("{}:{{overrides}}:limit:{limit}", self.prefix)
    }

    /// A key of a partition of a buffer: `live`, `frozen` or `guard`. Names need no escaping in a tag.
    pub(super) fn buffer(&self, part: &BufferPart, what: &str) -> String {
        self.buffer_of_tag(&self.layout.tag(Place::Buffer(part)), what)
    }

    /// [`buffer`](Self::buffer) of the partition with this tag.
    pub(super) fn buffer_of_tag(&self, tag: &str, what: &str) -> String {
        format!("{}:buffer:{{{tag}}}:{what}", self.prefix)
    }

    /// The key under which a host has the partitions of buffers that were ever written to on it. In a Redis Cluster there is one
    /// for each group that has a register.
    pub(super) fn buffers(&self, register: Group) -> String {
        self.grouped("buffers", register)
    }

    /// The group of the key under which a partition is registered.
    pub(super) fn register_of(&self, place: Place<'_>) -> Group {
        match self.layout {
            Layout::Named => Group::default(),
            Layout::Grouped => Group::register_of(place),
        }
    }

    /// The key under which a host has the stand-ins that were ever written to on it, as [`buffers`](Self::buffers).
    pub(super) fn stand_ins(&self, register: Group) -> String {
        self.grouped("stand-ins", register)
    }

    /// The key that is there while the flushing of a buffer is paused.
    pub(super) fn buffer_paused(&self, buffer: &Name) -> String {
        format!("{}:buffer:{{{buffer}}}:paused", self.prefix)
    }

    /// The key of a frozen generation.
    pub(super) fn buffer_frozen(&self, part: &BufferPart, id: Uuid) -> String {
        format!("{}:{}", self.buffer(part, "frozen"), id.hyphenated())
    }

    /// The key of a chunk of one key of a series, in the resolution of `step` seconds. After the tag nothing
    /// needs escaping.
    pub(super) fn series_chunk(&self, part: &SeriesPart, step: u64, chunk: i64, key: &str) -> String {
        format!("{}:{step}:{chunk}:{key}", self.series(part))
    }

    /// The key of the guard of a partition of a series.
    pub(super) fn series_guard(&self, part: &SeriesPart) -> String {
        format!("{}:guard", self.series(part))
    }

    /// The key of the list of the open buckets of a partition of a series.
    pub(super) fn series_open(&self, part: &SeriesPart) -> String {
        format!("{}:open", self.series(part))
    }

    /// The key of an open bucket, by its start in seconds.
    pub(super) fn series_bucket(&self, part: &SeriesPart, start: i64) -> String {
        format!("{}:open:{start}", self.series(part))
    }

    /// The key of the list of the keys of a series that have a chunk of this number in the coarsest resolution.
    pub(super) fn series_keys(&self, part: &SeriesPart, chunk: i64) -> String {
        format!("{}:keys:{chunk}", self.series(part))
    }

    /// The key of the list of the largest keys of a bucket of a series.
    pub(super) fn series_top(&self, part: &SeriesPart, step: u64, bucket: i64) -> String {
        format!("{}:top:{step}:{bucket}", self.series(part))
    }

    /// The key of a summary, or of some neighbouring ones, of one key of a series.
    pub(super) fn summary(
        &self,
        SummaryPart { kind, part }: SummaryPart<'_>,
        resolution: Resolution,
        place: i64,
        key: &str,
    ) -> String {
        format!("{}:{}:{}:{place}:{key}", self.series(part), kind.word(), resolution.step.as_secs())
    }

    /// The key of the moves from keys of a partition of a series that have not ended.
    pub(super) fn series_moves(&self, part: &SeriesPart) -> String {
        format!("{}:moves", self.series(part))
    }

    /// The key of what a move has of open buckets; the names of its chunks begin with it.
    pub(super) fn series_moved(&self, part: &SeriesPart, id: Uuid) -> String {
        format!("{}:moved:{}", self.series(part), id.hyphenated())
    }

    /// The key of the live generation of a stand-in.
    pub(super) fn stand_in_live(&self, part: &SeriesPart) -> String {
        format!("{}:live", self.series(part))
    }

    /// The key of the frozen generations of a stand-in.
    pub(super) fn stand_in_frozen(&self, part: &SeriesPart) -> String {
        format!("{}:frozen", self.series(part))
    }

    /// The key of the generations of a stand-in that its partition has received a moment ago.
    pub(super) fn stand_in_held(&self, part: &SeriesPart) -> String {
        format!("{}:held", self.series(part))
    }

    /// The key of the process that hands over what a stand-in has.
    pub(super) fn stand_in_lease(&self, part: &SeriesPart) -> String {
        format!("{}:lease", self.series(part))
    }

    /// The key of the generations, begun on a day since 1970, that a partition has received from stand-ins.
    pub(super) fn series_received(&self, part: &SeriesPart, day: u64) -> String {
        format!("{}:received:{day}", self.series(part))
    }

    fn series(&self, part: &SeriesPart) -> String {
        format!("{}:series:{{{}}}", self.prefix, self.layout.tag(Place::Series(part)))
    }

    /// The tag of a key, and the key where the tag does not tell it. After the tag nothing needs escaping.
    fn tagged(&self, key: &str) -> String {
        let tag = self.layout.tag(Place::Key(key));
        match self.layout {
            Layout::Named => format!("{{{tag}}}"),
            Layout::Grouped => format!("{{{tag}}}:{key}"),
        }
    }

    /// The key of something that each host has one of, or each group.
    fn grouped(&self, kind: &str, group: Group) -> String {
        match self.layout {
            Layout::Named => format!("{}:{kind}", self.prefix),
            Layout::Grouped => format!("{}:{kind}:{{{}}}", self.prefix, group.tag()),
        }
    }
}

/// The part of a key that decides on its host, where hosts are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home<'a> {
    /// Nothing: each host has one.
    EveryHost,
    /// The hash tag of a structure.
    Tag(&'a [u8]),
    /// The hash tag of a partition of a buffer, whose rows leave for the database.
    Buffer(&'a [u8]),
    /// All of the plain key, as the router hashes it.
    Key(&'a [u8]),
}

/// The type of what is kept under a key, in Redis' words, and what removes something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept(pub &'static str, pub &'static str);

/// The type of the summaries of a kind, if what follows the tag says that the key has any.
fn summary_type(part: &str) -> Option<&'static str> {
    let (word, _) = part.split_once(':')?;
    let kind = SummaryKind::ALL.iter().find(|kind| kind.word() == word)?;
    Some(kind.stored_as())
}

const RESET: &str = "a reset of the limit for this key removes it";
const FORCE_RELEASE: &str = "a force-release of the lock removes it";
const DELETE_SERIES: &str = "deleting the key of the series removes it";
const DELETE: &str = "delete or rename that key in redis";

/// The keys but those of rates, as `docs/keyspace.md` lists them: pattern, type, lifetime.
#[cfg(test)]
pub(super) const KEYSPACE: &[[&str; 3]] = &[
    ["<prefix>:leases:<limit>:{<key>}", "sorted set", "until the last lease ends"],
    ["<prefix>:{overrides}:limit:<limit>", "hash", "an entry until it is removed"],
    ["<prefix>:{overrides}:marks", "hash", "as long as the store"],
    ["<prefix>:buffer:{<buffer>.<partition>}:live", "hash", "until it is rotated"],
    ["<prefix>:buffer:{<buffer>.<partition>}:frozen:<generation>", "hash", "until it is in SQL"],
    ["<prefix>:buffer:{<buffer>.<partition>}:frozen", "list", "an entry until it is in SQL"],
    ["<prefix>:buffer:{<buffer>.<partition>}:guard", "hash", "24 to 25 h after the last write"],
    ["<prefix>:buffers", "set", "as long as the store"],
    ["<prefix>:buffer:{<buffer>}:paused", "string", "until it is resumed"],
    [
        "<prefix>:series:{<series>.<partition>}:<step>:<chunk>:<key>",
        "string",
        "until its last bucket is not kept",
    ],
    [
        "<prefix>:series:{<series>.<partition>}:distinct:<step>:<bucket>:<key>",
        "string",
        "until the bucket is not kept",
    ],
    [
        "<prefix>:series:{<series>.<partition>}:gauge:<step>:<place>:<key>",
        "hash",
        "until its last bucket is not kept",
    ],
    [
        "<prefix>:series:{<series>.<partition>}:percentiles:<step>:<bucket>:<key>",
        "hash",
        "until the bucket is not kept",
    ],
    ["<prefix>:series:{<series>.<partition>}:guard", "hash", "24 to 25 h after the last write"],
    ["<prefix>:series:{<series>.<partition>}:keys:<chunk>", "sorted set", "as long as the chunks"],
    [
        "<prefix>:series:{<series>.<partition>}:top:<step>:<bucket>",
        "sorted set",
        "of the coarsest resolution as long as its buckets; else two days",
    ],
    [
        "<prefix>:series:{<series>.<partition>}:open",
        "hash",
        "the longest retention after the last bucket was begun",
    ],
    [
        "<prefix>:series:{<series>.<partition>}:open:<bucket>",
        "hash",
        "until its counts are in chunks; at most the longest retention after its first",
    ],
    [
        "<prefix>:series:{<series>.<partition>}:moves",
        "hash",
        "an entry until its move has ended; all, the longest retention after the last one began",
    ],
    ["<prefix>:series:{<series>.<partition>}:moved:<move>", "hash", "until the move has ended"],
    [
        "<prefix>:series:{<series>.<partition>}:moved:<move>:<step>:<chunk>",
        "string",
        "until the move has ended",
    ],
    [
        "<prefix>:series:{<series>.<partition>~<n>}:live",
        "hash",
        "until it is frozen, or the longest retention after its last write",
    ],
    [
        "<prefix>:series:{<series>.<partition>~<n>}:frozen",
        "list",
        "an entry until it is handed over; all, the longest retention after the last one",
    ],
    [
        "<prefix>:series:{<series>.<partition>~<n>}:held",
        "list",
        "an entry 3 s or more; all, the longest retention after the last one",
    ],
    ["<prefix>:series:{<series>.<partition>~<n>}:lease", "string", "5 s"],
    ["<prefix>:series:{<series>.<partition>}:received:<day>", "set", "30 days"],
    ["<prefix>:stand-ins", "set", "as long as the store"],
    ["<prefix>:lock:{<name>}", "string", "a day after its release, or after its lease"],
    ["<prefix>:lock:{<name>}:queue", "sorted set", "until nobody waits, and a second"],
    ["<prefix>:lock:{<name>}:heard", "sorted set", "until nobody waits, and a second"],
    ["<prefix>:members:{<series>}", "sorted set", "until no member is kept"],
    ["<prefix>:members:{<series>}:doubtful", "sorted set", "as long as the members"],
    ["<prefix>:once:{<request>}", "string", "24 h"],
    ["<prefix>:once-bytes", "hash", "26 h after the last request with a key"],
    ["<prefix>:charge:{<key>}:<token>", "string", "26 h"],
    ["<prefix>:buffer:{<buffer>.<partition>}:once:<hour>", "set", "26 h"],
    ["<prefix>:series:{<series>.<partition>}:once:<hour>", "set", "26 h"],
    ["<prefix>:cluster:name", "string", "as long as the host is part of a cluster"],
    ["<prefix>:cluster:placement", "string", "as long as the host is part of a cluster"],
    ["<prefix>:cluster:fence", "string", "from the first move of slots on"],
    ["<prefix>:cluster:touched", "set", "while slots are about to leave the host"],
    ["<prefix>:cluster:taken", "set", "a moment"],
    ["<prefix>:cluster:import", "string", "while keys are moved to the host"],
    ["<prefix>:cluster:convert", "string", "until all keys are converted"],
    ["<prefix>:cluster:reshard", "string", "30 s"],
    ["<prefix>:probe", "string", "a minute"],
];

/// The keys that have other tags in a Redis Cluster, as `docs/keyspace.md` lists them.
#[cfg(test)]
const CLUSTER_KEYSPACE: &[[&str; 2]] = &[
    ["<prefix>:<kind>:<limit>:<period>:{<key>}", "<prefix>:<kind>:<limit>:<period>:{<group>}:<key>"],
    ["<prefix>:leases:<limit>:{<key>}", "<prefix>:leases:<limit>:{<group>}:<key>"],
    ["<prefix>:charge:{<key>}:<token>", "<prefix>:charge:{<group>}:<key>:<token>"],
    ["<prefix>:members:{<series>}…", "<prefix>:members:{<group>}:<series>…"],
    ["<prefix>:once:{<request>}", "<prefix>:once:{<group>}:<request>"],
    ["<prefix>:once-bytes", "<prefix>:once-bytes:{<group>}"],
    ["<prefix>:buffer:{<buffer>.<partition>}:…", "<prefix>:buffer:{<buffer>.<partition>.<letters>}:…"],
    ["<prefix>:series:{<series>.<partition>}:…", "<prefix>:series:{<series>.<partition>.<letters>}:…"],
    ["<prefix>:buffers", "<prefix>:buffers:{<group>}"],
    ["<prefix>:stand-ins", "<prefix>:stand-ins:{<group>}"],
    ["<prefix>:probe", "<prefix>:probe:{<group>}"],
    ["<prefix>:cluster:import", "<prefix>:cluster:import:{<letters>}"],
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::{
        model::{
            Buffer,
            rate::calendar::{CalendarUnit, Zone},
        },
        time::{millis, secs},
    };

    #[test]
    fn the_documented_keyspace_is_the_one_in_the_code() {
        let text = include_str!("../../../../../docs/keyspace.md");
        let (hosts, nodes) = text.split_once("## In a Redis Cluster").expect("a section on it");
        assert_eq!(rows::<3>(hosts), keyspace());
        assert_eq!(
            rows::<2>(nodes),
            CLUSTER_KEYSPACE.iter().map(|row| row.map(str::to_owned)).collect::<Vec<_>>()
        );
    }

    /// The first cells of the rows of tables that begin with a key.
    fn rows<const N: usize>(text: &str) -> Vec<[String; N]> {
        let cells = |line: &str| {
            let cells: Vec<&str> =
                line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            std::array::from_fn(|i| cells[i].to_owned())
        };
        text.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
    }

    /// Rates first: each kind tells its word, and how long its states are kept.
    fn keyspace() -> Vec<[String; 3]> {
        let rates = Rule::kept().map(|(word, kept)| {
            [format!("<prefix>:{word}:<limit>:<period>:{{<key>}}"), "string".to_owned(), kept.to_owned()]
        });
        rates.chain(KEYSPACE.iter().map(|row| row.map(str::to_owned))).collect()
    }

    #[test]
    fn keys_follow_their_patterns_and_have_one_tag() {
        let keys = Keys::new("forebay", Layout::Named);
        let limit = |rule: crate::Result<Rule>, name: &str| {
            let mut key = vec![];
            keys.limit(&mut key, &rule.expect("valid"), name, "a{b}c");
            String::from_utf8(key).expect("text")
        };
        let window = |length| limit(Rule::fixed_window(1, length, secs(0)), "hits");
        assert_eq!(window(secs(60)), "forebay:window:hits:60s:{a%7Bb%7Dc}");
        assert_eq!(window(millis(1_050)), "forebay:window:hits:1050ms:{a%7Bb%7Dc}");
        assert_eq!(window(Duration::from_micros(1_001)), "forebay:window:hits:1001us:{a%7Bb%7Dc}");
        assert_eq!(limit(Rule::sliding_window(9, secs(1)), "s"), "forebay:sliding:s:1s:{a%7Bb%7Dc}");
        let utc = Zone::new(jiff::tz::TimeZone::UTC);
        for unit in CalendarUnit::ALL {
            let key = format!("forebay:calendar:c:{}:{{a%7Bb%7Dc}}", unit.as_str());
            assert_eq!(limit(Rule::calendar_window(9, unit, utc), "c"), key);
        }
        let coarse = Rule::token_bucket(1_000_000, secs(86_400), 1);
        assert_eq!(limit(coarse, "t"), "forebay:tokens:t:86400s.ms:{a%7Bb%7Dc}");
        let schema = Buffer::new("projects").key("id").sum("hits").build().expect("valid");
        let part = BufferPart { schema, index: 3 };
        assert_eq!(keys.buffer(&part, "live"), "forebay:buffer:{projects.3}:live");
        let frozen = keys.buffer_frozen(&part, Uuid::nil());
        assert_eq!(frozen, "forebay:buffer:{projects.3}:frozen:00000000-0000-0000-0000-000000000000");
        assert_eq!(keys.leases("jobs", "a{b}c"), "forebay:leases:jobs:{a%7Bb%7Dc}");
        assert_eq!(keys.lock("a{b}c"), "forebay:lock:{a%7Bb%7Dc}");
    }

    #[test]
    fn keys_of_a_redis_cluster_have_the_tags_of_their_groups() {
        let keys = Keys::new("forebay", Layout::Grouped);
        let group = Group::of("a{b}c").tag();
        let mut key = vec![];
        let rule = Rule::fixed_window(1, secs(60), secs(0)).expect("valid");
        keys.limit(&mut key, &rule, "hits", "a{b}c");
        assert_eq!(String::from_utf8_lossy(&key), format!("forebay:window:hits:60s:{{{group}}}:a{{b}}c"));
        assert_eq!(keys.leases("jobs", "a{b}c"), format!("forebay:leases:jobs:{{{group}}}:a{{b}}c"));
        assert_eq!(keys.once("a{b}c"), format!("forebay:once:{{{group}}}:a{{b}}c"));
        assert_eq!(keys.once_bytes("a{b}c"), format!("forebay:once-bytes:{{{group}}}"));
        assert_eq!(keys.charge("a{b}c", 1), format!("forebay:charge:{{{group}}}:a{{b}}c:{:032x}", 1));
        assert_eq!(keys.lock("a{b}c"), "forebay:lock:{a%7Bb%7Dc}");
        let schema = Buffer::new("projects").key("id").sum("hits").build().expect("valid");
        let part = BufferPart { schema, index: 3 };
        let live = keys.buffer(&part, "live");
        assert!(live.starts_with("forebay:buffer:{projects.3.") && live.ends_with("}:live"), "{live}");
        for (key, kind) in [
            (keys.buffer(&part, "frozen"), "list"),
            (keys.buffer_once(&part, 9), "set"),
            (keys.buffers(keys.register_of(Place::Buffer(&part))), "set"),
            (keys.once_bytes("k"), "hash"),
            (keys.leases("jobs", "a:}:b"), "zset"),
            (keys.probe(Group::default()), "string"),
        ] {
            assert_eq!(keys.kept(key.as_bytes()).expect("one of these").0, kind, "{key}");
        }
    }

    #[test]
    fn the_home_of_every_key_is_that_of_its_tag() {
        let keys = Keys::new("my.app", Layout::Named);
        for [pattern, ..] in keyspace() {
            let key = pattern.replace("<prefix>", "my.app");
            let tag =
                key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag.as_bytes());
            let expected = match tag {
                Some(_) if key.ends_with(":paused") => Home::EveryHost,
                Some(tag) if key.starts_with("my.app:buffer:") => Home::Buffer(tag),
                Some(tag) => Home::Tag(tag),
                None => Home::EveryHost,
            };
            assert_eq!(keys.home(key.as_bytes()), expected, "{key}");
        }
        for plain in ["user:1", "my.apple:{a}", "my.app", "my.app:mine", "my.app:{}", "{my.app:buffer:a"] {
            assert_eq!(keys.home(plain.as_bytes()), Home::Key(plain.as_bytes()));
        }
    }

    #[test]
    fn the_type_of_every_key_is_known() {
        let keys = Keys::new("my.app", Layout::Named);
        for [pattern, kind, _] in keyspace() {
            let key =
                pattern.replace("<prefix>", "my.app").replace("<key>", "a:b").replace("<name>", "a:queue");
            let Kept(known, _) = keys.kept(key.as_bytes()).expect("one of these");
            assert_eq!(known.replace("zset", "sorted set"), kind, "{key}");
        }
        assert_eq!(keys.kept(b"other:lock:{a}"), None);
    }
}

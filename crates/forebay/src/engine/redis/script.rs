//! All scripts: loaded on connecting, named here only.

use crate::model::rate::rule::Rule;

/// The text of a file.
macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("lua/", $name, ".lua"))
    };
}

/// The texts of these files, one after the other, between what is around every script.
macro_rules! framed {
    ($($part:expr),+) => {
        concat!(
            include_str!("lua/frame_begin.lua"),
            $($part,)+
            include_str!("lua/frame_end.lua"),
        )
    };
}

/// A script for keys of several slots of one node of a Redis Cluster. Servers before Redis 7 refuse to load it.
macro_rules! across {
    ($($part:expr),+) => {
        concat!("#!lua flags=allow-cross-slot-keys\n", bare!($($part),+))
    };
}

/// [`framed`] without what is around: for the scripts that answer most calls, each tenth of a microsecond of which is one of all
/// throughput. What of several keys is written when one of these is refused nobody asks: `on_error` decides.
macro_rules! bare {
    ($($part:expr),+) => {
        concat!(
            "local call, write = redis.call, redis.call\n",
            $($part,)+
        )
    };
}

/// The kinds of rates, for the scripts that charge all of them. Each kind is one file.
macro_rules! kinds {
    () => {
        concat!(
            include_str!("lua/leak.lua"),
            include_str!("lua/kinds.lua"),
            include_str!("lua/kinds/window.lua"),
            include_str!("lua/kinds/tokens.lua"),
            include_str!("lua/kinds/sliding.lua"),
            include_str!("lua/kinds/calendar.lua"),
            include_str!("lua/kinds_end.lua"),
        )
    };
}

/// The script that merges into summaries of a kind. Each kind is one file.
macro_rules! summaries {
    ($kind:literal) => {
        framed!(
            include_str!("lua/guard.lua"),
            include_str!(concat!("lua/summaries/", $kind, ".lua")),
            include_str!("lua/summary_add.lua")
        )
    };
}

/// Declares the scripts, each with its text: those that every connection has loaded, and those that a node is asked to load later.
macro_rules! scripts {
    ($($name:ident => $text:expr,)* ; $($across:ident => $across_text:expr,)*) => {
        /// A script.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Script { $($name,)* $($across,)* }

        impl Script {
            /// Those that every connection has loaded.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Those for keys of several slots, which a server may refuse.
            pub(super) const ACROSS: &'static [Self] = &[$(Self::$across,)*];

            pub(super) fn source(self) -> &'static str {
                match self { $(Self::$name => $text,)* $(Self::$across => $across_text,)* }
            }
        }
    };
}

scripts! {
    TakeWindow => bare!(lua!("keys"), lua!("foreign"), lua!("take_window")),
    Take => bare!(lua!("keys"), lua!("foreign"), kinds!(), lua!("take")),
    TakeTokens => bare!(lua!("keys"), lua!("foreign"), lua!("leak"), lua!("take_tokens")),
    TakeAll => bare!(lua!("foreign"), kinds!(), lua!("take_all")),
    Refund => framed!(kinds!(), lua!("refund")),
    Allot => framed!(kinds!(), lua!("allot")),
    Reset => framed!(kinds!(), lua!("reset")),
    Lease => framed!(lua!("lease")),
    MapRun => bare!(lua!("map_run")),
    OverrideSet => framed!(lua!("override_set")),
    BufferAdd => framed!(lua!("guard"), lua!("buffer_add")),
    BufferRotate => framed!(lua!("buffer_rotate")),
    BufferAck => framed!(lua!("buffer_ack")),
    LockClaim => framed!(lua!("lock"), lua!("lock_claim")),
    LockRenew => framed!(lua!("lock"), lua!("lock_renew")),
    LockRelease => framed!(lua!("lock"), lua!("lock_release")),
    LockState => framed!(lua!("lock"), lua!("lock_state")),
    SeriesAdd => framed!(lua!("guard"), lua!("series_add")),
    SeriesAddChunks => framed!(lua!("guard"), lua!("ranks"), lua!("chunks"), lua!("series_add_chunks")),
    SeriesSeal => framed!(lua!("ranks"), lua!("chunks"), lua!("series_seal")),
    SeriesDelete => framed!(lua!("open"), lua!("series_delete")),
    SeriesErase => framed!(lua!("ranks"), lua!("chunks"), lua!("open"), lua!("series_erase")),
    SeriesClaim => framed!(lua!("ranks"), lua!("chunks"), lua!("open"), lua!("series_claim")),
    SeriesMoved => framed!(lua!("series_moved")),
    SeriesReceive => framed!(lua!("ranks"), lua!("chunks"), lua!("series_receive")),
    SeriesRank => framed!(lua!("series_rank")),
    SeriesMembers => framed!(lua!("series_members")),
    DistinctAdd => summaries!("distinct"),
    GaugeAdd => summaries!("gauge"),
    PercentilesAdd => summaries!("percentiles"),
    SummaryDelete => framed!(lua!("summary_delete")),
    StandInAdd => framed!(lua!("guard"), lua!("stand_in"), lua!("stand_in_add")),
    StandInNext => framed!(lua!("stand_in"), lua!("stand_in_next")),
    PlacementSet => framed!(lua!("placement_set")),
    ReshardClaim => framed!(lua!("reshard_claim")),
    Probe => framed!(lua!("probe")),
    OnceBegin => framed!(lua!("once_begin")),
    OnceEnd => framed!(lua!("once_end")),
    ;
    TakeWindowAcross => across!(lua!("keys_across"), lua!("foreign"), lua!("take_window")),
    TakeAcross => across!(lua!("keys_across"), lua!("foreign"), kinds!(), lua!("take")),
    TakeTokensAcross => across!(lua!("keys_across"), lua!("foreign"), lua!("leak"), lua!("take_tokens")),
    ProbeAcross => across!(lua!("probe_across")),
}

/// The scripts that move keys between hosts. Their texts are sent with each call: few connections need them.
pub(super) const TRANSFER_BEGIN: &str = framed!(lua!("transfer_begin"));
pub(super) const TRANSFER_READ: &str = framed!(lua!("transfer_read"));
pub(super) const TRANSFER_RESTORE: &str = framed!(lua!("transfer_restore"));
pub(super) const TRANSFER_PURGE: &str = framed!(lua!("transfer_purge"));

impl Script {
    /// The one that charges single keys under such a rule: [`Take`](Self::Take) charges those of any kind, the others the same faster.
    pub(super) fn take(rule: &Rule) -> Self {
        match rule {
            Rule::FixedWindow(_) => Self::TakeWindow,
            Rule::TokenBucket(_) => Self::TakeTokens,
            _ => Self::Take,
        }
    }

    /// Whether `lua/guard.lua` is part of it, which asks for the fence itself.
    pub(super) fn is_sequenced(self) -> bool {
        matches!(
            self,
            Self::BufferAdd
                | Self::SeriesAdd
                | Self::SeriesAddChunks
                | Self::StandInAdd
                | Self::DistinctAdd
                | Self::GaugeAdd
                | Self::PercentilesAdd
        )
    }

    /// Whether the fence of a host is before it, where there is one. Those that concern the host itself have none, nor have those for
    /// nodes of a Redis Cluster.
    pub(super) fn is_fenced(self) -> bool {
        !matches!(self, Self::PlacementSet | Self::ReshardClaim | Self::Probe)
            && !Self::ACROSS.contains(&self)
    }

    /// Whether a host notes the keys of its calls while slots are about to leave. Rows are not copied; and these two have to work on
    /// a host that is full.
    pub(super) fn is_tracked(self) -> bool {
        !matches!(self, Self::BufferRotate | Self::BufferAck)
    }

    /// [`take`](Self::take) for keys of several slots.
    pub(super) fn take_across(rule: &Rule) -> Self {
        match Self::take(rule) {
            Self::TakeWindow => Self::TakeWindowAcross,
            Self::TakeTokens => Self::TakeTokensAcross,
            _ => Self::TakeAcross,
        }
    }

    /// Its place in [`ALL`](Self::ALL); those in [`ACROSS`](Self::ACROSS) follow.
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSFERS: [&str; 4] = [TRANSFER_BEGIN, TRANSFER_READ, TRANSFER_RESTORE, TRANSFER_PURGE];

    #[test]
    fn each_script_is_listed_once_and_says_what_it_takes() {
        for (place, script) in Script::ALL.iter().chain(Script::ACROSS).copied().enumerate() {
            assert_eq!(script.index(), place);
        }
        for text in Script::ALL.iter().chain(Script::ACROSS).map(|script| script.source()).chain(TRANSFERS) {
            for part in ["-- KEYS", "-- ARGV", "-- Example", "-- Reply", "assert(#KEYS"] {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
        }
    }

    /// Commands that change something. Those of a script go through `write`, so that an error tells whether any did.
    const WRITES: [&str; 18] = [
        "SET", "SETRANGE", "BITFIELD", "DEL", "UNLINK", "PEXPIRE", "RENAME", "HSET", "HDEL", "HINCRBY",
        "LREM", "RPUSH", "SADD", "SREM", "ZADD", "ZREM", "RESTORE", "PFADD",
    ];

    /// The calls of a text: by which function, and which command.
    fn commands(text: &str) -> Vec<(&str, &str)> {
        let mut commands = vec![];
        for line in text.lines().filter(|line| !line.trim_start().starts_with("--")) {
            for (at, _) in line.match_indices('\'') {
                let Some(before) = line[..at].strip_suffix('(').or(line[..at].strip_suffix(", ")) else {
                    continue;
                };
                let command = line[at + 1..].split('\'').next().unwrap_or_default();
                if command.len() > 1 && command.bytes().all(|byte| byte.is_ascii_uppercase()) {
                    let start = before.rfind(|c: char| !c.is_alphanumeric()).map_or(0, |at| at + 1);
                    commands.push((&before[start..], command));
                }
            }
        }
        commands
    }

    #[test]
    fn what_a_script_writes_it_writes_by_write() {
        let texts = Script::ALL.iter().chain(Script::ACROSS).copied().filter(|script| {
            // A guard is no effect, and rows are written last: see there. The probe tells nobody how far it came.
            !script.is_sequenced() && *script != Script::Probe
        });
        let behind_guards = [
            lua!("series_add"),
            lua!("series_add_chunks"),
            lua!("stand_in_add"),
            lua!("summary_add"),
            lua!("summaries/distinct"),
            lua!("summaries/gauge"),
            lua!("summaries/percentiles"),
        ];
        for text in texts.map(Script::source).chain(behind_guards).chain(TRANSFERS) {
            for (function, command) in
                commands(text).into_iter().filter(|(_, command)| WRITES.contains(command))
            {
                // Undone, or looked at on the spot. Of thousands of counts the first is behind another write.
                let other = matches!(
                    (function, command),
                    ("call" | "pcall", "RENAME" | "LREM" | "SET" | "RESTORE") | ("call", "HINCRBY")
                );
                assert!(function == "write" || other, "{function}('{command}' in {text}");
            }
        }
    }

    #[test]
    fn the_probe_tries_every_command_of_the_others() {
        let probe: Vec<&str> =
            commands(Script::Probe.source()).into_iter().map(|(_, command)| command).collect();
        assert!(probe.len() > 25, "{probe:?}");
        for &script in Script::ALL.iter().chain(Script::ACROSS) {
            for (_, command) in commands(script.source()) {
                // Without the right to publish a waiter finds out by itself; the others are words of a command.
                let other =
                    ["PUBLISH", "PX", "GT", "KEEPTTL", "WITHSCORES", "LIMIT", "OVERFLOW", "SAT", "INCRBY"]
                        .contains(&command);
                assert!(other || probe.contains(&command), "{script:?}: {command}");
            }
        }
    }
}

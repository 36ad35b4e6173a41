//! The names of the keys of independent hosts, as a Redis Cluster has them.
//!
//! Bytes in, bytes out. `docs/keyspace.md` has both tables.

use std::borrow::Cow;

use super::keys::{Home, Keys};
use crate::{
    engine::cluster::{Group, Slot},
    key::untagged,
    model::rate::rule::Rule,
};

impl Keys {
    /// The name that a key of independent hosts has in a Redis Cluster. `None`: each host has its own, and its content is merged.
    pub(super) fn in_redis_cluster<'a>(&self, key: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.home(key) == Home::EveryHost {
            return None;
        }
        let name = self.tagged_parts(key).and_then(|(before, tag, after)| {
            let tag = match self.parts(key)?.0 {
                kind if kind == "leases" || Rule::words().any(|word| word == kind) => grouped(tag, after)?,
                "charge" | "once" | "members" => grouped(tag, after)?,
                "buffer" | "series" => format!("{{{}}}{after}", lettered(tag)?),
                _ => return None,
            };
            Some(format!("{before}{tag}").into_bytes())
        });
        Some(name.map_or(Cow::Borrowed(key), Cow::Owned))
    }

    /// The text before the hash tag of a key of Forebay, the tag, and the text after it.
    fn tagged_parts<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str, &'a str)> {
        self.parts(key)?;
        let (before, rest) = std::str::from_utf8(key).ok()?.split_once('{')?;
        let (tag, after) = rest.split_once('}')?;
        Some((before, tag, after))
    }
}

/// The tag of the group of a caller's key, then the key, which was the tag.
fn grouped(tag: &str, after: &str) -> Option<String> {
    let key = untagged(tag)?;
    Some(format!("{{{}}}:{key}{after}", Group::of(&key).tag()))
}

/// The tag of a partition with its letters; `None`: it has none, as a stand-in.
fn lettered(tag: &str) -> Option<String> {
    let (name, index) = tag.rsplit_once('.')?;
    let slot = Slot::of_partition(name, index.parse().ok()?);
    let before = format!("{tag}.");
    Some(format!("{before}{}", slot.letters(&before).as_str()))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use uuid::Uuid;

    use super::*;
    use crate::{
        Buffer, Name,
        engine::{
            cluster::Layout,
            redis::keys::KEYSPACE,
            step::{BufferPart, SeriesPart},
        },
        model::resolution::{Grid, Resolution},
        time::secs,
    };

    fn both() -> [Keys; 2] {
        [Layout::Named, Layout::Grouped].map(|layout| Keys::new("my.app", layout))
    }

    /// Whatever writes a key in both layouts finds it under its new name.
    #[track_caller]
    fn check(write: impl Fn(&Keys) -> String) {
        let [named, grouped] = both();
        let (before, after) = (write(&named), write(&grouped));
        let renamed = named.in_redis_cluster(before.as_bytes()).expect("it is copied");
        assert_eq!(String::from_utf8_lossy(&renamed), after);
        let slot = |key: &str| Slot::of_key(key.as_bytes());
        let (_, tag, _) = grouped.tagged_parts(after.as_bytes()).expect("a tag");
        assert_eq!(slot(&after), Slot::of_tag(tag.as_bytes()), "{after}");
    }

    #[test]
    fn each_key_gets_the_name_by_which_a_redis_cluster_finds_it() {
        for key in ["42", "a{b}c", "100%", "%7B", "}", "a}:b", "{", "ü:queue", "a:{b}:c"] {
            for rule in [
                Rule::fixed_window(1, secs(60), secs(0)),
                Rule::sliding_window(9, Duration::from_micros(1_001)),
                Rule::token_bucket(1_000_000, secs(86_400), 1),
            ] {
                let rule = rule.expect("valid");
                check(|keys| {
                    let mut to = vec![];
                    keys.limit(&mut to, &rule, "hits", key);
                    String::from_utf8(to).expect("text")
                });
            }
            check(|keys| keys.leases("jobs", key));
            check(|keys| keys.charge(key, 1));
            check(|keys| keys.once(key));
            check(|keys| keys.members(&Name::from_store(key)));
            check(|keys| format!("{}:doubtful", keys.members(&Name::from_store(key))));
            check(|keys| keys.lock(key));
            check(|keys| format!("{}:queue", keys.lock(key)));
            check(|keys| format!("{}:heard", keys.lock(key)));
        }
        check(Keys::override_marks);
        check(|keys| keys.overrides(&Name::new("hits").expect("valid")));
    }

    #[test]
    fn partitions_get_their_letters_and_stand_ins_have_none() {
        let schema = Buffer::new("rows").key("id").sum("n").build().expect("valid");
        let (name, resolutions) = (Name::new("hits").expect("valid"), Resolution::defaults().into());
        let grid = Arc::new(Grid { name, resolutions, partitions: 16, is_ranked: false });
        for index in [0, 3, 15] {
            let part = BufferPart { schema: schema.clone(), index };
            for what in ["live", "frozen", "guard"] {
                check(|keys| keys.buffer(&part, what));
            }
            check(|keys| keys.buffer_frozen(&part, Uuid::nil()));
            check(|keys| keys.buffer_once(&part, 7));
            for stand_in in [0, 1, 2] {
                let part = SeriesPart { grid: grid.clone(), index, stand_in };
                check(|keys| keys.series_guard(&part));
                check(|keys| keys.series_chunk(&part, 60, 7, "a{b}:c"));
                check(|keys| keys.series_once(&part, 7));
                check(|keys| keys.series_received(&part, 7));
                check(|keys| keys.stand_in_live(&part));
                check(|keys| keys.stand_in_frozen(&part));
                check(|keys| keys.stand_in_held(&part));
                check(|keys| keys.stand_in_lease(&part));
            }
        }
        let [named, _] = both();
        let renamed = named.in_redis_cluster(b"my.app:series:{hits.limited.2}:guard").expect("copied");
        assert!(renamed.starts_with(b"my.app:series:{hits.limited.2."), "{renamed:?}");
    }

    #[test]
    fn every_row_of_the_table_is_renamed_or_merged() {
        let [named, grouped] = both();
        for [pattern, ..] in KEYSPACE {
            let key = pattern.replace("<prefix>", "my.app").replace("<partition>", "3").replace("<n>", "1");
            let renamed = named.in_redis_cluster(key.as_bytes());
            let is_merged = !key.contains('{') || key.ends_with(":paused");
            assert_eq!(renamed.is_none(), is_merged, "{key}");
            if let Some(renamed) = renamed {
                assert_eq!(grouped.kept(&renamed), named.kept(key.as_bytes()), "{key}");
            }
        }
        for plain in
            ["user:1", "{a}:b", "my.apple:once:{a}", "my.app:mine", "my.app:mine:{a}", "my.app:once:{a%41}"]
        {
            assert_eq!(named.in_redis_cluster(plain.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(
            named.in_redis_cluster(b"my.app:once:{\xff}").as_deref(),
            Some(&b"my.app:once:{\xff}"[..])
        );
    }
}

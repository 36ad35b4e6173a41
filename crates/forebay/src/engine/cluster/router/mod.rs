//! The ways to find the host of a key: our own, and those of older fleets.

mod ketama;
mod partition;
pub(super) mod rendezvous;

use std::{fmt, str::FromStr};

use super::{Host, Slot, SlotTable, host::check_hosts};
use crate::error::{Error, ErrorKind, Result, invalid};
use ketama::Ring;

/// Says which host has which key.
///
/// There are two questions, because the older routers know no hash tags:
///
/// - [`host_for_key`](Self::host_for_key) takes the whole key of a command in a `map`, and answers what
///   the library that the router imitates would answer, so that its data is found.
/// - [`host_for_tag`](Self::host_for_tag) takes the hash tag of one of Forebay's own structures, the text
///   between the braces of its keys. All keys of a structure have one tag, so they are on one host, also
///   under routers for which the braces mean nothing.
///
/// Under [`Slots`](Self::Slots) the two agree: a key is where its tag is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Router {
    /// By the table of slots: the default, and the only one whose keys can be moved.
    Slots(SlotTable),
    /// As the partition router of Nydus and rb, for this many hosts.
    NydusPartition(u16),
    /// As the consistent hashing router of Nydus, and rb's.
    NydusKetama(Ring),
    /// As twemproxy with `distribution: ketama` and `hash: fnv1a_64`.
    TwemproxyKetama(Ring),
}

impl Router {
    /// The router of this kind for these hosts, numbered in this order.
    ///
    /// For [`RouterKind::Slots`] the table is as just filled; the one stored on the hosts wins over it.
    /// [`RouterKind::NydusPartition`] depends on the order, the others on names and weights only.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if there are no hosts, too many, two of one name, or weights where
    /// the router has none.
    pub(crate) fn new(kind: RouterKind, hosts: &[Host]) -> Result<Self> {
        check_hosts(hosts)?;
        Ok(match kind {
            RouterKind::Slots => Self::Slots(SlotTable::fill(hosts)?),
            RouterKind::NydusPartition => Self::NydusPartition(equal_hosts(kind, hosts)?),
            RouterKind::NydusKetama => Self::NydusKetama(Ring::nydus(hosts)),
            RouterKind::TwemproxyKetama => Self::TwemproxyKetama(Ring::twemproxy(hosts)),
        })
    }

    /// The number of the host that has this key: the raw bytes as they go to the store, tag and all.
    pub(crate) fn host_for_key(&self, key: &[u8]) -> usize {
        self.host(key, Slot::of_key)
    }

    /// The number of the host that has every key with this hash tag; the tag is not empty and has no `}`.
    pub(crate) fn host_for_tag(&self, tag: &[u8]) -> usize {
        self.host(tag, Slot::of_tag)
    }

    /// The host of what is hashed. Only slots tell keys from tags.
    fn host(&self, hashed: &[u8], slot: fn(&[u8]) -> Slot) -> usize {
        match self {
            Self::Slots(table) => table.owner(slot(hashed)),
            Self::NydusPartition(hosts) => partition::host(hashed, *hosts),
            Self::NydusKetama(ring) | Self::TwemproxyKetama(ring) => ring.host(hashed),
        }
    }
}

/// How many hosts there are, if all have the same weight: a modulo cannot prefer one.
fn equal_hosts(kind: RouterKind, hosts: &[Host]) -> Result<u16> {
    if let Some(heavy) = hosts.iter().find(|host| host.weight() != hosts[0].weight()) {
        let message = format!(
            "router {kind}: host {:?} has weight {}, others {}: this router gives every host the same share",
            heavy.name(),
            heavy.weight(),
            hosts[0].weight(),
        );
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    Ok(u16::try_from(hosts.len()).expect("a checked list has at most 1000 hosts"))
}

/// How keys find their host.
///
/// # Examples
/// ```
/// use forebay::cluster::{Hosts, RouterKind};
/// let router: RouterKind = "nydus-ketama".parse()?;
/// assert_eq!(router, RouterKind::NydusKetama);
/// let hosts = Hosts::new().router(router).host("0", "redis://10.0.0.1").host("1", "redis://10.0.0.2");
/// # drop(hosts);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouterKind {
    /// `slots`: as in Redis Cluster, by a table that is stored on the hosts.
    #[default]
    Slots,
    /// `nydus-partition`: as the partition router of Nydus and rb.
    NydusPartition,
    /// `nydus-ketama`: as the consistent hashing router of Nydus.
    NydusKetama,
    /// `twemproxy-ketama`: as twemproxy with `distribution: ketama` and `hash: fnv1a_64`.
    TwemproxyKetama,
}

impl RouterKind {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 4] = [Self::Slots, Self::NydusPartition, Self::NydusKetama, Self::TwemproxyKetama];

    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::NydusPartition => "nydus-partition",
            Self::NydusKetama => "nydus-ketama",
            Self::TwemproxyKetama => "twemproxy-ketama",
        }
    }

    /// The name of a host for which none is configured.
    ///
    /// The older libraries make it from the address, and place keys by it, so it has to be theirs to the
    /// letter: Nydus has the database in it, twemproxy leaves out the port 11211. A fleet whose hosts
    /// were named (`identifier` there, a word after the weight here) needs those names.
    pub(crate) fn host_name(self, address: &str, port: u16, db: u32) -> String {
        match self {
            Self::TwemproxyKetama if port == 11_211 => address.to_owned(),
            Self::TwemproxyKetama => format!("{address}:{port}"),
            Self::Slots | Self::NydusPartition | Self::NydusKetama => {
                format!("redis://{address}:{port}/{db}")
            }
        }
    }
}

impl fmt::Display for RouterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RouterKind {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Invalid`] with the nearest name and all the others.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let nearest = Self::ALL
                .into_iter()
                .min_by_key(|kind| strsim::damerau_levenshtein(kind.as_str(), text))
                .unwrap_or_default();
            let names = Self::ALL.map(Self::as_str).join(", ");
            invalid(format!(
                "router {text:?}: did you mean {:?}? (a router is one of {names})",
                nearest.as_str()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    fn hosts(count: usize) -> Vec<Host> {
        let names = (0..count).map(|i| RouterKind::NydusKetama.host_name(&format!("10.0.0.{i}"), 6379, 0));
        names.map(|name| Host::new(&name).expect("a good name")).collect()
    }

    fn router(kind: RouterKind, count: usize) -> Router {
        Router::new(kind, &hosts(count)).expect("good hosts")
    }

    #[test]
    fn names_are_read_back() {
        for kind in RouterKind::ALL {
            assert_eq!(kind.to_string().parse::<RouterKind>().expect("its own name"), kind);
        }
        assert_eq!(RouterKind::default().as_str(), "slots");
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        for (text, nearest) in [
            ("slot", "slots"),
            ("Slots", "slots"),
            ("nydus-partion", "nydus-partition"),
            ("nydus_ketama", "nydus-ketama"),
            ("twemproxy", "twemproxy-ketama"),
        ] {
            let error = text.parse::<RouterKind>().expect_err("misspelt").to_string();
            assert!(error.contains(&format!("did you mean {nearest:?}?")), "{error}");
            for kind in RouterKind::ALL {
                assert!(error.contains(kind.as_str()), "{error}");
            }
        }
    }

    #[test]
    fn host_names_are_those_of_the_older_libraries() {
        assert_eq!(RouterKind::NydusKetama.host_name("127.0.0.1", 7701, 2), "redis://127.0.0.1:7701/2");
        assert_eq!(RouterKind::TwemproxyKetama.host_name("127.0.0.1", 7701, 2), "127.0.0.1:7701");
        assert_eq!(RouterKind::TwemproxyKetama.host_name("127.0.0.1", 11_211, 0), "127.0.0.1");
    }

    #[test]
    fn a_modulo_refuses_weights() {
        let mut hosts = hosts(3);
        hosts[1] = hosts[1].clone().with_weight(2).expect("in range");
        let error = Router::new(RouterKind::NydusPartition, &hosts).expect_err("weights differ");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for kind in [RouterKind::Slots, RouterKind::NydusKetama, RouterKind::TwemproxyKetama] {
            assert!(Router::new(kind, &hosts).is_ok(), "{kind}");
        }
    }

    #[test]
    fn a_router_needs_hosts() {
        for kind in RouterKind::ALL {
            assert!(Router::new(kind, &[]).is_err(), "{kind}");
        }
    }

    /// Load per host over 50 000 keys, as a part of the mean. Rings are uneven by nature, and the hash
    /// of twemproxy hardly mixes the last digits of a key.
    #[test]
    fn keys_spread_over_the_hosts() {
        for (kind, most) in [
            (RouterKind::Slots, 1.05),
            (RouterKind::NydusPartition, 1.05),
            (RouterKind::NydusKetama, 1.25),
            (RouterKind::TwemproxyKetama, 1.40),
        ] {
            let router = router(kind, 8);
            let mut counts = [0_u32; 8];
            for i in 0..50_000 {
                counts[router.host_for_key(format!("user:{i}").as_bytes())] += 1;
            }
            let fullest = f64::from(*counts.iter().max().expect("8 hosts")) / 6_250.0;
            assert!(fullest < most, "{kind}: {fullest}");
        }
    }

    /// Older libraries know no tags: two keys of one tag may part, and only the tag itself keeps them together.
    #[test]
    fn only_slots_find_the_tag_in_a_key() {
        let (a, b): (&[u8], &[u8]) = (b"{user:1}:a", b"{user:1}:b");
        let slots = router(RouterKind::Slots, 8);
        assert_eq!(slots.host_for_key(a), slots.host_for_key(b));
        let partition = router(RouterKind::NydusPartition, 8);
        assert_ne!(partition.host_for_key(a), partition.host_for_key(b));
    }

    /// Filling a table is not what is tested, so it is done once.
    static ROUTERS: LazyLock<Vec<(usize, Router)>> = LazyLock::new(|| {
        let counts = [1, 2, 5, 19];
        counts.into_iter().flat_map(|n| RouterKind::ALL.map(|kind| (n, router(kind, n)))).collect()
    });

    proptest! {
        #[test]
        fn under_slots_a_key_is_where_its_tag_is(tag in "[^{}]{1,20}", rest in ".{0,20}") {
            let key = format!("forebay:{{{tag}}}{rest}");
            for (_, router) in ROUTERS.iter().filter(|(_, router)| matches!(router, Router::Slots(_))) {
                prop_assert_eq!(router.host_for_key(key.as_bytes()), router.host_for_tag(tag.as_bytes()));
            }
        }

        #[test]
        fn every_key_has_a_host(key: Vec<u8>) {
            for (count, router) in ROUTERS.iter() {
                prop_assert!(router.host_for_key(&key) < *count);
            }
        }
    }
}

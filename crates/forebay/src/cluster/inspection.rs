//! Hosts that are looked at without opening a store on them: plans of moves, and keys on the wrong host.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use super::{
    Hosts,
    scan::{Page, Scan},
};
use crate::{
    engine::{
        Location, Options,
        cluster::{Address, Content, Host, RouterKind},
    },
    error::{Result, invalid},
    store::Store,
};

/// The most misplaced keys of a host that are named.
const MAX_EXAMPLES: usize = 5;

/// The first keys of a host, each of which is measured. Of the others every [`MEASURED`]th is.
const ALL_MEASURED: u64 = 10_000;

/// After the first [`ALL_MEASURED`] keys one of so many is measured.
const MEASURED: u64 = 16;

/// Hosts that are looked at without opening a store on them, from `Forebay::options().inspect_hosts(hosts)`.
///
/// # Examples
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, cluster::Hosts};
/// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
/// let looked = Forebay::options().inspect_hosts(hosts).await?;
/// println!("{:?}", looked.verify(1_000).await?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Inspection {
    store: Store,
    /// The hosts it was opened with.
    pub(super) hosts: Hosts,
    pub(super) options: Options,
}

/// The change of a slot table for other hosts.
///
/// # Examples
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, cluster::Hosts};
/// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
/// let looked = Forebay::options().inspect_hosts(hosts).await?;
/// let next = Hosts::new().host("a", "redis://10.0.0.1").host("c", "redis://10.0.0.3");
/// let plan = looked.plan(&next).await?;
/// println!("{} slots move", plan.moves.len());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The version of the present table.
    pub epoch: u64,
    /// The slots that move, in ascending order.
    pub moves: Vec<SlotMove>,
}

/// A slot that moves to another host, and its contents as they were found.
///
/// # Examples
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, cluster::Hosts};
/// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
/// let looked = Forebay::options().inspect_hosts(hosts).await?;
/// let next = Hosts::new().host("a", "redis://10.0.0.1").host("c", "redis://10.0.0.3");
/// let plan = looked.plan(&next).await?;
/// println!("{} keys move", plan.moves.iter().map(|slot| slot.keys).sum::<u64>());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotMove {
    /// Its number, 0 to 16383.
    pub slot: u16,
    /// The name of its present host.
    pub from: Box<str>,
    /// The name of its next host.
    pub to: Box<str>,
    /// The number of its keys, but those of buffers.
    pub keys: u64,
    /// The number of keys of buffers. They stay until their rows are in the database.
    pub buffer_keys: u64,
    /// The memory of `keys`, estimated where a host has many. `None`: the host's user may not ask for it.
    pub bytes: Option<u64>,
}

/// The keys of a host that were compared with the router.
///
/// # Examples
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, cluster::Hosts};
/// let hosts = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
/// let looked = Forebay::options().inspect_hosts(hosts).await?;
/// for host in looked.verify(1_000).await? {
///     println!("{}: {} of {} keys", host.name, host.misplaced, host.keys);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The host's name.
    pub name: Box<str>,
    /// The number of keys that were looked at.
    pub keys: u64,
    /// The number of those that the router would look for on another host.
    pub misplaced: u64,
    /// Some of them.
    pub examples: Vec<Box<[u8]>>,
}

/// The contents of a slot, as they were found.
#[derive(Clone, Copy, Debug, Default)]
struct Contents {
    keys: u64,
    buffer_keys: u64,
    measured: u64,
    bytes: u64,
}

impl Inspection {
    pub(crate) fn new(store: Store, hosts: Hosts, options: Options) -> Self {
        Self { store, hosts, options }
    }

    /// Compares about `sample` keys of each host with the router. Keys that each host has for itself do not count.
    ///
    /// A share of keys in the wrong place tells a wrong router or a wrong list of hosts: of `n` hosts about `1 - 1/n`.
    ///
    /// # Errors
    /// If a host does not answer, or refuses `SCAN`.
    ///
    /// # Cost
    /// A call for each 1000 keys, to all hosts at the same time.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, cluster::Hosts};
    /// let hosts = Hosts::new().url("redis://10.0.0.1,10.0.0.2")?;
    /// let hosts = Forebay::options().inspect_hosts(hosts).await?.verify(1_000).await?;
    /// assert!(hosts.iter().all(|host| host.misplaced == 0), "another router, or another list of hosts");
    /// # Ok(()) }
    /// ```
    pub async fn verify(&self, sample: u64) -> Result<Vec<Verification>> {
        let hosts = self.store.engine().hosts();
        let has_moved = self.store.engine().placement().is_some_and(|placement| placement.epoch > 1);
        let verify = async |(number, name): (usize, Box<str>)| {
            let mut scan = Scan::new(&self.store, &name);
            let mut verified = Verification { name, ..Verification::default() };
            while verified.keys < sample {
                let Some(Page { keys, .. }) = scan.next(|_| false).await? else { break };
                for key in keys {
                    let Some((home, _)) = self.store.engine().home(&key) else { continue };
                    verified.keys += 1;
                    // A guard stays where its slot was, until it expires.
                    let stays = has_moved && key.ends_with(b"}:guard");
                    if home != number && !stays {
                        verified.misplaced += 1;
                        if verified.examples.len() < MAX_EXAMPLES {
                            verified.examples.push(key);
                        }
                    }
                }
            }
            Ok(verified)
        };
        try_join_all(hosts.into_iter().map(|host| host.name).enumerate().map(verify)).await
    }

    /// Plans the fewest moves of slots after which each host of `target` has its share by weight, and looks at what is in
    /// these slots. Nothing is moved.
    ///
    /// The hosts of the target are known by their names. They need not run yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if keys are not placed by slots, or for a target that is
    /// no list of hosts. If a host does not answer, or refuses `SCAN`.
    ///
    /// # Cost
    /// All keys of the hosts that give slots are read once, 1000 in a call.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, cluster::Hosts};
    /// let now = Hosts::new().host("a", "redis://10.0.0.1").host("b", "redis://10.0.0.2");
    /// let next = now.clone().host("c", "redis://10.0.0.3");
    /// let plan = Forebay::options().inspect_hosts(now).await?.plan(&next).await?;
    /// println!("{} slots and {} keys", plan.moves.len(), plan.moves.iter().map(|it| it.keys).sum::<u64>());
    /// # Ok(()) }
    /// ```
    pub async fn plan(&self, target: &Hosts) -> Result<Plan> {
        let engine = self.store.engine();
        let target: Vec<Host> = slot_hosts(target)?.into_iter().map(|address| address.host).collect();
        let moves = engine.moves_to(&target)?;
        let hosts = engine.hosts();
        let from = |number| moves.iter().filter(move |it| it.from == number).map(|it| it.slot);
        let look = async |number: usize| {
            let slots = from(number).map(|slot| (slot, Contents::default())).collect();
            self.contents(&hosts[number].name, slots).await
        };
        let givers = (0..hosts.len()).filter(|&number| from(number).next().is_some());
        let found: BTreeMap<u16, (Contents, Option<u64>)> =
            try_join_all(givers.map(look)).await?.into_iter().flatten().collect();
        let planned = moves.iter().map(|it| {
            let (contents, bytes) = found.get(&it.slot).copied().unwrap_or_default();
            SlotMove {
                slot: it.slot,
                from: hosts[it.from].name.clone(),
                to: target[it.to].name().into(),
                keys: contents.keys,
                buffer_keys: contents.buffer_keys,
                bytes,
            }
        });
        let epoch = engine.placement().map_or(1, |placement| placement.epoch);
        Ok(Plan { epoch, moves: planned.collect() })
    }

    /// The contents of some slots of a host, with the memory of each.
    async fn contents(
        &self,
        host: &str,
        mut slots: BTreeMap<u16, Contents>,
    ) -> Result<Vec<(u16, (Contents, Option<u64>))>> {
        let engine = self.store.engine();
        let content = |key: &[u8]| Some((engine.slot_of(key)?, engine.home(key)?.1));
        let mut scan = Scan::new(&self.store, host);
        let mut met = 0_u64;
        loop {
            let is_measured = |key: &[u8]| {
                let copied = content(key)
                    .is_some_and(|(slot, content)| content == Content::Copied && slots.contains_key(&slot));
                met += u64::from(copied);
                copied && (met <= ALL_MEASURED || met.is_multiple_of(MEASURED))
            };
            let Some(Page { keys, sizes }) = scan.next(is_measured).await? else { break };
            for key in &keys {
                let Some((slot, content)) = content(key) else { continue };
                let Some(contents) = slots.get_mut(&slot) else { continue };
                match content {
                    Content::Copied => contents.keys += 1,
                    Content::Drained => contents.buffer_keys += 1,
                }
            }
            for (key, size) in sizes {
                let slot = engine.slot_of(&keys[key]).and_then(|slot| slots.get_mut(&slot));
                if let Some(contents) = slot {
                    contents.measured += 1;
                    contents.bytes += size;
                }
            }
        }
        let total = slots.values().fold((0, 0), |sum, it| (sum.0 + it.bytes, sum.1 + it.measured));
        let refused = scan.is_refused();
        let bytes = |contents: &Contents| {
            let (bytes, measured) =
                if contents.measured > 0 { (contents.bytes, contents.measured) } else { total };
            (!refused).then(|| estimate(bytes, measured, contents.keys))
        };
        Ok(slots.into_iter().map(|(slot, contents)| (slot, (contents, bytes(&contents)))).collect())
    }
}

/// The addresses of hosts whose keys are placed by slots.
pub(super) fn slot_hosts(hosts: &Hosts) -> Result<Vec<Address>> {
    match (hosts.router, Location::of_hosts(hosts.router, &hosts.listed)?) {
        (RouterKind::Slots, Location::Hosts(_, addresses)) => Ok(addresses),
        (router, _) => {
            Err(invalid(format!("router {router}: slots move between hosts with the router slots")))
        }
    }
}

/// The bytes of `keys` of which some were measured.
fn estimate(bytes: u64, measured: u64, keys: u64) -> u64 {
    let estimate = u128::from(bytes) * u128::from(keys) / u128::from(measured.max(1));
    u64::try_from(estimate).unwrap_or(u64::MAX)
}

//! The placement of keys, as the hosts store it.
//!
//! Each host stores two things beside its data: its own name, and the placement, which is the same text on all hosts.
//! The stored placement wins over the configured one. If they contradict each other nothing is written, since keys
//! would be read and written on the wrong hosts.

use std::{fmt::Write as _, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::{
    Host, SlotTable,
    router::{Router, RouterKind},
    sealed::{SEAL, seal, unseal},
};
use crate::{
    engine::redis::Redis,
    error::{Error, ErrorKind, Result},
};

/// The first line of the text of a placement without slots.
const HEADER: &str = "forebay-router 1";

/// The first line of the text that hosts have in place of a placement while keys are copied to them from hosts of another layout.
pub(super) const CONVERTING: &str = "forebay-convert 1";

/// The record that one host stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The host's own name.
    pub name: Option<String>,
    /// The text of the placement.
    pub placement: Option<String>,
}

/// What tells the record of a host from that of another, without the whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The host's own name.
    pub name: Option<String>,
    /// The first lines of its placement.
    pub head: Option<String>,
    /// The last line of it.
    pub seal: Option<String>,
}

/// How the placement that a host holds is related to that of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Same,
    Earlier,
    Later,
    /// It is of the same epoch.
    Other,
}

impl Identity {
    pub(crate) fn relation(&self, placement: &Placement) -> Relation {
        if self.seal.as_deref() == Some(placement.seal()) {
            return Relation::Same;
        }
        let epoch: Option<u64> =
            self.head.as_deref().and_then(|head| head.lines().nth(1)?.strip_prefix("epoch ")?.parse().ok());
        match epoch {
            Some(epoch) if epoch > placement.epoch() => Relation::Later,
            Some(epoch) if epoch < placement.epoch() => Relation::Earlier,
            _ => Relation::Other,
        }
    }
}

/// The placement by which this process finds keys, for those who compare it with what a host holds.
#[derive(Debug)]
pub(crate) struct CurrentPlacement {
    /// Locked to copy or to replace a pointer.
    placement: RwLock<Arc<Placement>>,
    /// Notified when a host holds a later one.
    later: Notify,
}

impl CurrentPlacement {
    pub(crate) fn new(placement: Arc<Placement>) -> Arc<Self> {
        Arc::new(Self { placement: RwLock::new(placement), later: Notify::new() })
    }

    pub(crate) fn get(&self) -> Arc<Placement> {
        self.placement.read().clone()
    }

    pub(crate) fn set(&self, placement: Arc<Placement>) {
        *self.placement.write() = placement;
    }

    /// Says that a host holds a later placement.
    pub(crate) fn note_later(&self) {
        self.later.notify_one();
    }

    /// Ends when a host holds a later placement.
    pub(crate) async fn later(&self) {
        self.later.notified().await;
    }
}

/// Where keys go, and the text that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    kind: RouterKind,
    router: Router,
    text: Box<str>,
}

impl Placement {
    /// The placement of hosts that have none yet.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub(crate) fn first(kind: RouterKind, hosts: &[Host]) -> Result<Self> {
        let router = Router::new(kind, hosts)?;
        let text = match &router {
            Router::Slots(table) => table.to_string(),
            _ => describe(kind, hosts),
        };
        Ok(Self { kind, router, text: text.into() })
    }

    /// The placement that the hosts agree on; `None`: all answered, and none has one.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when a host has another name than is configured, hosts contradict each
    /// other, or all of them the configuration. [`ErrorKind::Unavailable`] when only a host that does not answer
    /// can know. [`ErrorKind::Corrupt`] for a text that cannot be read.
    pub(crate) fn agreed(kind: RouterKind, hosts: &[Host], found: &[Result<Record>]) -> Result<Option<Self>> {
        for (host, record) in hosts.iter().zip(found) {
            if let Some(name) = record.as_ref().ok().and_then(|record| record.name.as_deref()) {
                check_name(host, name)?;
            }
        }
        let latest = Self::latest_table(found).map_or(0, |table| table.epoch());
        let mut best: Option<(&Host, Self)> = None;
        for (host, record) in hosts.iter().zip(found) {
            let Some(text) = record.as_ref().ok().and_then(|record| record.placement.as_deref()) else {
                continue;
            };
            let is_earlier = || text.parse().is_ok_and(|table: SlotTable| table.epoch() < latest);
            if best.as_ref().is_some_and(|(_, best)| *best.text == *text) || is_earlier() {
                continue;
            }
            let stored = Self::read(kind, hosts, text).map_err(|error| at(host, &error))?;
            best = match best {
                Some((first, best)) if best.epoch() == stored.epoch() => {
                    return Err(Error::new(
                        ErrorKind::Configuration,
                        format!(
                            "hosts {:?} and {:?} hold different placements of epoch {}: they belong to two \
                             deployments, which need different prefixes",
                            first.name(),
                            host.name(),
                            stored.epoch()
                        ),
                    ));
                }
                _ => Some((host, stored)),
            };
        }
        if let Some((_, best)) = best {
            return Ok(Some(best));
        }
        match hosts.iter().zip(found).find_map(|(host, record)| Some((host, record.as_ref().err()?))) {
            None => Ok(None),
            Some((host, error)) => Err(Error::new(
                error.kind(),
                format!(
                    "host {:?} does not answer, and no other has the placement of keys, which it may have",
                    host.name()
                ),
            )
            .with_source(error.clone())),
        }
    }

    /// The placement by a later table.
    pub(crate) fn of_table(table: SlotTable) -> Self {
        let text = table.to_string().into();
        Self { kind: RouterKind::Slots, router: Router::Slots(table), text }
    }

    /// The same with those of `hosts` only that its table has, in their order.
    ///
    /// # Errors
    /// As [`SlotTable::numbered_as`].
    pub(crate) fn of_its_hosts(self, hosts: &[Host]) -> Result<Self> {
        let Router::Slots(table) = &self.router else { return Ok(self) };
        let known = |host: &&Host| table.hosts().any(|name| name == host.name());
        let hosts: Vec<Host> = hosts.iter().filter(known).cloned().collect();
        let table = self.text.parse::<SlotTable>()?.numbered_as(&hosts)?;
        Ok(Self { router: Router::Slots(table), ..self })
    }

    /// The table of slots, if there is one.
    pub(crate) fn table(&self) -> Option<&SlotTable> {
        match &self.router {
            Router::Slots(table) => Some(table),
            _ => None,
        }
    }

    /// The latest table that was found. Anything that is not one is left to [`agreed`](Self::agreed).
    pub(crate) fn latest_table(found: &[Result<Record>]) -> Option<SlotTable> {
        let texts = found.iter().filter_map(|record| record.as_ref().ok()?.placement.as_deref());
        texts.filter_map(|text| text.parse().ok()).max_by_key(SlotTable::epoch)
    }

    /// Reads a stored placement and checks it against the configuration.
    fn read(kind: RouterKind, hosts: &[Host], text: &str) -> Result<Self> {
        let header = text.lines().next().unwrap_or_default();
        if header == CONVERTING {
            return Err(converting());
        }
        let router = if header == HEADER {
            if unseal(text).is_none() {
                return Err(Error::new(ErrorKind::Corrupt, "stored placement: cut off or changed"));
            }
            if text != describe(kind, hosts) {
                return Err(disagree(&summary(text), &summary(&describe(kind, hosts))));
            }
            Router::new(kind, hosts)?
        } else {
            let table: SlotTable = text.parse()?;
            if kind != RouterKind::Slots {
                let names: Vec<_> = table.hosts().collect();
                return Err(disagree(
                    &format!("router slots, hosts {}", names.join(", ")),
                    &summary(&describe(kind, hosts)),
                ));
            }
            Router::Slots(table.numbered_as(hosts)?)
        };
        Ok(Self { kind, router, text: text.into() })
    }

    pub(crate) fn kind(&self) -> RouterKind {
        self.kind
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// The text, as it is stored on every host.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The end of the text, by which it is told from every other.
    pub(crate) fn seal(&self) -> &str {
        &self.text[self.text.len() - SEAL..]
    }

    /// Which version it is; placements without slots have only one.
    pub(crate) fn epoch(&self) -> u64 {
        match &self.router {
            Router::Slots(table) => table.epoch(),
            _ => 1,
        }
    }
}

/// The error of hosts that do not have all keys yet.
pub(super) fn converting() -> Error {
    let text = "keys are being copied here by forebay cluster convert, or were until it ended in the middle: run it to its end \
                before the store is opened";
    Error::new(ErrorKind::Configuration, text)
}

/// Refuses a host that is to be used alone, and is one of several: the keys of the others would be missing.
pub(crate) async fn check_alone(engine: &Redis) -> Result<()> {
    // Without an answer there is nothing to refuse.
    let Ok(Record { name: Some(name), placement: Some(text) }) = engine.record().await else { return Ok(()) };
    let Ok(table) = text.parse::<SlotTable>() else { return Ok(()) };
    let owners: Vec<&str> = table.owners().collect();
    if owners.len() == 1 || !owners.contains(&&*name) {
        return Ok(());
    }
    let (number, text) = (owners.len(), owners.join(", "));
    Err(Error::new(
        ErrorKind::Configuration,
        format!(
            "the host is {name:?}, one of the {number} hosts of a store: list all of them ({text}), as redis://a,b,c or in \
             [cluster.hosts]"
        ),
    ))
}

/// Whether the host that answers is the one that is meant.
///
/// # Errors
/// [`ErrorKind::Configuration`] with both names.
pub(crate) fn check_name(host: &Host, stored: &str) -> Result<()> {
    if host.name() == stored {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Configuration,
        format!(
            "the host configured as {:?} is {stored:?} by its own account: URLs were swapped, two lead to one host, or \
             its address changed; give hosts names, and each name the URL of its host",
            host.name()
        ),
    ))
}

/// The text of a placement without slots. Only a modulo cares for the order of hosts.
fn describe(kind: RouterKind, hosts: &[Host]) -> String {
    let mut hosts: Vec<&Host> = hosts.iter().collect();
    if kind != RouterKind::NydusPartition {
        hosts.sort_by_key(|host| host.name());
    }
    let mut body = format!("{HEADER}\nrouter {kind}\n");
    for host in hosts {
        writeln!(body, "host {} {}", host.name(), host.weight()).expect("a string takes everything");
    }
    seal(&body)
}

/// A text of [`describe`] for a message.
fn summary(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let router = lines.get(1).copied().unwrap_or_default();
    let hosts: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("host ")).collect();
    let hosts: Vec<_> = hosts.iter().map(|host| host.strip_suffix(" 1").unwrap_or(host)).collect();
    format!("{router}, hosts {}", hosts.join(", "))
}

fn disagree(stored: &str, configured: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "the placement of keys is stored as ({stored}) and configured as ({configured}): keys would be looked for \
             where they are not"
        ),
    )
}

fn at(host: &Host, error: &Error) -> Error {
    Error::new(error.kind(), format!("host {:?}: {error}", host.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| Host::new(name).expect("a good name")).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands in a list with those that failed")]
    fn holding(name: Option<&str>, placement: Option<&Placement>) -> Result<Record> {
        let placement = placement.map(|placement| placement.text().to_owned());
        Ok(Record { name: name.map(Into::into), placement })
    }

    fn dead() -> Result<Record> {
        Err(Error::new(ErrorKind::Unavailable, "connection refused"))
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands in a list with those that failed")]
    fn empty() -> Result<Record> {
        Ok(Record::default())
    }

    const ABC: [&str; 3] = ["a", "b", "c"];

    fn first(kind: RouterKind, names: &[&str]) -> Placement {
        Placement::first(kind, &hosts(names)).expect("good hosts")
    }

    #[test]
    fn what_is_stored_on_one_host_counts_for_all() {
        for kind in RouterKind::ALL {
            let stored = first(kind, &ABC);
            let found = [dead(), empty(), holding(Some("c"), Some(&stored))];
            let agreed = Placement::agreed(kind, &hosts(&ABC), &found).expect("agrees");
            assert_eq!(agreed, Some(stored.clone()));
            assert!(stored.text().ends_with(stored.seal()));
            assert_eq!(unseal(stored.text()).map(seal).as_deref(), Some(stored.text()));
        }
    }

    #[test]
    fn hosts_that_have_nothing_have_nothing() {
        let found = [empty(), holding(Some("b"), None), empty()];
        assert_eq!(Placement::agreed(RouterKind::Slots, &hosts(&ABC), &found).expect("agrees"), None);
    }

    /// Else two processes, one on each side of a broken network, would fill different tables.
    #[test]
    fn a_host_that_does_not_answer_may_have_what_the_others_lack() {
        let found = [empty(), dead(), empty()];
        let error = Placement::agreed(RouterKind::Slots, &hosts(&ABC), &found).expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("\"b\""), "{error}");
    }

    #[test]
    fn swapped_urls_are_an_error_that_names_both() {
        let stored = first(RouterKind::Slots, &ABC);
        let found = [
            holding(Some("b"), Some(&stored)),
            holding(Some("a"), Some(&stored)),
            holding(Some("c"), Some(&stored)),
        ];
        let error = Placement::agreed(RouterKind::Slots, &hosts(&ABC), &found).expect_err("swapped");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(text.contains("configured as \"a\" is \"b\" by its own account"), "{text}");
    }

    #[test]
    fn another_list_of_hosts_is_an_error_that_names_both() {
        for (kind, configured, parts) in [
            (RouterKind::Slots, &["a", "b"][..], ["only in the table: c", "only in the configuration: none"]),
            (RouterKind::NydusPartition, &["b", "a", "c"], ["hosts a, b, c)", "hosts b, a, c)"]),
            (RouterKind::NydusKetama, &["a", "b", "d"], ["hosts a, b, c)", "hosts a, b, d)"]),
        ] {
            let stored = first(kind, &ABC);
            let found: Vec<_> = configured.iter().map(|_| holding(None, Some(&stored))).collect();
            let error = Placement::agreed(kind, &hosts(configured), &found).expect_err("other hosts");
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        }
    }

    #[test]
    fn the_order_of_hosts_counts_for_a_modulo_only() {
        for kind in RouterKind::ALL {
            let stored = first(kind, &ABC);
            let turned = hosts(&["c", "a", "b"]);
            let found = [holding(None, Some(&stored)), empty(), empty()];
            let agreed = Placement::agreed(kind, &turned, &found);
            assert_eq!(agreed.is_ok(), kind != RouterKind::NydusPartition, "{kind}");
            if let Ok(Some(agreed)) = agreed {
                for i in 0..100 {
                    let key = format!("key:{i}");
                    let host = agreed.router().host_for_key(key.as_bytes());
                    let before = stored.router().host_for_key(key.as_bytes());
                    assert_eq!(turned[host].name(), ABC[before], "{kind}");
                }
            }
        }
    }

    #[test]
    fn another_router_than_the_stored_one_is_an_error() {
        for (stored, configured) in [
            (RouterKind::Slots, RouterKind::NydusPartition),
            (RouterKind::NydusPartition, RouterKind::Slots),
            (RouterKind::NydusKetama, RouterKind::TwemproxyKetama),
        ] {
            let found = [holding(None, Some(&first(stored, &ABC))), empty(), empty()];
            let error = Placement::agreed(configured, &hosts(&ABC), &found).expect_err("another router");
            assert!(error.to_string().contains(&format!("router {stored}")), "{error}");
            assert!(error.to_string().contains(&format!("router {configured}")), "{error}");
        }
    }

    #[test]
    fn the_newer_placement_wins_and_two_of_one_epoch_are_an_error() {
        let heavy = Host::new("c").and_then(|host| host.with_weight(2)).expect("a good host");
        let other = [hosts(&["a", "b"]), vec![heavy]].concat();
        let other = Placement::first(RouterKind::Slots, &other).expect("good hosts");
        let stored = first(RouterKind::Slots, &ABC);
        let found = [holding(None, Some(&stored)), holding(None, Some(&other)), empty()];
        let error = Placement::agreed(RouterKind::Slots, &hosts(&ABC), &found).expect_err("two tables");
        assert!(error.to_string().contains("different placements of epoch 1"), "{error}");

        let later = seal(&unseal(other.text()).expect("sealed").replace("epoch 1\n", "epoch 2\n"));
        for turn in 0..2 {
            let mut found =
                vec![holding(None, Some(&stored)), Ok(Record { name: None, placement: Some(later.clone()) })];
            found.rotate_left(turn);
            found.push(empty());
            let agreed =
                Placement::agreed(RouterKind::Slots, &hosts(&ABC), &found).expect("agrees").expect("some");
            assert_eq!((agreed.epoch(), agreed.text()), (2, later.as_str()));
        }
    }

    #[test]
    fn a_text_that_was_changed_is_refused() {
        for kind in [RouterKind::Slots, RouterKind::NydusKetama] {
            let text = first(kind, &ABC).text().replace("host a", "host d");
            let found = [Ok(Record { name: None, placement: Some(text) }), empty(), empty()];
            let error = Placement::agreed(kind, &hosts(&ABC), &found).expect_err("changed");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{kind}");
        }
    }
}

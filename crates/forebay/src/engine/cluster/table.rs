//! The table that says which host owns each slot, and the text in which it is stored and shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
};

use super::{
    Host, SLOTS, Slot,
    host::{check_hosts, check_names},
    router::rendezvous,
    sealed::{seal, unseal},
};
use crate::error::{Error, ErrorKind, Result};

/// The first line of the text: what it is, and in which version of the form. Every version reads the first, which has hosts and
/// their slots only.
const HEADERS: [&str; 2] = ["forebay-slots 1", "forebay-slots 2"];

/// Scripts compare epochs as numbers that are exact below this.
const MAX_EPOCH: u64 = 1 << 53;

/// Which host owns each slot: explicit, so that slots can move one by one and everybody can see where
/// they are, and versioned, so that the newer of two tables is known.
///
/// Its text is stored on the hosts and wins over what anybody would compute:
///
/// ```text
/// forebay-slots 1
/// epoch 1
/// host cache-a 0-2 7 9-16383
/// host cache-b 3-6 8
/// check 6d1f0c2ab3e45f78
/// ```
///
/// Hosts are in the order of their names, so equal tables have equal texts, whatever the order of the
/// configured list. A table that was just filled takes about 5 bytes a slot.
///
/// Slots on their way to another host, and the addresses of hosts that joined later, stand in further lines:
///
/// ```text
/// forebay-slots 2
/// ...
/// address cache-d redis://10.0.0.4:6379/0
/// draining cache-d 11
/// moving cache-d 3-5
/// left cache-a 7
/// ```
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SlotTable {
    epoch: u64,
    hosts: Box<[Listing]>,
    /// The position in `hosts` of each slot's owner.
    owners: Box<[u16]>,
    /// In the order of slots.
    transits: Box<[Transit]>,
}

/// A host of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listing {
    name: Box<str>,
    /// For processes whose configuration does not list it. Without a login.
    address: Option<Box<str>>,
}

/// A slot on its way from one owner to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transit {
    pub slot: Slot,
    /// The number of the other host: its next owner, or its former one.
    pub host: usize,
    pub phase: Phase,
}

/// What happens to a slot on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No rows are added to its buffers, so that those that are there get into the database. All else is as before.
    Draining,
    /// Nothing is written, so that the keys can be copied.
    Moving,
    /// It has its new owner. The former one still has the keys.
    Left,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Draining, Self::Moving, Self::Left];

    /// The word by which the text names it.
    fn word(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Moving => "moving",
            Self::Left => "left",
        }
    }
}

impl SlotTable {
    /// The table of hosts that have none yet: each gets its share by weight. Its epoch is 1.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if there are no hosts, too many, or two of one name.
    pub(crate) fn fill(hosts: &[Host]) -> Result<Self> {
        check_hosts(hosts)?;
        let hosts_of_table = hosts.iter().map(|host| Listing::new(host.name())).collect();
        let (owners, transits) = (rendezvous::place(hosts), Box::default());
        Ok(Self { epoch: 1, hosts: hosts_of_table, owners, transits })
    }

    /// The next table, in which hosts are known that have an address.
    pub(crate) fn with_addresses(&self, addresses: &[(&str, Box<str>)]) -> Self {
        let mut next = self.next();
        let mut hosts = next.hosts.into_vec();
        for (name, address) in addresses {
            let listing = Listing { name: (*name).into(), address: Some(address.clone()) };
            match hosts.iter_mut().find(|known| *known.name == **name) {
                Some(known) => *known = listing,
                None => hosts.push(listing),
            }
        }
        next.hosts = hosts.into();
        next
    }

    /// The next table, with these slots on their way, and no others.
    pub(crate) fn with_transits(&self, transits: impl IntoIterator<Item = Transit>) -> Self {
        let all: BTreeMap<Slot, Transit> = transits.into_iter().map(|it| (it.slot, it)).collect();
        Self { transits: all.into_values().collect(), ..self.next() }
    }

    /// The next table, in which slots have the owners of these numbers.
    pub(crate) fn with_owners(&self, owners: impl IntoIterator<Item = (Slot, usize)>) -> Self {
        let mut next = self.next();
        for (slot, owner) in owners {
            let owner = u16::try_from(owner).expect("hosts are below 2^16");
            next.owners[usize::from(slot.number())] = owner;
        }
        next
    }

    /// The next table, with no slot on its way, and without hosts that have no slot and are not in `names`.
    pub(crate) fn without_idle(&self, names: &[&str]) -> Self {
        let mut next = self.next();
        let stays =
            |number: usize| names.contains(&&*self.hosts[number].name) || self.runs(number).next().is_some();
        let mut numbers = vec![];
        let mut hosts = vec![];
        for (number, host) in self.hosts.iter().enumerate() {
            numbers.push(u16::try_from(hosts.len()).expect("hosts are below 2^16"));
            hosts.extend(stays(number).then(|| host.clone()));
        }
        next.hosts = hosts.into();
        next.owners = self.owners.iter().map(|&owner| numbers[usize::from(owner)]).collect();
        next.transits = Box::default();
        next
    }

    fn next(&self) -> Self {
        Self { epoch: self.epoch + 1, ..self.clone() }
    }

    /// Whether, by a later table, slots have left a host, or other ones of it are on their way: then not all who come to it by this
    /// table come rightly.
    pub(crate) fn gives_from(&self, later: &Self, name: &str) -> bool {
        let owns = |table: &Self, slot| &*table.hosts[table.owner(slot)].name == name;
        (0..SLOTS)
            .map(Slot::numbered)
            .any(|slot| owns(self, slot) && (!owns(later, slot) || self.phase(slot) != later.phase(slot)))
    }

    /// The addresses of hosts for processes that have none for them.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &str)> {
        self.hosts.iter().filter_map(|host| Some((&*host.name, host.address.as_deref()?)))
    }

    /// The slots on their way to another host, in their order.
    pub(crate) fn transits(&self) -> &[Transit] {
        &self.transits
    }

    /// What happens to a slot, if it is on its way to another host.
    pub(crate) fn phase(&self, slot: Slot) -> Option<Phase> {
        if self.transits.is_empty() {
            return None;
        }
        let at = self.transits.binary_search_by_key(&slot, |transit| transit.slot).ok()?;
        Some(self.transits[at].phase)
    }

    /// Which version this is; a change of any owner raises it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The names of the hosts, in the order of their numbers.
    pub(crate) fn hosts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.hosts.iter().map(|host| &*host.name)
    }

    /// The names of the hosts that have slots, in the order of their numbers.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &str> {
        let all: BTreeSet<u16> = self.owners.iter().copied().collect();
        all.into_iter().map(|owner| &*self.hosts[usize::from(owner)].name)
    }

    /// The number of the host that owns `slot`.
    pub(crate) fn owner(&self, slot: Slot) -> usize {
        self.owners[usize::from(slot.number())].into()
    }

    /// The slots of the host with this number, in ascending runs that do not touch.
    pub(crate) fn runs(&self, host: usize) -> impl Iterator<Item = RangeInclusive<u16>> {
        let mut start = 0;
        self.owners
            .chunk_by(|a, b| a == b)
            .map(move |run| {
                let first = start;
                start += run.len();
                #[expect(clippy::cast_possible_truncation, reason = "a position in `owners` is below 2^14")]
                (run[0], first as u16..=(start - 1) as u16)
            })
            .filter(move |(owner, _)| usize::from(*owner) == host)
            .map(|(_, run)| run)
    }

    /// The same table with its hosts numbered as in `hosts`. A host that is in `hosts` only has no slots.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if one of the table is not in `hosts`: its keys would be looked for, and written, elsewhere.
    pub(crate) fn numbered_as(&self, hosts: &[Host]) -> Result<Self> {
        check_hosts(hosts)?;
        let position =
            |name: &str| (0_u16..).zip(hosts).find(|(_, host)| host.name() == name).map(|(number, _)| number);
        let missing: Vec<_> = self.hosts().filter(|name| position(name).is_none()).collect();
        let added: Vec<_> =
            hosts.iter().map(Host::name).filter(|name| self.hosts().all(|known| known != *name)).collect();
        if !missing.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "configured hosts differ from the stored slot table of epoch {}: only in the table: {}; only \
                     in the configuration: {}; name the same hosts, and move slots before a host leaves",
                    self.epoch,
                    list(&missing),
                    list(&added),
                ),
            ));
        }
        let numbers: Vec<_> = self.hosts().filter_map(position).collect();
        let owners = self.owners.iter().map(|&owner| numbers[usize::from(owner)]).collect();
        let transits =
            self.transits.iter().map(|it| Transit { host: numbers[it.host].into(), ..*it }).collect();
        let listing = |host: &Host| {
            let known = self.hosts.iter().find(|known| *known.name == *host.name());
            known.cloned().unwrap_or_else(|| Listing::new(host.name()))
        };
        Ok(Self { epoch: self.epoch, hosts: hosts.iter().map(listing).collect(), owners, transits })
    }

    /// The text without its last line.
    fn body(&self) -> String {
        let mut text = String::new();
        self.write_body(&mut text).expect("a string takes everything");
        text
    }

    fn write_body(&self, text: &mut impl fmt::Write) -> fmt::Result {
        let header = HEADERS[usize::from(!self.transits.is_empty() || self.addresses().next().is_some())];
        writeln!(text, "{header}\nepoch {}", self.epoch)?;
        let mut lines: Vec<_> = (0..self.hosts.len()).collect();
        lines.sort_unstable_by_key(|&host| &self.hosts[host].name);
        for &host in &lines {
            write_runs(text, "host", &self.hosts[host].name, self.runs(host))?;
        }
        for host in lines.iter().map(|&host| &self.hosts[host]) {
            if let Some(address) = &host.address {
                writeln!(text, "address {} {address}", host.name)?;
            }
        }
        for phase in Phase::ALL {
            for &host in &lines {
                let there = self.transits.iter().filter(|it| it.phase == phase && it.host == host);
                let mut runs: Vec<RangeInclusive<u16>> = vec![];
                for slot in there.map(|transit| transit.slot.number()) {
                    match runs.last_mut() {
                        Some(run) if run.end() + 1 == slot => *run = *run.start()..=slot,
                        _ => runs.push(slot..=slot),
                    }
                }
                if !runs.is_empty() {
                    write_runs(text, phase.word(), &self.hosts[host].name, runs)?;
                }
            }
        }
        Ok(())
    }
}

impl Listing {
    fn new(name: &str) -> Self {
        Self { name: name.into(), address: None }
    }
}

/// A line of the text about some slots.
fn write_runs(
    text: &mut impl fmt::Write,
    word: &str,
    host: &str,
    runs: impl IntoIterator<Item = RangeInclusive<u16>>,
) -> fmt::Result {
    write!(text, "{word} {host}")?;
    for run in runs {
        match (*run.start(), *run.end()) {
            (slot, end) if slot == end => write!(text, " {slot}")?,
            (start, end) => write!(text, " {start}-{end}")?,
        }
    }
    writeln!(text)
}

/// Names for a message.
fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl fmt::Display for SlotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&seal(&self.body()))
    }
}

impl fmt::Debug for SlotTable {
    /// Without the 16384 owners.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotTable")
            .field("epoch", &self.epoch)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl FromStr for SlotTable {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) wrote; the hosts are then numbered in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for anything else, also if a single byte was changed.
    fn from_str(text: &str) -> Result<Self> {
        let body = checked_body(text)?;
        let mut lines = body.lines().zip(1..).skip(1);
        let epoch = lines
            .next()
            .and_then(|(line, _)| line.strip_prefix("epoch ")?.parse().ok())
            .filter(|epoch| *epoch < MAX_EPOCH)
            .ok_or_else(|| corrupt(2, "expected \"epoch\" and a number below 2^53"))?;
        let is_first_form = body.starts_with(HEADERS[0]);
        let mut hosts: Vec<Listing> = Vec::new();
        let mut owners = vec![None; usize::from(SLOTS)];
        let mut transits = vec![None; usize::from(SLOTS)];
        for (line, number) in lines {
            let expected = || corrupt(number, "expected \"host\" and a name");
            let (word, fields) = line.split_once(' ').ok_or_else(expected)?;
            let mut fields = fields.split(' ');
            let name = fields.next().unwrap_or_default();
            if word == "host" {
                let host =
                    Host::new(name).map_err(|cause| corrupt(number, "bad host name").with_source(cause))?;
                let owner = u16::try_from(hosts.len()).map_err(|_| corrupt(number, "too many hosts"))?;
                hosts.push(Listing::new(host.name()));
                for field in fields {
                    give(&mut owners, field, owner).map_err(|why| corrupt(number, &why))?;
                }
                continue;
            }
            let phase = Phase::ALL.into_iter().find(|phase| phase.word() == word);
            if is_first_form || phase.is_none() && word != "address" {
                return Err(expected());
            }
            let other = hosts.iter().position(|host| *host.name == *name);
            let other = other.ok_or_else(|| corrupt(number, &format!("there is no host {name:?}")))?;
            match phase {
                Some(phase) => {
                    for field in fields {
                        give(&mut transits, field, (phase, other)).map_err(|why| corrupt(number, &why))?;
                    }
                }
                None => hosts[other].address = Some(fields.collect::<Vec<_>>().join(" ").into()),
            }
        }
        check_names(hosts.iter().map(|host| &*host.name)).map_err(|cause| {
            Error::new(ErrorKind::Corrupt, "slot table: bad list of hosts").with_source(cause)
        })?;
        let orphan = owners.iter().position(Option::is_none);
        let owners = owners.into_iter().collect::<Option<_>>().ok_or_else(|| {
            let slot = orphan.unwrap_or_default();
            Error::new(ErrorKind::Corrupt, format!("slot table: nobody owns slot {slot}"))
        })?;
        let transit = |(slot, transit): (u16, Option<(Phase, usize)>)| {
            transit.map(|(phase, host)| Transit { slot: Slot::numbered(slot), host, phase })
        };
        let transits = (0..).zip(transits).filter_map(transit).collect();
        Ok(Self { epoch, hosts: hosts.into(), owners, transits })
    }
}

/// The text without its last line, if that fits it and the form is ours.
fn checked_body(text: &str) -> Result<&str> {
    let header = text.lines().next().unwrap_or_default();
    if !HEADERS.contains(&header) {
        let expected = HEADERS.join("\" or \"");
        return Err(corrupt(1, &format!("expected \"{expected}\"; another form may be of a newer version")));
    }
    unseal(text).ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            "slot table: cut off or changed, its last line does not fit the others",
        )
    })
}

/// Gives the slots of one field, `7` or `9-11`, to `owner`.
fn give<T: Copy>(owners: &mut [Option<T>], field: &str, owner: T) -> std::result::Result<(), String> {
    let (first, last) = field.split_once('-').unwrap_or((field, field));
    let run = match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last && last < SLOTS => usize::from(first)..=usize::from(last),
        _ => {
            return Err(format!(
                "slots {field:?}: expected a slot of 0 to {}, or a run such as 9-11",
                SLOTS - 1
            ));
        }
    };
    for slot in run {
        if owners[slot].replace(owner).is_some() {
            return Err(format!("slot {slot} has two owners"));
        }
    }
    Ok(())
}

/// The error for a line of a stored table that cannot be read.
fn corrupt(line: usize, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("slot table, line {line}: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| Host::new(name).expect("a good name")).collect()
    }

    fn filled(names: &[&str]) -> SlotTable {
        SlotTable::fill(&hosts(names)).expect("good hosts")
    }

    fn refusal(text: &str) -> String {
        let error = text.parse::<SlotTable>().expect_err("a bad table");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        error.to_string()
    }

    const SMALL: &str = "forebay-slots 1\nepoch 7\nhost a 0-2 7 9-16383\nhost b 3-6 8\nhost idle\n";

    #[test]
    fn text_is_as_documented() {
        let table: SlotTable = seal(SMALL).parse().expect("a good table");
        assert_eq!(table.to_string(), seal(SMALL));
        assert_eq!(table.epoch(), 7);
        assert_eq!(table.hosts().collect::<Vec<_>>(), ["a", "b", "idle"]);
        assert_eq!(table.runs(1).collect::<Vec<_>>(), [3..=6, 8..=8]);
        assert_eq!(table.runs(2).count(), 0);
        assert_eq!(table.owner(Slot::of_key(b"foo")), 0);
    }

    #[test]
    fn slots_on_their_way_stand_in_further_lines() {
        let table: SlotTable = seal(SMALL).parse().expect("a good table");
        let joined = table.with_addresses(&[("d", "redis://10.0.0.4:6379/0".into())]);
        let on_way = |(slot, host, phase)| Transit { slot: Slot::numbered(slot), host, phase };
        let all =
            [(9, 3, Phase::Draining), (4, 3, Phase::Moving), (3, 3, Phase::Draining), (8, 0, Phase::Left)];
        let moving = joined.with_transits(all.map(on_way));
        let expected = "forebay-slots 2\nepoch 9\nhost a 0-2 7 9-16383\nhost b 3-6 8\nhost d\nhost idle\n\
                        address d redis://10.0.0.4:6379/0\ndraining d 3 9\nmoving d 4\nleft a 8\n";
        assert_eq!(moving.to_string(), seal(expected));
        let read: SlotTable = moving.to_string().parse().expect("its own text");
        assert_eq!(read.to_string(), moving.to_string());
        let phase = |slot| moving.phase(Slot::numbered(slot));
        assert_eq!([phase(3), phase(4), phase(5)], [Some(Phase::Draining), Some(Phase::Moving), None]);

        let arrived = moving.with_owners([(Slot::numbered(4), 3)]);
        let owner = |slot| arrived.owner(Slot::numbered(slot));
        assert_eq!([owner(3), owner(4), owner(5)], [1, 3, 1]);
        let without = arrived.without_idle(&["a"]);
        assert_eq!(without.hosts().collect::<Vec<_>>(), ["a", "b", "d"]);
        assert_eq!((without.epoch(), without.transits()), (11, &[][..]));
        assert_eq!(without.runs(2).collect::<Vec<_>>(), [4..=4]);
    }

    /// Who came by the table before it has to look again.
    #[test]
    fn a_host_gives_what_leaves_it_and_what_is_on_its_way() {
        let table: SlotTable = seal(SMALL).parse().expect("a good table");
        let slot = Slot::numbered(4);
        let on_way = |phase| table.with_transits([Transit { slot, host: 0, phase }]);
        let gives = |before: &SlotTable, after: &SlotTable| {
            ["a", "b", "idle"].map(|host| before.gives_from(after, host))
        };
        assert_eq!(gives(&table, &table), [false; 3]);
        assert_eq!(gives(&table, &on_way(Phase::Moving)), [false, true, false]);
        assert_eq!(gives(&on_way(Phase::Moving), &table), [false, true, false]);
        assert_eq!(gives(&table, &table.with_owners([(slot, 2)])), [false, true, false]);
    }

    #[test]
    fn bad_tables_are_refused_with_their_line() {
        let cases = [
            ("host a 0-2 7 9-16383", "host a 0-2 7 9-16384", "line 3: slots \"9-16384\""),
            ("3-6 8", "3-6 8 8", "line 4: slot 8 has two owners"),
            ("3-6 8", "3-6", "nobody owns slot 8"),
            ("3-6 8", "6-3 8", "line 4: slots \"6-3\""),
            ("3-6 8", "3-6  8", "line 4: slots \"\""),
            ("host idle", "host a", "bad list of hosts"),
            ("host idle", "idle", "line 5: expected \"host\""),
            ("host idle", "moving a 8", "line 5: expected \"host\""),
            ("host idle", "host ", "line 5: bad host name"),
            ("epoch 7", "epoch -7", "line 2: expected \"epoch\""),
            (
                "forebay-slots 1",
                "forebay-slots 3",
                "line 1: expected \"forebay-slots 1\" or \"forebay-slots 2\"",
            ),
        ];
        for (good, bad, expected) in cases {
            let error = refusal(&seal(&SMALL.replace(good, bad)));
            assert!(error.contains(expected), "{bad:?}: {error}");
        }
        assert!(refusal(SMALL).contains("cut off or changed"));
        assert!(refusal("").contains("line 1"));
        assert!(refusal(&seal("forebay-slots 1\nepoch 7\n")).contains("bad list of hosts"));
    }

    /// A stored table may list its hosts otherwise than this process's configuration.
    #[test]
    fn numbers_follow_the_configuration() {
        let configured = hosts(&["c", "a", "b"]);
        let table = SlotTable::fill(&configured).expect("good hosts");
        let stored: SlotTable = table.to_string().parse().expect("its own text");
        assert_ne!(stored, table);
        assert_eq!(stored.to_string(), table.to_string());
        assert_eq!(stored.numbered_as(&configured).expect("the same names"), table);
    }

    #[test]
    fn a_configuration_without_a_host_of_the_table_is_an_error() {
        let error =
            filled(&["a", "b", "c"]).numbered_as(&hosts(&["a", "c", "d", "e"])).expect_err("other names");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(text.contains("only in the table: b; only in the configuration: d, e;"), "{text}");
    }

    /// It is stored on every host and read on every start.
    #[test]
    fn text_of_a_filled_table_is_below_100_kilobytes() {
        let names: Vec<_> = (0..40).map(|i| format!("cache-{i:02}.example.org:6379")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for count in [3, 40] {
            let size = filled(&names[..count]).to_string().len();
            assert!(size < 100_000, "{count} hosts: {size} bytes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn text_reads_back(
            epoch in 0..MAX_EPOCH,
            names in prop::collection::btree_set("[!-?A-~é]{1,20}", 1..12),
            lengths in prop::collection::vec((1_usize..5_000, any::<prop::sample::Index>()), 1..60),
            transits in prop::collection::vec((0..SLOTS, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..9),
            addressed in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let hosts: Box<[Listing]> = names.iter().map(|name| Listing::new(name)).collect();
            let runs = lengths.iter().flat_map(|(length, host)| vec![host.index(hosts.len()); *length]);
            let owners: Box<[u16]> = runs.chain(std::iter::repeat(0))
                .take(usize::from(SLOTS))
                .map(|host| u16::try_from(host).expect("below 12"))
                .collect();
            let transits: BTreeMap<u16, Transit> = transits.into_iter().map(|(slot, to, phase)| {
                let (host, phase) = (to.index(hosts.len()), *phase.get(&Phase::ALL));
                (slot, Transit { slot: Slot::numbered(slot), host, phase })
            }).collect();
            let mut hosts = hosts;
            if let Some(host) = addressed {
                host.get_mut(&mut hosts).address = Some("redis://10.0.0.1:6379/0?x=1".into());
            }
            let table = SlotTable { epoch, hosts, owners, transits: transits.into_values().collect() };
            let read: SlotTable = table.to_string().parse().expect("its own text");
            prop_assert_eq!(read, table);
        }

        #[test]
        fn one_changed_byte_is_noticed(at: prop::sample::Index, byte in 1_u8..128) {
            let mut text = seal(SMALL).into_bytes();
            let at = at.index(text.len());
            prop_assume!(text[at] != byte);
            text[at] = byte;
            let text = String::from_utf8(text).expect("ASCII");
            prop_assert!(text.parse::<SlotTable>().is_err(), "{}", text);
        }

        #[test]
        fn no_text_panics(body in "(forebay-slots 1\n)?(epoch [0-9]{1,21}\n)?(host [a-c ]{0,3}[0-9 -]{0,20}\n){0,4}") {
            let _ = seal(&body).parse::<SlotTable>();
            let _ = body.parse::<SlotTable>();
        }
    }
}

//! The table that says which host owns each slot, and the text in which it is stored and shown.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use super::{
    Host, SLOTS, Slot,
    host::{check_hosts, check_names},
    router::rendezvous,
    sealed::{seal, unseal},
};
use crate::error::{Error, ErrorKind, Result};

/// The first line of the text: what it is, and in which version of the form.
const HEADER: &str = "forebay-slots 1";

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
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SlotTable {
    epoch: u64,
    hosts: Box<[Box<str>]>,
    /// The position in `hosts` of each slot's owner.
    owners: Box<[u16]>,
}

impl SlotTable {
    /// The table of hosts that have none yet: each gets its share by weight. Its epoch is 1.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if there are no hosts, too many, or two of one name.
    pub(crate) fn fill(hosts: &[Host]) -> Result<Self> {
        check_hosts(hosts)?;
        let names = hosts.iter().map(|host| host.name().into()).collect();
        Ok(Self { epoch: 1, hosts: names, owners: rendezvous::place(hosts) })
    }

    /// Which version this is; a change of any owner raises it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The names of the hosts, in the order of their numbers.
    pub(crate) fn hosts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.hosts.iter().map(|name| &**name)
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

    /// The same table with its hosts numbered as in `hosts`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the names differ: keys would be looked for, and written, where
    /// they are not.
    pub(crate) fn numbered_as(&self, hosts: &[Host]) -> Result<Self> {
        check_hosts(hosts)?;
        let position =
            |name: &str| (0_u16..).zip(hosts).find(|(_, host)| host.name() == name).map(|(number, _)| number);
        let missing: Vec<_> = self.hosts().filter(|name| position(name).is_none()).collect();
        let added: Vec<_> =
            hosts.iter().map(Host::name).filter(|name| self.hosts().all(|known| known != *name)).collect();
        if !missing.is_empty() || !added.is_empty() {
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
        Ok(Self { epoch: self.epoch, hosts: hosts.iter().map(|host| host.name().into()).collect(), owners })
    }

    /// The text without its last line.
    fn body(&self) -> String {
        let mut text = String::new();
        self.write_body(&mut text).expect("a string takes everything");
        text
    }

    fn write_body(&self, text: &mut impl fmt::Write) -> fmt::Result {
        writeln!(text, "{HEADER}\nepoch {}", self.epoch)?;
        let mut lines: Vec<_> = (0..self.hosts.len()).collect();
        lines.sort_unstable_by_key(|&host| &self.hosts[host]);
        for host in lines {
            write!(text, "host {}", self.hosts[host])?;
            for run in self.runs(host) {
                match (*run.start(), *run.end()) {
                    (slot, end) if slot == end => write!(text, " {slot}")?,
                    (start, end) => write!(text, " {start}-{end}")?,
                }
            }
            writeln!(text)?;
        }
        Ok(())
    }
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
            .ok_or_else(|| corrupt(2, "expected \"epoch\" and a number below 2^64"))?;
        let mut hosts: Vec<Box<str>> = Vec::new();
        let mut owners = vec![None; usize::from(SLOTS)];
        for (line, number) in lines {
            let fields =
                line.strip_prefix("host ").ok_or_else(|| corrupt(number, "expected \"host\" and a name"))?;
            let mut fields = fields.split(' ');
            let name = fields.next().unwrap_or_default();
            let host =
                Host::new(name).map_err(|cause| corrupt(number, "bad host name").with_source(cause))?;
            let owner = u16::try_from(hosts.len()).map_err(|_| corrupt(number, "too many hosts"))?;
            hosts.push(host.name().into());
            for field in fields {
                give(&mut owners, field, owner).map_err(|why| corrupt(number, &why))?;
            }
        }
        check_names(hosts.iter().map(AsRef::as_ref)).map_err(|cause| {
            Error::new(ErrorKind::Corrupt, "slot table: bad list of hosts").with_source(cause)
        })?;
        let orphan = owners.iter().position(Option::is_none);
        let owners = owners.into_iter().collect::<Option<_>>().ok_or_else(|| {
            let slot = orphan.unwrap_or_default();
            Error::new(ErrorKind::Corrupt, format!("slot table: nobody owns slot {slot}"))
        })?;
        Ok(Self { epoch, hosts: hosts.into(), owners })
    }
}

/// The text without its last line, if that fits it and the form is ours.
fn checked_body(text: &str) -> Result<&str> {
    let header = text.lines().next().unwrap_or_default();
    if header != HEADER {
        return Err(corrupt(1, &format!("expected \"{HEADER}\"; another form may be of a newer version")));
    }
    unseal(text).ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            "slot table: cut off or changed, its last line does not fit the others",
        )
    })
}

/// Gives the slots of one field, `7` or `9-11`, to `owner`.
fn give(owners: &mut [Option<u16>], field: &str, owner: u16) -> std::result::Result<(), String> {
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
    fn bad_tables_are_refused_with_their_line() {
        let cases = [
            ("host a 0-2 7 9-16383", "host a 0-2 7 9-16384", "line 3: slots \"9-16384\""),
            ("3-6 8", "3-6 8 8", "line 4: slot 8 has two owners"),
            ("3-6 8", "3-6", "nobody owns slot 8"),
            ("3-6 8", "6-3 8", "line 4: slots \"6-3\""),
            ("3-6 8", "3-6  8", "line 4: slots \"\""),
            ("host idle", "host a", "bad list of hosts"),
            ("host idle", "idle", "line 5: expected \"host\""),
            ("host idle", "host ", "line 5: bad host name"),
            ("epoch 7", "epoch -7", "line 2: expected \"epoch\""),
            ("forebay-slots 1", "forebay-slots 2", "line 1: expected \"forebay-slots 1\""),
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
    fn a_configuration_with_other_hosts_is_an_error() {
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
            epoch: u64,
            names in prop::collection::btree_set("[!-?A-~é]{1,20}", 1..12),
            lengths in prop::collection::vec((1_usize..5_000, any::<prop::sample::Index>()), 1..60),
        ) {
            let hosts: Box<[Box<str>]> = names.iter().map(|name| Box::from(name.as_str())).collect();
            let runs = lengths.iter().flat_map(|(length, host)| vec![host.index(hosts.len()); *length]);
            let owners: Box<[u16]> = runs.chain(std::iter::repeat(0))
                .take(usize::from(SLOTS))
                .map(|host| u16::try_from(host).expect("below 12"))
                .collect();
            let table = SlotTable { epoch, hosts, owners };
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

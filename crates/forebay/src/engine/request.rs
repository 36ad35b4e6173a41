//! Arguments and answers of the steps of requests that are carried out once.

use std::{fmt::Write as _, time::Duration};

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    error::{Error, ErrorKind, Result, Retry},
    key::{self, Name},
};

/// For how long a store remembers a request that is to be carried out once.
pub(crate) const REQUEST_TTL: Duration = Duration::from_hours(24);

/// For how long a store keeps tokens: those of a request that began at the end of their hour outlive it.
pub(crate) const TOKEN_TTL: Duration = Duration::from_hours(26);

/// Time after which another attempt may take a request over. Far above the duration of an attempt.
pub(crate) const ATTEMPT_LEASE: Duration = Duration::from_secs(30);

/// About how many bytes a store keeps for a token.
pub(crate) const TOKEN_BYTES: u64 = 64;

/// The first digits of a host's replication id: enough to tell one id from another.
pub(crate) type Epoch = [u8; 16];

/// The epoch of a host that does not tell its replication id: a missing token never proves anything there.
pub(crate) const UNTOLD: Epoch = *b"untold..........";

/// Tells a store whether it has applied a part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub id: u128,
    /// The hour since 1970 in which the request began: tokens are kept by it.
    pub hour: u32,
    /// The epoch of the host in which the part may have been applied before; `None`: it certainly was not. In another epoch a
    /// missing token proves nothing, and the part is neither applied nor known.
    pub since: Option<Epoch>,
}

/// The error of a part of which it cannot be known any more whether it was applied.
pub(crate) fn lost() -> Error {
    let text = "write: an earlier attempt may have applied it, and the store has lost what would tell";
    Error::new(ErrorKind::Ambiguous, text).with_retry(Retry::Never)
}

/// Whether a store has a part's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub there: bool,
    pub epoch: Epoch,
}

impl Seen {
    /// Whether the store has certainly not applied a part that it was sent in this epoch.
    pub(crate) fn proves_absence(&self, since: Epoch) -> bool {
        !self.there && self.epoch == since && since != UNTOLD
    }
}

/// Tells a store whether it has made a charge, and for which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChargeToken {
    pub id: u128,
    /// Only the last attempt that asked for the charge can give it back.
    pub owner: Uuid,
    /// No earlier attempt can have charged.
    pub is_first: bool,
}

impl ChargeToken {
    /// The token of the charges that one step makes: each host has its own. They are known by the first of them.
    pub(crate) fn of(self, limit: &Name, key: &str) -> Self {
        let text = format!("{:032x} {limit} {key}", self.id);
        Self { id: xxh3_128(text.as_bytes()), ..self }
    }
}

/// The hosts of a store, each with a hash of its name, and its epoch if it is known. Behind them a [mark](down_mark) for each
/// host that is down.
pub(crate) type Hosts = Vec<(u32, Option<Epoch>)>;

/// The begin of an attempt at a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin<'a> {
    pub key: &'a str,
    /// Tells requests apart.
    pub fingerprint: u128,
    /// The id of this attempt.
    pub owner: Uuid,
    /// Time after which another attempt may take over.
    pub lease: Duration,
    pub hosts: &'a [(u32, Option<Epoch>)],
    /// The bytes of a new request.
    pub weight: u64,
    /// The most bytes that all may have.
    pub most: u64,
}

/// The state of a request in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The caller carries it out.
    Ours(Ours),
    /// Another attempt is under way, and left alone for so long.
    Running(Duration),
    /// It was carried out, with this answer.
    Done(Box<str>),
    /// Under this key there was another one.
    Other,
    /// It is unknown, and there is no room for it.
    Full,
}

/// A request that the caller carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    pub attempt: Attempt,
    pub hour: u32,
    /// The epochs in which parts may have been, or may be, applied.
    pub hosts: Vec<(u32, Epoch)>,
    /// The note of the last attempt that ended.
    pub note: Box<str>,
}

/// Which attempt at a request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    /// The last one ended, and noted the outcome of each part.
    Again,
    /// The last one may have died, or did not learn the outcome of some part.
    Takeover,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// This is the answer, now and later.
    Final { answer: &'a str, more: u64 },
    /// Another attempt may complete it. `certain`: the outcome of each part is known.
    Open { note: &'a str, certain: bool, more: u64 },
    /// Nothing was applied: `less` bytes are free again.
    Nothing { less: u64 },
}

impl End<'_> {
    /// The state, the text, and how many bytes there are more, as stores write them.
    pub(crate) fn words(&self) -> (&'static str, &str, i64) {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        match *self {
            End::Final { answer, more } => ("e", answer, signed(more)),
            End::Open { note, certain: true, more } => ("o", note, signed(more)),
            End::Open { note, certain: false, more } => ("d", note, signed(more)),
            End::Nothing { less } => ("-", "", -signed(less)),
        }
    }
}

/// Hosts as stores write them: `0a1b2c3d:8c7f…,` for each whose epoch is known.
pub(crate) fn write_hosts(hosts: &[(u32, Option<Epoch>)]) -> String {
    let mut text = String::with_capacity(26 * hosts.len());
    for (name, epoch) in hosts {
        if let Some(epoch) = epoch {
            write!(text, "{name:08x}:{},", String::from_utf8_lossy(epoch))
                .expect("a string takes what is written");
        }
    }
    text
}

/// The mark of a host that was down when a request began, under a placement of this number. It stands in the record like a host
/// of its own, so that every attempt finds the rows of the host where the first one sent them.
#[cfg(feature = "redis")]
pub(crate) fn down_mark(host: u32, placement: u64) -> (u32, Option<Epoch>) {
    (mark_of(host), Some(placement_text(placement)))
}

/// Whether a host was down when a request began, as its record says: before the host had an epoch there. An attempt that takes
/// the request over adds what is missing in the record behind it.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if keys were placed otherwise then: nobody knows where the rows went.
pub(crate) fn was_down(hosts: &[(u32, Epoch)], host: u32, placement: u64) -> Result<bool> {
    let mark = hosts.iter().position(|(name, _)| *name == mark_of(host));
    let own = hosts.iter().position(|(name, _)| *name == host);
    let Some(mark) = mark.filter(|mark| own.is_none_or(|own| *mark < own)) else { return Ok(false) };
    if hosts[mark].1 == placement_text(placement) {
        return Ok(true);
    }
    let text = "write: its host was down when the request began, and keys are placed otherwise since";
    Err(Error::new(ErrorKind::Unavailable, text))
}

fn mark_of(host: u32) -> u32 {
    let [a, b, c, d, ..] = key::hash(format!("down {host:08x}").as_bytes()).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn placement_text(number: u64) -> Epoch {
    let mut text = Epoch::default();
    text.copy_from_slice(format!("{number:016x}").as_bytes());
    text
}

/// Reads what [`write_hosts`] wrote.
pub(crate) fn read_hosts(text: &str) -> Option<Vec<(u32, Epoch)>> {
    let host = |text: &str| {
        let (name, epoch) = text.split_once(':')?;
        Some((u32::from_str_radix(name, 16).ok()?, epoch.as_bytes().try_into().ok()?))
    };
    text.split_terminator(',').map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_back() {
        let hosts = [(7, Some(*b"0123456789abcdef")), (u32::MAX, None), (0, Some([b'f'; 16]))];
        let read = read_hosts(&write_hosts(&hosts)).expect("ours");
        assert_eq!(read, [(7, *b"0123456789abcdef"), (0, [b'f'; 16])]);
        assert_eq!(read_hosts(""), Some(vec![]));
        assert_eq!(read_hosts("7:short,"), None);
    }

    #[test]
    fn a_missing_token_proves_nothing_in_another_epoch_or_in_an_untold_one() {
        let proves = |there, epoch, since| Seen { there, epoch }.proves_absence(since);
        let (one, other) = (*b"0123456789abcdef", *b"fedcba9876543210");
        assert!(proves(false, one, one));
        assert!(!proves(true, one, one));
        assert!(!proves(false, one, other));
        assert!(!proves(false, UNTOLD, UNTOLD));
    }

    #[cfg(feature = "redis")]
    #[test]
    fn a_host_was_down_if_its_mark_comes_first() {
        let own = |host: u32| (host, *b"0123456789abcdef");
        let mark = |host| match down_mark(host, 3) {
            (name, Some(text)) => (name, text),
            (name, None) => panic!("{name}"),
        };
        let down = |hosts: &[(u32, Epoch)], placement| was_down(hosts, 7, placement).ok();
        assert_eq!(down(&[own(1), own(7)], 3), Some(false));
        assert_eq!(down(&[own(1), mark(7)], 3), Some(true));
        assert_eq!(down(&[own(1), mark(8)], 3), Some(false), "another host was");
        assert_eq!(down(&[own(1), mark(7), own(7)], 3), Some(true), "it came back before the takeover");
        assert_eq!(down(&[own(1), own(7), mark(7)], 3), Some(false), "it was up at first");
        assert_eq!(down(&[own(1), mark(7)], 4), None, "keys were placed otherwise");
        assert_eq!(down(&[], 3), Some(false));
        let read = read_hosts(&write_hosts(&[down_mark(7, u64::MAX)])).expect("ours");
        assert_eq!(was_down(&read, 7, u64::MAX).ok(), Some(true));
    }
}

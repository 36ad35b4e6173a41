//! A command for an engine.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::error::Error;

/// The possible fate of a command without an answer.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::cluster::Fate;
/// let mut map = bay.cluster().map();
/// map.set("name", "forebay");
/// map.incr("name", 1); // not a number
/// let failed: Vec<_> = map.run().await.failed().map(|error| error.fate()).collect();
/// assert_eq!(failed, [Fate::Rejected]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// It was not sent: it has certainly done nothing.
    NotSent,
    /// The host refused it, so it has certainly done nothing. A script or a raw command is the exception: the host may
    /// have done a part of it before it refused the rest.
    Rejected,
    /// It was sent, and no answer came: it may have been executed, once.
    MaybeExecuted,
    /// It was executed, and the answer is not of the type asked for.
    Unreadable,
}

impl Fate {
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::NotSent => "not sent",
            Self::Rejected => "rejected",
            Self::MaybeExecuted => "maybe executed",
            Self::Unreadable => "executed, unreadable answer",
        }
    }
}

/// A command on one plain key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The key that decides the host; empty in a command for given hosts.
    pub key: Box<[u8]>,
    pub verb: Verb,
}

/// The operation on the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Set(Box<[u8]>),
    Incr(i64),
    Del,
    /// In milliseconds; 0 removes the key.
    Expire(u64),
    /// All the words of a command, its name first. Only on Redis.
    Raw(Vec<Box<[u8]>>),
    /// Runs a script. Only on Redis.
    Script(Box<ScriptCall>),
}

/// A call of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptCall {
    pub script: Script,
    /// All its keys.
    pub keys: Vec<Box<[u8]>>,
    pub args: Vec<Box<[u8]>>,
}

/// A Lua script for [`Map::script`](crate::cluster::Map::script). Clones share its text.
///
/// # Examples
/// ```
/// use forebay::cluster::Script;
/// let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
/// assert!(script.source().contains("INCRBY"));
/// ```
#[derive(Clone, Debug)]
pub struct Script(Arc<ScriptText>);

#[derive(Debug)]
struct ScriptText {
    source: Box<str>,
    /// As a server computed it. All servers compute the same.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only servers compute it"))]
    hash: OnceLock<Box<str>>,
}

impl Script {
    /// A script with this text.
    #[must_use]
    pub fn new(source: impl Into<Box<str>>) -> Self {
        Self(Arc::new(ScriptText { source: source.into(), hash: OnceLock::new() }))
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Its hash; empty if no server may tell it. `None`: none was asked so far.
    #[cfg(feature = "redis")]
    pub(crate) fn hash(&self) -> Option<&str> {
        self.0.hash.get().map(|hash| &**hash)
    }

    #[cfg(feature = "redis")]
    pub(crate) fn learn_hash(&self, hash: &str) {
        self.0.hash.get_or_init(|| hash.into());
    }
}

impl PartialEq for Script {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.source == other.0.source
    }
}

impl Eq for Script {}

impl Command {
    /// About as many bytes as are sent for it.
    pub(crate) fn size(&self) -> usize {
        /// The bytes around a command, its key and a number.
        const AROUND: usize = 64;
        let words = |words: &[Box<[u8]>]| words.iter().map(|word| word.len() + AROUND / 4).sum();
        AROUND
            + match &self.verb {
                Verb::Set(value) => self.key.len() + value.len(),
                Verb::Raw(all) => words(all),
                // The text is sent once for many calls, or in the worst case for each.
                Verb::Script(call) => call.script.source().len() + words(&call.keys) + words(&call.args),
                Verb::Get | Verb::Incr(_) | Verb::Del | Verb::Expire(_) => self.key.len(),
            }
    }
}

/// The reason why there is no answer, and the possible fate of the command.
pub(crate) type Failure = (Fate, Error);

impl fmt::Display for Command {
    /// Prints the command's name and key. It never prints the value, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verb {
            Verb::Get => f.write_str("get")?,
            Verb::Set(_) => f.write_str("set")?,
            Verb::Incr(_) => f.write_str("incr")?,
            Verb::Del => f.write_str("del")?,
            Verb::Expire(_) => f.write_str("expire")?,
            Verb::Script(_) => f.write_str("script")?,
            Verb::Raw(words) => {
                let name = words.first().map_or(&b""[..], |name| name);
                write!(f, "raw {}", name.escape_ascii())?;
            }
        }
        if self.key.is_empty() { Ok(()) } else { write!(f, " \"{}\"", self.key.escape_ascii()) }
    }
}

/// Returns the reason why a raw command must not be sent, if there is one.
///
/// Many callers share a connection. A command that changes its state, or blocks it until something happens, would affect
/// all of them.
pub(crate) fn unfit(words: &[Box<[u8]>]) -> Option<&'static str> {
    const STATE: &str = "ASKING AUTH CLIENT DISCARD EXEC HELLO MONITOR MULTI PSUBSCRIBE PSYNC PUNSUBSCRIBE QUIT READONLY \
                         READWRITE REPLCONF RESET SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH \
                         WATCH";
    const BLOCKS: &str = "BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF";
    let is =
        |word: &[u8], names: &str| names.split(' ').any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    let Some(name) = words.first().filter(|name| !name.is_empty()) else {
        return Some("a command has a name");
    };
    if is(name, STATE) {
        return Some("it changes the connection, which others share");
    }
    // The words after `STREAMS` are the names of keys.
    let mut options = words[1..].iter().take_while(|word| !is(word, "STREAMS"));
    let waits = is(name, "XREAD XREADGROUP") && options.any(|word| is(word, "BLOCK"));
    if is(name, BLOCKS) || waits {
        return Some("it would hold up the connection, which others share");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Box<[u8]>> {
        text.split(' ').map(|word| word.as_bytes().into()).collect()
    }

    #[test]
    fn a_command_that_would_affect_other_callers_is_unfit() {
        for text in [
            "MULTI",
            "select 1",
            "SubScribe a",
            "CLIENT REPLY OFF",
            "BLPOP a 0",
            "xread BLOCK 0 STREAMS a $",
            "",
        ] {
            assert!(unfit(&words(text)).is_some(), "{text}");
        }
        for text in ["GET a", "XREAD STREAMS block 0", "HSET multi f v", "EVAL x 0", "LPOP a"] {
            assert_eq!(unfit(&words(text)), None, "{text}");
        }
    }

    #[test]
    fn a_command_is_named_without_its_value() {
        let set = Command { key: (*b"a\xff").into(), verb: Verb::Set((*b"secret").into()) };
        assert_eq!(set.to_string(), r#"set "a\xff""#);
        let raw = Command { key: (*b"").into(), verb: Verb::Raw(words("DBSIZE")) };
        assert_eq!(raw.to_string(), "raw DBSIZE");
    }
}

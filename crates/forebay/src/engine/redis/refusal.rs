//! Refusals of a server: all are read here, whatever the server's version and wherever in a script they arise.
//!
//! Inside a script Redis 6.2 puts the code behind a place (`ERR Error running script (call to f_…): @user_script:1: …`), later
//! ones put the place behind the text; and a missing right is a plain `ERR` there, in one of four wordings. How far a script had
//! come no server tells: our own scripts do.

use redis::ServerError;

use crate::error::{Error, ErrorKind, Retry};

/// Prefixes by which our scripts say whether something was written before the error (`lua/frame_end.lua`).
const UNTOUCHED: &str = "UNTOUCHED";
const PARTLY: &str = "PARTLY";

/// The wordings of a missing right inside a script: 6.2 and 7.0, then 7.2 on and Valkey.
const NO_RIGHT: &str = "NOPERM";
const RIGHTS: [&str; 2] = ["The user executing the script can't ", "ACL failure in script: "];

/// A refusal, as the server worded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    class: Class,
    /// Whether something may have been written before: a script was under way.
    partial: bool,
    /// The code and what follows it, without where in a script that was.
    text: String,
}

/// The class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The server as a whole does not do it now.
    Outage,
    /// No node of the cluster has the slot now.
    ClusterDown,
    /// It has become a replica.
    Replica,
    /// It has no memory left.
    Full,
    /// The user lacks a right, or the password is wrong.
    Rights,
    /// The connection is not logged in, or not any more.
    Login,
    /// The key is of another type.
    Type,
    /// The server does not have the script.
    NoScript,
    /// The caller's table of slots is older than the host's.
    Fenced,
    Other,
}

impl Refusal {
    /// Reads what the server says.
    pub(super) fn of(error: &ServerError) -> Self {
        Self::read(error.code(), error.details().unwrap_or_default())
    }

    fn read(code: &str, details: &str) -> Self {
        let (mut code, mut text) = (code, details);
        let untouched = code == UNTOUCHED;
        let mut inside = untouched || code == PARTLY;
        if inside {
            (code, text) = inner(text);
        }
        if let Some(rest) = text.strip_prefix("Error running script (call to f_") {
            (inside, text) = (true, rest.split_once("): ").map_or(rest, |(_, rest)| rest));
        }
        if let Some((before, place)) = text.rsplit_once(" script: ")
            && place.contains("@user_script:")
        {
            (inside, text) = (true, before);
        }
        while let Some(rest) = after_place(text) {
            (inside, text) = (true, rest);
        }
        if code == "ERR" && inside {
            (code, text) = inner(text.strip_prefix('-').unwrap_or(text));
        }
        if code == "ERR" && inner(text).0 == NO_RIGHT {
            (code, inside) = (NO_RIGHT, true);
        }
        let class = class(code, text);
        // A server that refuses because of its own state does so at the first write of a script: nothing has changed.
        let by_its_state = matches!(
            class,
            Class::Outage
                | Class::ClusterDown
                | Class::Replica
                | Class::Full
                | Class::NoScript
                | Class::Fenced
        );
        let partial = (inside || class == Class::Other) && !untouched && !by_its_state;
        Self { class, partial, text: format!("{code} {text}").trim_end().into() }
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// Whether something may have been written before.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    /// The code and what follows it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Which key of a script call holds a string of another form, from 0, if a script says so.
    pub(super) fn foreign_key(&self) -> Option<usize> {
        let (number, _) = self.text.strip_prefix("FOREIGN ")?.split_once(' ')?;
        number.parse::<usize>().ok()?.checked_sub(1)
    }

    /// The error for callers of an open store: an outage, unless a key's contents are the reason.
    pub(super) fn error(&self, host: &str) -> Error {
        let kind = match self.class {
            Class::Full => ErrorKind::Overloaded,
            Class::Type => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        };
        let retry = match self.class {
            _ if self.partial => Retry::Unknown,
            Class::Type => Retry::Never,
            Class::Fenced => Retry::Now,
            _ => Retry::Later,
        };
        Error::new(kind, format!("redis {host}: the server refused: {}", self.text)).with_retry(retry)
    }

    /// The error while a store is being opened: a missing right is a wrong configuration then.
    pub(super) fn error_at_start(&self, host: &str) -> Error {
        match self.class {
            Class::Rights | Class::Login => {
                Error::new(ErrorKind::Configuration, self.error(host).to_string())
            }
            _ => self.error(host),
        }
    }
}

fn class(code: &str, text: &str) -> Class {
    match code {
        "LOADING" | "MASTERDOWN" | "BUSY" | "UNKILLABLE" | "TRYAGAIN" | "MOVED" | "ASK" | "REDIRECT"
        | "NOREPLICAS" | "NOGOODSLAVE" | "MISCONF" | "DENIED" | "EXECABORT" => Class::Outage,
        "CLUSTERDOWN" => Class::ClusterDown,
        "READONLY" => Class::Replica,
        "OOM" => Class::Full,
        "NOAUTH" => Class::Login,
        "WRONGPASS" | NO_RIGHT => Class::Rights,
        // The second is what our scripts call a string of another length.
        "WRONGTYPE" | "FOREIGN" => Class::Type,
        "NOSCRIPT" => Class::NoScript,
        "FENCED" => Class::Fenced,
        _ if text.starts_with("max number of clients") => Class::Outage,
        _ => Class::Other,
    }
}

/// The text after a place such as `@user_script:12: `, if it begins with one.
fn after_place(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('@').unwrap_or(text).strip_prefix("user_script:")?;
    let (line, rest) = rest.split_once(": ")?;
    line.trim_start().bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
}

/// The code of what was raised in a script, and the rest.
fn inner(text: &str) -> (&str, &str) {
    if RIGHTS.iter().any(|words| text.starts_with(words)) {
        return (NO_RIGHT, text);
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_code = word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { (word, rest) } else { ("ERR", text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Refusal {
        let (code, details) = line.split_once(' ').expect("a code and a text");
        Refusal::read(code, details)
    }

    fn said(line: &str) -> (ErrorKind, Retry, String) {
        let error = read(line).error("h");
        let text = error.to_string().replace("redis h: the server refused: ", "");
        (error.kind(), error.retry(), text)
    }

    /// As Redis 6.2.5, 6.2.14, 7.0.15 and 8.2.3, and Valkey 9.1 word them.
    #[test]
    fn what_a_server_refuses_for_its_state_is_an_outage_and_changed_nothing() {
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "NOPERM User u has no permissions to run the 'evalsha' command",
            "NOPERM No permissions to access a key",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "UNKILLABLE Sorry the script already executed write commands against the dataset.",
            "READONLY You can't write against a read only replica.",
            "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.",
            "MISCONF Errors writing to the AOF file: No space left on device",
            "NOREPLICAS Not enough good replicas to write.",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "CLUSTERDOWN Hash slot not served",
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "MOVED 3999 127.0.0.1:6381",
            "ERR max number of clients reached",
            "ERR max number of clients + cluster connections reached",
            "DENIED Redis is running in protected mode because protected mode is enabled",
        ] {
            let expected = (ErrorKind::Unavailable, Retry::Later, line.to_owned());
            assert_eq!(said(line), expected);
        }
        assert_eq!(
            said("OOM command not allowed when used memory > 'maxmemory'."),
            (
                ErrorKind::Overloaded,
                Retry::Later,
                "OOM command not allowed when used memory > 'maxmemory'.".into()
            )
        );
        for rights in ["NOAUTH x", "WRONGPASS x", "NOPERM x"] {
            assert_eq!(read(rights).error_at_start("h").kind(), ErrorKind::Configuration);
        }
        assert_eq!(read("LOADING x").error_at_start("h").kind(), ErrorKind::Unavailable);
    }

    const SHA: &str = "44fc1765cca78932407f38421133d10925c04831";

    fn old(text: &str) -> String {
        format!("ERR Error running script (call to f_{SHA}): @user_script:1: {text}")
    }

    fn new(text: &str) -> [String; 2] {
        [format!("{text} script: {SHA}, on @user_script:12."), format!("{text} script: on @user_script:1.")]
    }

    #[test]
    fn the_state_of_the_server_is_found_inside_a_script() {
        for text in [
            "READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Redis is configured to save RDB snapshots",
        ] {
            let [redis, valkey] = new(text);
            for line in [old(&format!("@user_script: 1: -{text}")), redis, valkey] {
                assert_eq!(said(&line), (ErrorKind::Unavailable, Retry::Later, text.to_owned()), "{line}");
            }
        }
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        let [redis, valkey] = new(full);
        for line in [old(&format!("@user_script: 1: -{full}")), redis, valkey] {
            assert_eq!(said(&line), (ErrorKind::Overloaded, Retry::Later, full.to_owned()), "{line}");
        }
        assert_eq!(read(&new("READONLY x")[0]).class(), Class::Replica);
    }

    #[test]
    fn a_right_that_is_missing_inside_a_script_leaves_in_doubt_what_came_before() {
        for text in [
            "The user executing the script can't run this command or subcommand",
            "The user executing the script can't access at least one of the keys mentioned in the command arguments",
            "ACL failure in script: User u has no permissions to run the 'set' command",
            "ACL failure in script: No permissions to access a key",
        ] {
            let [redis, valkey] = new(&format!("ERR {text}"));
            let expected = (ErrorKind::Unavailable, Retry::Unknown, format!("NOPERM {text}"));
            // The last as our own scripts hand on what they have caught.
            for line in [old(&format!("@user_script: 1: {text}")), redis, valkey, format!("ERR {text}")] {
                assert_eq!(said(&line), expected, "{line}");
            }
            for line in [format!("ERR {text}"), format!("@user_script: 1: {text}")] {
                assert_eq!(said(&format!("PARTLY {line}")), expected, "{line}");
                let expected = (ErrorKind::Unavailable, Retry::Later, format!("NOPERM {text}"));
                assert_eq!(said(&format!("UNTOUCHED {line}")), expected, "{line}");
            }
        }
    }

    #[test]
    fn a_key_of_another_type_is_no_outage() {
        let text = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(said(text), (ErrorKind::Corrupt, Retry::Never, text.to_owned()));
        let [redis, valkey] = new(text);
        for line in [old(text), redis, valkey] {
            assert_eq!(said(&line), (ErrorKind::Corrupt, Retry::Unknown, text.to_owned()), "{line}");
        }
        for untouched in [format!("UNTOUCHED {text}"), format!("UNTOUCHED @user_script: 1: -{text}")] {
            assert_eq!(said(&untouched), (ErrorKind::Corrupt, Retry::Never, text.to_owned()));
        }
    }

    #[test]
    fn whatever_else_a_script_comes_to_may_have_changed_something() {
        for line in [
            "ERR Error running script (call to f_44fc): @user_script:3: user_script:3: attempt to index a nil value".to_owned(),
            format!("ERR user_script:3: attempt to index a nil value script: {SHA}, on @user_script:3."),
        ] {
            let text = "ERR attempt to index a nil value".to_owned();
            assert_eq!(said(&line), (ErrorKind::Unavailable, Retry::Unknown, text));
        }
        let killed = "ERR Error running script (call to f_44fc): @user_script:1: Script killed by user with SCRIPT KILL...";
        assert_eq!(said(killed).1, Retry::Unknown);
        assert_eq!(said("UNTOUCHED ERR value is not an integer or out of range").1, Retry::Later);
        assert_eq!(said("ERR syntax error").1, Retry::Unknown);
    }
}

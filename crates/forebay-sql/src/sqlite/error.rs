//! Classification of the errors of SQLite.

use crate::common::error::{self, Class, message};

pub(super) fn classify(error: &sqlx::Error) -> Class {
    error::classify(error, |reported| {
        let code = reported.code().and_then(|code| code.parse().ok()).unwrap_or(1);
        of_code(code, reported.message())
    })
}

/// By result code, <https://www.sqlite.org/rescode.html>; the low byte is the primary one.
fn of_code(code: i32, message: &str) -> Class {
    match code & 0xff {
        // ABORT, BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, SCHEMA
        4 | 5 | 6 | 7 | 9 | 10 | 13 | 14 | 15 | 17 => Class::Transient,
        // TOOBIG, CONSTRAINT, MISMATCH
        18..=20 => Class::Data,
        // ERROR: our use of `abs` to refuse a row. Anything else is a statement that does not fit the tables.
        1 if message == "integer overflow" => Class::Data,
        _ => Class::Permanent,
    }
}

/// Why a row was refused, for its dead letter.
pub(super) fn reason(error: &sqlx::Error) -> String {
    match message(error).as_str() {
        "integer overflow" => {
            "a sum would leave 64 bits, or the row of the table holds no integer to add to".into()
        }
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_are_classified_by_their_primary_code() {
        for (code, class) in [
            (5, Class::Transient),   // BUSY
            (517, Class::Transient), // BUSY_SNAPSHOT
            (262, Class::Transient), // LOCKED_SHAREDCACHE
            (778, Class::Transient), // IOERR_WRITE
            (13, Class::Transient),  // FULL
            (1_555, Class::Data),    // CONSTRAINT_PRIMARYKEY
            (20, Class::Data),       // MISMATCH
            (8, Class::Permanent),   // READONLY
            (11, Class::Permanent),  // CORRUPT
            (26, Class::Permanent),  // NOTADB
        ] {
            assert_eq!(of_code(code, ""), class, "{code}");
        }
        assert_eq!(of_code(1, "no such table: projects"), Class::Permanent);
        assert_eq!(of_code(1, "integer overflow"), Class::Data);
    }
}

//! Classification of the errors of Postgres.

use crate::common::error::{self, Class};

pub(super) fn classify(error: &sqlx::Error) -> Class {
    error::classify(error, |reported| of_state(&reported.code().unwrap_or_default()))
}

/// By SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>; the first two characters are its class.
fn of_state(state: &str) -> Class {
    match state {
        // Read-only: the server is a standby until it is promoted. Then: a session that was ended for being idle, a snapshot
        // too old, locks, and a missing right: the batch is applied once it is granted.
        "25006" | "25P03" | "25P04" | "72000" | "55P03" | "55006" | "42501" => Class::Transient,
        // An error of a trigger, a row too large for an index, two rows of a batch that the table's key takes for one.
        "P0001" | "P0004" | "54000" | "21000" => Class::Data,
        _ => match state.get(..2) {
            // Connection, rollback (deadlock, serialization), resources (disk, memory, connections), operator
            // intervention (shutdown, cancel), system.
            Some("08" | "40" | "53" | "57" | "58") => Class::Transient,
            // Data, constraints, a trigger's change, a view's check.
            Some("22" | "23" | "27" | "44") => Class::Data,
            _ => Class::Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_classified() {
        for (state, class) in [
            ("40P01", Class::Transient), // deadlock
            ("40001", Class::Transient), // serialization
            ("53100", Class::Transient), // disk full
            ("53300", Class::Transient), // too many connections
            ("57P01", Class::Transient), // shut down by an administrator
            ("57P03", Class::Transient), // starting up
            ("55P03", Class::Transient), // a lock timeout
            ("25006", Class::Transient), // read-only
            ("22003", Class::Data),      // out of range
            ("23505", Class::Data),      // unique
            ("23514", Class::Data),      // check
            ("P0001", Class::Data),      // RAISE
            ("42P01", Class::Permanent), // no such table
            ("42501", Class::Transient), // not allowed
            ("57P04", Class::Transient), // the database was dropped; connecting reports it
            ("", Class::Permanent),
        ] {
            assert_eq!(of_state(state), class, "{state}");
        }
    }
}

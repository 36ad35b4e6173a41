//! Classification of the errors of MySQL and MariaDB.

use sqlx::mysql::MySqlDatabaseError;

use crate::common::error::{self, Class};

/// The error of an `INSERT` whose key exists.
const DUPLICATE_KEY: u16 = 1_062;

pub(super) fn classify(error: &sqlx::Error) -> Class {
    error::classify(error, |reported| match reported.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => of_number(error.number(), error.code().unwrap_or_default()),
        None => Class::Permanent,
    })
}

/// Whether a row was not inserted because its key exists.
pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    database.is_some_and(|error| error.number() == DUPLICATE_KEY)
}

/// By number, <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html> and
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>; where none is listed, by SQLSTATE.
fn of_number(number: u16, state: &str) -> Class {
    match number {
        // Locks: a deadlock, a lock timeout, a record that changed.
        1_213 | 1_205 | 1_020 | 3_058 | 3_572
        // Disk and memory: cannot write, disk full, out of memory, table full, an error of the storage engine.
        | 3 | 1_021 | 1_026 | 1_037 | 1_038 | 1_041 | 1_114 | 1_030
        // Connections: too many, too many of a user, a broken one; a node of a cluster that is not ready.
        | 1_040 | 1_203 | 1_226 | 1_047 | 1_152..=1_161 | 1_184 | 1_927 | 4_031
        // The server shuts down, or a statement was ended.
        | 1_053 | 1_077 | 1_079 | 1_317 | 1_969 | 3_024
        // Read-only: a replica until it is promoted.
        | 1_290 | 1_792 | 1_836
        // Errors while committing or rolling back.
        | 1_180 | 1_181
        // A missing right: to the table, a column, the database. The batch is applied once it is granted.
        | 1_142 | 1_143 | 1_044 => Class::Transient,
        // Texts and times that do not fit, checks, out of range, a JSON value that does not fit its column.
        1_366 | 1_292 | 1_265 | 3_819 | 4_025 | 1_690 | 1_264 | 1_406 | 1_364 | 3_669 | 4_174 | 4_178 => Class::Data,
        _ => match state.get(..2) {
            Some("08" | "40") => Class::Transient,
            // Data, constraints, a trigger's SIGNAL.
            Some("22" | "23" | "45") => Class::Data,
            _ => Class::Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_classified() {
        for (number, state, class) in [
            (1_213, "40001", Class::Transient), // deadlock
            (1_205, "HY000", Class::Transient), // lock wait
            (1_114, "HY000", Class::Transient), // table full
            (1_290, "HY000", Class::Transient), // read-only
            (1_053, "08S01", Class::Transient), // shutdown
            (1_264, "22003", Class::Data),      // out of range
            (1_690, "22003", Class::Data),      // a sum out of range
            (1_062, "23000", Class::Data),      // duplicate
            (4_025, "23000", Class::Data),      // check
            (1_644, "45000", Class::Data),      // SIGNAL
            (1_146, "42S02", Class::Permanent), // no such table
            (1_142, "42000", Class::Transient), // not allowed
            (1_143, "42000", Class::Transient), // not allowed for a column
            (1_044, "42000", Class::Transient), // not allowed in the database
            (1_227, "42000", Class::Permanent), // another right
            (1_665, "HY000", Class::Permanent), // binlog_format
        ] {
            assert_eq!(of_number(number, state), class, "{number}");
        }
    }
}

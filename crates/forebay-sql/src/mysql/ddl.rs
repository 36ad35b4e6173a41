//! How MySQL and MariaDB spell the tables that Forebay creates.

use forebay::buffer::{ColumnType, Schema};

use crate::{Migrate, common::ddl::Dialect};

pub(super) const MYSQL: Dialect = Dialect {
    quote: '`',
    type_name,
    constraint: |_| String::new(),
    // The comment is `MARK`.
    table_options: |_| " ENGINE=InnoDB COMMENT='created by forebay'",
    own_tables,
    only_place: None,
    folds_columns: true,
    text: "CHAR",
    migrate: Migrate::No,
};

/// What a key of InnoDB has room for, in bytes; a character takes up to four.
const KEY_BYTES: usize = 3_072;

/// Compares byte by byte, to the last space: with any other collation two keys of the buffer could be one row. MariaDB and
/// MySQL have different names for it. Each runs the comment that is meant for it, so that a script works on both:
/// MariaDB skips the other because of its number, and to MySQL `/*M!` is a comment like any other.
macro_rules! utf8 {
    () => {
        "CHARACTER SET utf8mb4 /*M!100202 COLLATE utf8mb4_nopad_bin*/ /*!80017 COLLATE utf8mb4_0900_bin*/"
    };
}

/// The same as a name, to alter a column.
pub(super) fn collation(is_mariadb: bool) -> &'static str {
    if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" }
}

fn type_name(column_type: ColumnType, schema: &Schema, key: bool) -> String {
    match column_type {
        ColumnType::Integer => "BIGINT".into(),
        ColumnType::Timestamp => "DATETIME(6)".into(),
        ColumnType::Uuid => "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin".into(),
        _ if key => {
            let most = (KEY_BYTES / 4 / schema.keys.len().max(1)).saturating_sub(64).clamp(16, 512);
            format!(concat!("VARCHAR({}) ", utf8!()), most)
        }
        _ => concat!("TEXT ", utf8!()).into(),
    }
}

/// The ledger's index lets old rows be pruned without reading the rest, that of the dead letters lets those of one buffer be
/// listed and counted.
fn own_tables(place: &str) -> Vec<String> {
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {place}`forebay_ledger` (
    `gen` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    `buffer` VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `partition` INT NOT NULL,
    `rows` BIGINT NOT NULL,
    `applied_at` DATETIME(6) NOT NULL,
    `last_write` DATETIME(6),
    KEY `forebay_ledger_applied_at` (`applied_at`)
) ENGINE=InnoDB"
        ),
        format!(
            concat!(
                "CREATE TABLE IF NOT EXISTS {}`forebay_dead_letters` (
    `id` BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    `gen` CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `buffer` VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `row_key` TEXT ",
                utf8!(),
                " NOT NULL,
    `cells` LONGTEXT ",
                utf8!(),
                " NOT NULL,
    `error` TEXT ",
                utf8!(),
                " NOT NULL,
    `at` DATETIME(6) NOT NULL,
    KEY `forebay_dead_letters_buffer` (`buffer`, `id`)
) ENGINE=InnoDB"
            ),
            place
        ),
        // Keys by their bytes.
        format!(
            "CREATE TABLE IF NOT EXISTS {place}`forebay_moves` (
    `buffer` VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `from_key` VARBINARY(1536) NOT NULL,
    `to_key` VARBINARY(1536) NOT NULL,
    `at` DATETIME(6) NOT NULL,
    PRIMARY KEY (`buffer`, `from_key`),
    KEY `forebay_moves_to` (`buffer`, `to_key`)
) ENGINE=InnoDB"
        ),
    ]
}

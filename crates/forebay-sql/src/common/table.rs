//! Tables as a database describes them.

use crate::Missing;

/// The tables that a database has for a buffer.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// The buffer's table.
    pub(crate) table: Option<Table>,
    /// The qualifier of Forebay's own tables, with a dot at its end.
    pub(crate) place: String,
    /// The names of the tables that are missing: the buffer's, and Forebay's own.
    pub(crate) missing: Vec<String>,
    /// Whether the ledger, if there is one, records the time of a batch's last write.
    pub(crate) dated: bool,
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Qualified and quoted.
    pub(crate) name: String,
    /// The qualifier of Forebay's own tables, with a dot at its end.
    pub(crate) place: String,
    pub(crate) columns: Vec<TableColumn>,
    /// The sets of columns that are unique: the primary key, and unique indexes over all rows.
    pub(crate) unique: Vec<Vec<String>>,
    /// Whether Forebay created the table.
    pub(crate) migrated: bool,
}

/// A column of a [`Table`].
#[derive(Debug)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) declared: String,
    /// The collation, where the database reports one that matters.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "SQLite does not report it")
    )]
    pub(crate) collation: Option<String>,
    pub(crate) not_null: bool,
    pub(crate) fill: Fill,
}

/// The value of a column in a new row that does not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// NULL, if the column is nullable.
    Nothing,
    /// A default.
    Default,
    /// A new number each time.
    Drawn,
    /// A generated value that no statement can write.
    Computed,
}

impl Fill {
    /// Reads the word that a dialect's query for columns answers.
    pub(crate) fn parse(word: Option<&str>) -> Self {
        match word {
            Some("computed") => Self::Computed,
            Some("drawn") => Self::Drawn,
            Some("default") => Self::Default,
            _ => Self::Nothing,
        }
    }
}

impl TableColumn {
    /// Whether each new row has to name it.
    pub(crate) fn required(&self) -> bool {
        self.not_null && self.fill == Fill::Nothing
    }
}

impl Table {
    /// The column of this name. SQL folds case, so a column whose name differs only in case is the next best.
    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    }

    /// The default treatment of rows that the table does not have.
    pub(crate) fn missing(&self) -> Missing {
        if self.migrated { Missing::Insert } else { Missing::Skip }
    }
}

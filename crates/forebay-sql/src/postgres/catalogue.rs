//! The queries on Postgres's catalogue. See [`Dialect`](crate::common::dialect::Dialect).

/// The id of the relation that a statement would find by this name; NULL if there is none.
macro_rules! relation {
    () => {
        "to_regclass(coalesce(quote_ident($1) || '.', '') || quote_ident($2))"
    };
}

/// In [`TableColumn::collation`](crate::common::table::TableColumn::collation): different texts may be equal.
pub(super) const NONDETERMINISTIC: &str = "nondeterministic";

pub(super) const TABLE: &str = concat!(
    "SELECT n.nspname::text, CASE WHEN c.relkind IN ('r', 'p') THEN 'yes' END,
            CASE WHEN EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'p'
                              AND starts_with(k.conname::text, 'created_by_forebay_')) THEN 'yes' END
     FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = ",
    relation!()
);

// A domain has its type and length from itself, and perhaps NOT NULL and a default.
pub(super) const COLUMNS: &str = concat!(
    "SELECT a.attname::text,
            CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
                 ELSE format_type(a.atttypid, a.atttypmod) END,
            CASE WHEN NOT k.collisdeterministic THEN 'nondeterministic' END,
            CASE WHEN a.attnotnull OR t.typnotnull THEN 'yes' END,
            CASE WHEN a.attgenerated <> '' THEN 'computed' WHEN a.attidentity <> '' THEN 'drawn'
                 WHEN a.atthasdef OR t.typdefault IS NOT NULL THEN 'default' END
     FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
          LEFT JOIN pg_collation AS k ON k.oid = a.attcollation
     WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ",
    relation!(),
    " ORDER BY a.attnum"
);

// The indexes that `ON CONFLICT` accepts: over all rows, and checked at once.
pub(super) const UNIQUE: &str = concat!(
    "SELECT i.indexrelid::text, a.attname::text
     FROM pg_index AS i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
          LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
     WHERE k.place <= i.indnkeyatts AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
           AND i.indrelid = ",
    relation!()
);

/// The indexes of a table, each with one of its columns that a buffer writes.
pub(super) const INDEXED: &str = "
    SELECT c.relname::text, min(a.attname::text)
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
         JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
    WHERE i.indrelid = to_regclass($1) AND a.attname IN (SELECT json_array_elements_text($2::json))
    GROUP BY c.relname ORDER BY c.relname";

/// The settings under which a commit is not durable.
pub(super) const NOT_DURABLE_SETTINGS: &str = "
    SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name";

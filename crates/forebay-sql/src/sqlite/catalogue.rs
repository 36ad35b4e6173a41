//! The queries on SQLite's catalogue. See [`Dialect`](crate::common::dialect::Dialect).

// The statement that created a table contains its comments.
pub(super) const TABLE: &str = r#"
    SELECT 'main', 'yes', CASE WHEN instr("sql", 'created by forebay') THEN 'yes' END
    FROM "main"."sqlite_schema"
    WHERE "type" = 'table' AND "name" = ?2 COLLATE NOCASE AND lower(coalesce(?1, 'main')) = 'main'"#;

// A primary key of one column that is declared exactly so is the row id, which SQLite draws.
pub(super) const COLUMNS: &str = r#"
    SELECT c."name", c."type", NULL, CASE WHEN c."notnull" THEN 'yes' END,
           CASE WHEN c."hidden" > 0 THEN 'computed'
                WHEN c."pk" AND upper(c."type") = 'INTEGER' AND NOT t."wr"
                     AND (SELECT count(*) FROM pragma_table_info(t."name", 'main') WHERE "pk") = 1 THEN 'drawn'
                WHEN c."dflt_value" IS NOT NULL THEN 'default' END
    FROM pragma_table_list(?2) AS t, pragma_table_xinfo(t."name", 'main') AS c WHERE t."schema" = 'main'"#;

pub(super) const UNIQUE: &str = r#"
    SELECT '', "name" FROM pragma_table_info(?2, 'main') WHERE "pk"
    UNION ALL
    SELECT l."name", c."name" FROM pragma_index_list(?2, 'main') AS l, pragma_index_info(l."name", 'main') AS c
    WHERE l."unique" AND NOT l."partial""#;

/// The journal mode, and the path of the file, which is empty for a database in memory.
pub(super) const JOURNAL: &str = "
    SELECT journal_mode, coalesce(file, '') FROM pragma_journal_mode, pragma_database_list WHERE name = 'main'";

//! The queries on the catalogue of MySQL and MariaDB. See [`Dialect`](crate::common::dialect::Dialect).

pub(super) const TABLE: &str = "
    SELECT CAST(table_schema AS CHAR CHARACTER SET utf8mb4),
           CASE WHEN table_type = 'BASE TABLE' THEN 'yes' END,
           CASE WHEN LOCATE('created by forebay', table_comment) > 0 THEN 'yes' END
    FROM information_schema.tables WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?";

// MariaDB writes a default of NULL as text.
pub(super) const COLUMNS: &str = "
    SELECT CAST(column_name AS CHAR CHARACTER SET utf8mb4), CAST(column_type AS CHAR CHARACTER SET utf8mb4),
           CAST(collation_name AS CHAR CHARACTER SET utf8mb4), CASE WHEN is_nullable = 'NO' THEN 'yes' END,
           CASE WHEN LOCATE('GENERATED', extra) > 0 AND LOCATE('DEFAULT_GENERATED', extra) = 0 THEN 'computed'
                WHEN LOCATE('auto_increment', extra) > 0 THEN 'drawn'
                WHEN COALESCE(column_default, 'NULL') <> 'NULL' THEN 'default' END
    FROM information_schema.columns WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?
    ORDER BY ordinal_position";

// The beginning of a column is no column.
pub(super) const UNIQUE: &str = "
    SELECT CAST(index_name AS CHAR CHARACTER SET utf8mb4),
           CASE WHEN sub_part IS NULL THEN CAST(column_name AS CHAR CHARACTER SET utf8mb4) END
    FROM information_schema.statistics
    WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND non_unique = 0
    ORDER BY index_name, seq_in_index";

/// The first of four tables in a schema whose engine has no transactions, and that engine.
pub(super) const NOT_TRANSACTIONAL: &str = "
    SELECT CAST(t.table_name AS CHAR CHARACTER SET utf8mb4), CAST(t.engine AS CHAR CHARACTER SET utf8mb4)
    FROM information_schema.tables AS t JOIN information_schema.engines AS e ON e.engine = t.engine
    WHERE t.table_schema = COALESCE(?, DATABASE()) AND t.table_name IN (?, ?, ?, ?)
          AND COALESCE(e.transactions, 'NO') <> 'YES' LIMIT 1";

/// The settings of the server under which a commit is durable or not. A session cannot change them.
pub(super) const DURABILITY: &str = "
    SELECT CAST(CAST(@@innodb_flush_log_at_trx_commit AS SIGNED) AS CHAR), CAST(CAST(@@log_bin AS SIGNED) AS CHAR),
           CAST(CAST(@@sync_binlog AS SIGNED) AS CHAR)";

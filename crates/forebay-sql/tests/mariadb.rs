//! Behaviour of MariaDB and MySQL alone.

use std::sync::Arc;

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Row, RowKey, Schema, Value},
    sink::{Applied, Batch, Sink as _, SinkError},
};
use forebay_sql::{Migrate, Missing, MySql, Options};
use forebay_testkit::{MariaDb, without};
use sqlx::{ConnectOptions as _, Connection as _, MySqlPool, mysql::MySqlPoolOptions};
use uuid::Uuid;

const NOON: Timestamp = Timestamp::from_secs(1_767_268_800);

fn projects() -> Arc<Schema> {
    Buffer::new("projects").key("id").sum("hits").max("last_seen").build().expect("a valid buffer")
}

fn row(schema: &Schema, id: &str, cells: impl Into<Box<[Option<Value>]>>) -> Row {
    Row { key: RowKey::new(schema, &[id.into()]).expect("a valid key"), cells: cells.into() }
}

fn hits(schema: &Schema, id: &str, hits: i64) -> Row {
    row(schema, id, [Some(hits.into()), Some(NOON.into())])
}

fn batch(schema: &Arc<Schema>, rows: Vec<Row>) -> Batch {
    Batch::new(Uuid::now_v7(), schema.clone(), 0, rows)
}

fn creating() -> Options {
    Options::new().migrate(Migrate::Yes)
}

async fn open(database: &str) -> MySql {
    MySql::open(&MariaDb::shared().url(database)).await.expect("a database").with(creating())
}

async fn pool(database: &str, setup: &'static str) -> MySqlPool {
    let pool = MySqlPoolOptions::new().max_connections(1).after_connect(move |connection, _| {
        Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(|_| ()) })
    });
    pool.connect(&MariaDb::shared().url(database)).await.expect("a pool")
}

fn ask(database: &str, sql: &str) -> String {
    MariaDb::shared().query(database, sql)
}

fn permanent(result: Result<impl std::fmt::Debug, SinkError>) -> String {
    match result {
        Err(SinkError::Permanent(error)) => error.to_string(),
        other => panic!("not a permanent refusal: {other:?}"),
    }
}

/// Without transactions a batch can be applied by half, and its ledger entry is not rolled back.
#[tokio::test]
async fn an_engine_without_transactions_is_refused_with_the_remedy() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    ask(
        &database,
        "CREATE TABLE projects (id VARCHAR(50) PRIMARY KEY, hits BIGINT, last_seen DATETIME(6)) ENGINE=MyISAM;
         INSERT INTO projects (id) VALUES ('42')",
    );
    let sink = open(&database).await;
    let why = permanent(sink.prepare(&schema).await);
    assert!(why.contains("MyISAM"), "{why}");
    ask(&database, why.split_once("use ").expect("a mend").1);
    assert_eq!(
        sink.apply(&batch(&schema, vec![hits(&schema, "42", 1)])).await.expect("mended"),
        Applied::now(1, 0)
    );
    ask(&database, "ALTER TABLE forebay_ledger ENGINE=Aria");
    let why = permanent(open(&database).await.prepare(&schema).await);
    assert!(why.contains("forebay_ledger") && why.contains("Aria"), "{why}");
}

/// `ON DUPLICATE KEY UPDATE` updates the row of any unique key.
#[tokio::test]
async fn a_second_unique_key_is_refused_where_it_could_meet_another_row() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    let table = |columns: &str| {
        let columns = format!("id VARCHAR(50) COLLATE utf8mb4_bin NOT NULL, {columns}");
        ask(&database, &format!("DROP TABLE IF EXISTS projects; CREATE TABLE projects ({columns})"));
    };
    let insert = open(&database).await.with(creating().missing(Missing::Insert));
    table("hits BIGINT, last_seen DATETIME(6), PRIMARY KEY (id), UNIQUE (hits)");
    let why = permanent(insert.prepare(&schema).await);
    assert!(why.contains("unique key over (hits)") && why.contains("skip"), "{why}");
    let skip = open(&database).await;
    ask(&database, "INSERT INTO projects (id, hits) VALUES ('a', 1), ('b', 5)");
    skip.apply(&batch(&schema, vec![hits(&schema, "a", 1)])).await.expect("found by its key alone");
    assert_eq!(ask(&database, "SELECT id, hits FROM projects ORDER BY id"), "a\t2\nb\t5");
    // An auto-increment number is always new. A longer key conflicts only where the buffer's key does.
    table(
        "n INT AUTO_INCREMENT PRIMARY KEY, hits BIGINT, last_seen DATETIME(6), UNIQUE (id), UNIQUE (id, hits)",
    );
    insert.prepare(&schema).await.expect("harmless");
    for _ in 0..2 {
        insert.apply(&batch(&schema, vec![hits(&schema, "a", 1)])).await.expect("applied");
    }
    assert_eq!(ask(&database, "SELECT id, hits FROM projects"), "a\t2");
}

#[tokio::test]
async fn a_collation_that_takes_two_keys_for_one_is_refused_to_insert_with_the_remedy() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    ask(
        &database,
        "CREATE TABLE projects (id VARCHAR(50) COLLATE utf8mb4_general_ci PRIMARY KEY, hits BIGINT, last_seen DATETIME(6))",
    );
    let insert = open(&database).await.with(creating().missing(Missing::Insert));
    let why = permanent(insert.prepare(&schema).await);
    let (_, mend) = why.split_once("use ").expect("a mend");
    ask(&database, mend.split_once(", or").expect("two mends").0);
    // This collation also compares a trailing space.
    let rows = vec![hits(&schema, "a", 1), hits(&schema, "A", 2), hits(&schema, "a ", 4)];
    assert_eq!(insert.apply(&batch(&schema, rows)).await.expect("mended"), Applied::now(3, 0));
    assert_eq!(ask(&database, "SELECT id, hits FROM projects ORDER BY id"), "A\t2\na\t1\na \t4");
}

/// Most collations treat a key with a trailing space as equal to the key without it.
#[tokio::test]
async fn every_key_has_a_row_in_a_table_that_forebay_makes() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    let sink = open(&database).await;
    let keys = ["a", "a ", "a  ", " a", "A", "\u{e4}", "a\u{308}", "\u{df}", "ss", "\u{1f600}", " "];
    let one = batch(&schema, keys.iter().map(|key| hits(&schema, key, 1)).collect());
    assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(11, 0));
    assert!(!sink.warnings().concat().contains("space"), "{:?}", sink.warnings());
    // Each row is found again by its own key.
    for (n, key) in (2..).zip(keys) {
        let update = sink.with(creating().missing(Missing::DeadLetter));
        let again = batch(&schema, vec![hits(&schema, key, n)]);
        assert_eq!(update.apply(&again).await.expect("applied"), Applied::now(1, 0), "{key:?}");
        let row = sink.read(&schema, &again.rows[0].key, &[]).await.expect("read").row.expect("a row");
        assert_eq!(row[0], Some((n + 1).into()), "{key:?}");
    }
    // The other tables behave in the same way.
    let key = |key: &str| RowKey::new(&schema, &[key.into()]).expect("a key");
    sink.move_row(&schema, &key("a "), &key("a")).await.expect("moved");
    sink.apply(&batch(&schema, vec![hits(&schema, "a ", 100), hits(&schema, "a  ", 1_000)]))
        .await
        .expect("applied");
    let sums = ask(&database, "SELECT hits FROM projects WHERE id IN ('a', 'a ', 'a  ') ORDER BY hits");
    assert_eq!(sums, "107\n1005");
}

#[tokio::test]
async fn a_table_of_an_older_version_is_warned_of_and_mended_by_hand() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    let script = MySql::ddl(&schema);
    let older = script.replace(
        " /*M!100202 COLLATE utf8mb4_nopad_bin*/ /*!80017 COLLATE utf8mb4_0900_bin*/",
        " COLLATE utf8mb4_bin",
    );
    assert_ne!(script, older);
    ask(&database, &older);
    let sink = open(&database).await;
    let rows = || vec![hits(&schema, "a", 1), hits(&schema, "a ", 2)];
    assert_eq!(sink.apply(&batch(&schema, rows())).await.expect("as before"), Applied::now(1, 1));
    let warnings = sink.warnings();
    let [warning] = &*warnings else { panic!("{warnings:?}") };
    let collation = "SELECT collation_name FROM information_schema.columns
                     WHERE table_schema = DATABASE() AND table_name = 'projects' AND column_name = 'id'";
    assert_eq!(ask(&database, collation), "utf8mb4_bin", "never altered silently");
    ask(&database, warning.split_once("use ").expect("a mend").1);
    let sink = open(&database).await;
    assert_eq!(sink.apply(&batch(&schema, rows())).await.expect("mended"), Applied::now(2, 0));
    assert_eq!(sink.replay_dead(&schema, &[1]).await.expect("replayed").applied, [1]);
    assert_eq!(sink.warnings(), [""; 0]);
    assert_eq!(ask(&database, "SELECT hits FROM projects ORDER BY id"), "2\n4");
}

/// Without a strict mode a text that is too long is truncated, and a number that is too large becomes the largest.
#[tokio::test]
async fn a_session_that_is_not_strict_is_made_so() {
    if without("mariadb") {
        return;
    }
    let database = MariaDb::shared().new_database();
    ask(
        &database,
        "CREATE TABLE p (id VARCHAR(9) COLLATE utf8mb4_bin PRIMARY KEY, n SMALLINT, word TINYTEXT)",
    );
    let schema = Buffer::new("p").key("id").sum("n").column("word", Merge::Max, ColumnType::Text);
    let schema = schema.build().expect("valid");
    let pool = pool(&database, "SET sql_mode = ''").await;
    for missing in [Missing::Insert, Missing::Skip] {
        let sink = MySql::from_pool(pool.clone()).with(creating().missing(missing));
        let long = "a".repeat(300);
        let rows = vec![
            row(&schema, "large", [Some(40_000.into()), Some("a".into())]),
            row(&schema, "long", [Some(1.into()), Some((&*long).into())]),
            row(&schema, "ok", [Some(1.into()), Some("a".into())]),
        ];
        let applied = sink.apply(&batch(&schema, rows)).await.expect("applied");
        assert_eq!(applied, Applied::now(1, 2), "{missing}");
        ask(&database, "INSERT IGNORE INTO p (id) VALUES ('large'), ('long')");
    }
    assert_eq!(ask(&database, "SELECT id, n FROM p ORDER BY id"), "large\tNULL\nlong\tNULL\nok\t2");
}

#[tokio::test]
async fn timestamps_are_utc_whatever_the_session_has() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    ask(
        &database,
        "CREATE TABLE projects (id VARCHAR(50) PRIMARY KEY, hits BIGINT, last_seen TIMESTAMP NULL);
         INSERT INTO projects (id) VALUES ('42')",
    );
    let sink = MySql::from_pool(pool(&database, "SET time_zone = '+05:30'").await).with(creating());
    let one = batch(&schema, vec![hits(&schema, "42", 1)]);
    sink.apply(&one).await.expect("applied");
    let seconds = ask(&database, "SELECT UNIX_TIMESTAMP(last_seen) FROM projects");
    assert_eq!(seconds.parse(), Ok(NOON.as_secs()));
    let read = sink.read(&schema, &one.rows[0].key, &[]).await.expect("read").row.expect("a row");
    assert_eq!(*read, *one.rows[0].cells);
}

#[tokio::test]
async fn unsigned_columns_and_other_character_sets_keep_what_they_can() {
    if without("mariadb") {
        return;
    }
    let database = MariaDb::shared().new_database();
    ask(
        &database,
        "CREATE TABLE p (id VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, n BIGINT UNSIGNED);
         INSERT INTO p VALUES ('a', 5), ('b', 1), ('e', 1), ('max', 18446744073709551615)",
    );
    let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
    let one = |id: &str, n: i64| row(&schema, id, [Some(n.into())]);
    // `é` is `e` to this collation, and nothing at all to that of the connection.
    let rows = vec![one("a", -3), one("b", -3), one("é", 1), one("E", 1), one("max", 1), one("none", 1)];
    let sink = open(&database).await;
    assert_eq!(sink.apply(&batch(&schema, rows)).await.expect("applied"), Applied::now(1, 3));
    assert_eq!(
        ask(&database, "SELECT id, n FROM p ORDER BY id"),
        "a\t2\nb\t1\ne\t1\nmax\t18446744073709551615"
    );
    let why = permanent(sink.totals(&schema).await);
    assert!(why.contains("64 bits"), "{why}");
    ask(&database, "DELETE FROM p WHERE id = 'max'");
    assert_eq!(sink.totals(&schema).await.expect("added up").sums, [Some(4)]);
}

#[tokio::test]
async fn a_lock_not_had_in_time_keeps_the_batch() {
    if without("mariadb") {
        return;
    }
    let (database, schema) = (MariaDb::shared().new_database(), projects());
    let pool = pool(&database, "SET innodb_lock_wait_timeout = 1").await;
    let sink = MySql::from_pool(pool).with(creating());
    sink.apply(&batch(&schema, vec![hits(&schema, "42", 1)])).await.expect("applied");
    let options: sqlx::mysql::MySqlConnectOptions = MariaDb::shared().url(&database).parse().expect("a URL");
    let mut application = options.connect().await.expect("a connection");
    let mut transaction = application.begin().await.expect("begun");
    sqlx::raw_sql("UPDATE projects SET hits = 10").execute(&mut *transaction).await.expect("locked");
    let one = batch(&schema, vec![hits(&schema, "42", 1)]);
    let locked = sink.apply(&one).await;
    assert!(matches!(locked, Err(SinkError::Transient(_))), "{locked:?}");
    transaction.commit().await.expect("committed");
    assert_eq!(sink.apply(&one).await.expect("free"), Applied::now(1, 0));
    assert_eq!(ask(&database, "SELECT hits FROM projects"), "11");
}

#[tokio::test]
async fn a_table_of_another_database_has_its_ledger_there() {
    if without("mariadb") {
        return;
    }
    let [here, there] = [MariaDb::shared().new_database(), MariaDb::shared().new_database()];
    let table = format!("{there}.projects");
    let schema = Buffer::new("projects").table(table).key("id").sum("hits").build().expect("valid");
    let sink = open(&here).await;
    let one = batch(&schema, vec![row(&schema, "42", [Some(1.into())])]);
    assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
    assert_eq!(open(&there).await.apply(&one).await.expect("known"), Applied::Before);
    assert_eq!(ask(&there, "SELECT COUNT(*) FROM forebay_ledger WHERE `rows` > 0"), "1");
    assert_eq!(sink.prune().await.expect("nothing is old"), 0);
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_has_each_batch_once() {
    if without("mariadb") {
        return;
    }
    let (server, schema) = (MariaDb::start(), projects());
    let database = server.new_database();
    let sink = MySql::open(&server.url(&database)).await.expect("a database").with(creating());
    let (one, two) =
        (batch(&schema, vec![hits(&schema, "42", 1)]), batch(&schema, vec![hits(&schema, "42", 2)]));
    assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
    server.restart();
    assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
    assert_eq!(sink.apply(&two).await.expect("applied"), Applied::now(1, 0));
    assert_eq!(server.query(&database, "SELECT hits FROM projects"), "3");
}

#[tokio::test]
async fn a_setting_under_which_commits_do_not_last_is_warned_of() {
    if without("mariadb") {
        return;
    }
    // The setting is the server's, and tests on the shared server count warnings.
    let server = MariaDb::start();
    let database = server.new_database();
    for (setting, warned) in [(2, true), (0, true), (1, false)] {
        server.query(&database, &format!("SET GLOBAL innodb_flush_log_at_trx_commit = {setting}"));
        let sink = MySql::open(&server.url(&database)).await.expect("a database").with(creating());
        sink.prepare(&projects()).await.expect("prepared");
        let warnings = sink.warnings().concat();
        assert_eq!(warnings.contains("innodb_flush_log_at_trx_commit"), warned, "{setting}: {warnings}");
    }
}

/// A failed connection says nothing about a batch, and neither does a missing right.
#[tokio::test]
async fn a_right_that_is_taken_away_is_an_outage_until_it_is_granted_again() {
    if without("mariadb") {
        return;
    }
    let (server, schema) = (MariaDb::shared(), projects());
    let app = server.new_database();
    let admin = |sql: &str| ask("mysql", &sql.replace("APP", &app));
    admin("CREATE USER APP IDENTIFIED BY 'a'; GRANT ALL ON APP.* TO APP");
    let url = server.url(&app).replace("root@", &format!("{app}:a@"));
    let sink = MySql::open(&url).await.expect("opens").with(creating());
    sink.prepare(&schema).await.expect("prepared");
    let other = Buffer::new("others").key("id").sum("hits").max("last_seen").build().expect("valid");
    sink.prepare(&other).await.expect("prepared");
    for (what, [take, give]) in [
        ("account locked", ["ALTER USER APP ACCOUNT LOCK", "ALTER USER APP ACCOUNT UNLOCK"]),
        ("1045", ["ALTER USER APP IDENTIFIED BY 'b'", "ALTER USER APP IDENTIFIED BY 'a'"]),
        ("1044", ["REVOKE ALL ON APP.* FROM APP", "GRANT ALL ON APP.* TO APP"]),
        ("no such user", ["RENAME USER APP TO APPx", "RENAME USER APPx TO APP"]),
    ] {
        admin(take);
        admin("KILL USER APP");
        let one = batch(&schema, vec![hits(&schema, "42", 1)]);
        for _ in 0..2 {
            let refused = sink.apply(&one).await;
            let Err(SinkError::Transient(error)) = refused else { panic!("{what}: {refused:?}") };
            assert!(error.to_string().contains(": connecting: "), "{what}: {error}");
        }
        admin(give);
        assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(1, 0), "{what}");
    }
    admin("REVOKE ALL ON APP.* FROM APP");
    let rights = "GRANT SELECT, INSERT, UPDATE, DELETE ON APP.TABLE TO APP";
    for table in ["forebay_ledger", "forebay_dead_letters", "forebay_moves", "others", "projects"] {
        admin(&rights.replace("TABLE", table));
    }
    admin("KILL USER APP");
    for (take, give) in [
        ("REVOKE INSERT ON APP.projects FROM APP", "GRANT INSERT ON APP.projects TO APP"),
        (
            "REVOKE UPDATE ON APP.projects FROM APP; GRANT UPDATE (id) ON APP.projects TO APP",
            "GRANT UPDATE ON APP.projects TO APP",
        ),
        ("REVOKE ALL ON APP.projects FROM APP", "GRANT SELECT, INSERT, UPDATE ON APP.projects TO APP"),
    ] {
        let fine = batch(&other, vec![hits(&other, "42", 1)]);
        sink.apply(&batch(&schema, vec![hits(&schema, "warm", 1)])).await.expect("applied");
        admin(take);
        let one = batch(&schema, vec![hits(&schema, "42", 1)]);
        let refused = sink.apply(&one).await;
        let Err(SinkError::Transient(error)) = refused else { panic!("{take}: {refused:?}") };
        assert!(error.to_string().contains("denied"), "{take}: {error}");
        assert_eq!(sink.apply(&fine).await.expect("its own rights"), Applied::now(1, 0), "{take}");
        admin(give);
        assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(1, 0), "{take}");
    }
    assert_eq!(ask(&app, "SELECT hits FROM projects WHERE id = '42'"), "7");
}

#[tokio::test]
async fn no_message_shows_a_password() {
    let refused = MySql::open("mysql://me:secret@127.0.0.1:1/app").await.expect_err("nobody is there");
    let text = format!("{refused} {refused:?}");
    assert!(text.contains("127.0.0.1:1/app") && !text.contains("secret"), "{text}");
}

//! Behaviour of Postgres alone.

use std::{future::poll_fn, sync::Arc, task::Poll};

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Row, RowKey, Schema, Value},
    sink::{Applied, Batch, Sink as _, SinkError},
};
use forebay_sql::{Migrate, Missing, Options, Postgres};
use forebay_testkit::{PgBouncer, Postgres as Server, eventually, without};
use sqlx::{
    ConnectOptions as _, Connection as _, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

const NOON: Timestamp = Timestamp::from_secs(1_767_268_800);

fn projects(table: &str) -> Arc<Schema> {
    let projects = Buffer::new("projects").table(table).key("id").sum("hits").max("last_seen");
    projects.build().expect("a valid buffer")
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

async fn open(database: &str) -> Postgres {
    Postgres::open(&Server::shared().url(database)).await.expect("a database").with(creating())
}

async fn pool(database: &str, setup: &'static str) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(1).after_connect(move |connection, _| {
        Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(|_| ()) })
    });
    pool.connect(&Server::shared().url(database)).await.expect("a pool")
}

fn ask(database: &str, sql: &str) -> String {
    Server::shared().query(database, sql)
}

fn permanent(result: Result<impl std::fmt::Debug, SinkError>) -> String {
    match result {
        Err(SinkError::Permanent(error)) => error.to_string(),
        other => panic!("not a permanent refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_commits_durably_whatever_the_default_and_leaves_the_pool_as_it_was() {
    if without("postgres") {
        return;
    }
    let (database, schema) = (Server::shared().new_database(), projects("projects"));
    let pool = pool(&database, "SET synchronous_commit = off").await;
    let sink = Postgres::from_pool(pool.clone()).with(creating());
    sink.prepare(&schema).await.expect("prepared");
    ask(
        &database,
        "CREATE TABLE seen (setting text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
         CREATE TRIGGER see BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION see()",
    );
    sink.apply(&batch(&schema, vec![hits(&schema, "42", 1)])).await.expect("applied");
    assert_eq!(ask(&database, "SELECT setting FROM seen"), "on");
    let after: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&pool).await.expect("shown");
    assert_eq!(after, "off");
}

/// An update whose row moves to another page writes into every index.
#[tokio::test]
async fn updates_of_a_migrated_table_stay_in_their_page() {
    if without("postgres") {
        return;
    }
    let (database, schema) = (Server::shared().new_database(), projects("projects"));
    let sink = open(&database).await;
    let rows = |n: i64| (0..20_000).map(|id| hits(&schema, &id.to_string(), n)).collect();
    sink.apply(&batch(&schema, rows(1))).await.expect("inserted");
    for n in 0..10 {
        let some = (0..2_000).map(|i| hits(&schema, &((i * 7_919 + n) % 20_000).to_string(), 1)).collect();
        sink.apply(&batch(&schema, some)).await.expect("updated");
    }
    let counts = async || {
        let counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'projects'";
        let counts = ask(&database, counts);
        let (updates, hot) = counts.split_once('\t').expect("two columns");
        (updates.parse::<u64>().expect("a number"), hot.parse::<u64>().expect("a number"))
    };
    // A session reports its counts when it ends.
    drop(sink);
    eventually("the server to count the updates", async || counts().await.0 == 20_000).await;
    let (updates, hot) = counts().await;
    assert!(hot * 100 >= updates * 99, "{hot} of {updates} updates stayed in their page");
}

#[tokio::test]
async fn the_ledger_is_beside_the_table_whatever_the_search_path() {
    if without("postgres") {
        return;
    }
    let (database, schema) = (Server::shared().new_database(), projects("projects"));
    ask(
        &database,
        "CREATE SCHEMA one; CREATE SCHEMA two;
         CREATE TABLE two.projects (id text PRIMARY KEY, hits bigint, last_seen timestamptz);
         INSERT INTO two.projects VALUES ('42')",
    );
    let one = batch(&schema, vec![hits(&schema, "42", 1)]);
    let first = Postgres::from_pool(pool(&database, "SET search_path = one, two").await).with(creating());
    assert_eq!(first.apply(&one).await.expect("applied"), Applied::now(1, 0));
    assert_eq!(ask(&database, "SELECT count(*) FROM two.forebay_ledger"), "1");
    let second = Postgres::from_pool(pool(&database, "SET search_path = two, one").await);
    assert_eq!(second.apply(&one).await.expect("known"), Applied::Before);
    // The same holds for a table that is named with its schema.
    let named = projects("two.projects");
    let third = open(&database).await;
    third.apply(&batch(&named, vec![hits(&named, "42", 1)])).await.expect("applied");
    assert_eq!(
        ask(
            &database,
            "SELECT hits, (SELECT count(*) FROM two.forebay_ledger WHERE rows > 0) FROM two.projects"
        ),
        "2\t2"
    );
    assert_eq!(third.prune().await.expect("nothing is old"), 0);
}

#[tokio::test]
async fn domains_identities_and_names_with_capitals_work() {
    if without("postgres") {
        return;
    }
    let database = Server::shared().new_database();
    ask(
        &database,
        r#"CREATE DOMAIN counter AS bigint NOT NULL DEFAULT 0;
           CREATE TABLE "Projects" (number int GENERATED ALWAYS AS IDENTITY, "Id" varchar(5) UNIQUE, "Hits" counter)"#,
    );
    let schema = Buffer::new("projects").table("Projects").key("id").sum("hits").build().expect("valid");
    let sink = open(&database).await.with(creating().missing(Missing::Insert));
    let one = |id: &str| row(&schema, id, [Some(1.into())]);
    // The last key is too long. Postgres would cut its spaces, and the key would match the row of `abcde`.
    let rows = vec![one("abcde"), one("é|%"), one("abcde ")];
    assert_eq!(sink.apply(&batch(&schema, rows)).await.expect("applied"), Applied::now(2, 1));
    assert_eq!(ask(&database, r#"SELECT "Id", "Hits" FROM "Projects" ORDER BY 1"#), "abcde\t1\né|%\t1");
    let totals = sink.totals(&schema).await.expect("added up");
    assert_eq!((totals.rows, totals.sums), (2, vec![Some(2)]));
}

#[tokio::test]
async fn a_collation_that_takes_two_keys_for_one_is_refused_with_the_remedy() {
    if without("postgres") {
        return;
    }
    let (database, schema) = (Server::shared().new_database(), projects("projects"));
    ask(
        &database,
        "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE projects (id text COLLATE folded PRIMARY KEY, hits bigint, last_seen timestamptz)",
    );
    let sink = open(&database).await;
    let why = permanent(sink.prepare(&schema).await);
    let (_, mend) = why.split_once("use ").expect("a mend");
    ask(&database, mend);
    sink.prepare(&schema).await.expect("mended");
}

#[tokio::test]
async fn a_lock_not_had_in_time_keeps_the_batch() {
    if without("postgres") {
        return;
    }
    let (database, schema) = (Server::shared().new_database(), projects("projects"));
    let sink = Postgres::from_pool(pool(&database, "SET lock_timeout = '50ms'").await).with(creating());
    sink.apply(&batch(&schema, vec![hits(&schema, "42", 1)])).await.expect("applied");
    let options: sqlx::postgres::PgConnectOptions = Server::shared().url(&database).parse().expect("a URL");
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

/// A trigger raises an error, a deferred constraint is violated, and a trigger skips a row.
#[tokio::test]
async fn triggers_and_deferred_constraints_refuse_single_rows() {
    if without("postgres") {
        return;
    }
    let database = Server::shared().new_database();
    ask(
        &database,
        "CREATE TABLE known (id text PRIMARY KEY); INSERT INTO known SELECT chr(n) FROM generate_series(97, 122) AS n;
         CREATE TABLE p (id text PRIMARY KEY, n bigint, FOREIGN KEY (id) REFERENCES known DEFERRABLE INITIALLY DEFERRED);
         CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.id = 'c' THEN RAISE 'no c today'; END IF;
             IF NEW.id = 'd' THEN RETURN NULL; END IF;
             RETURN NEW; END $$;
         CREATE TRIGGER no BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION no()",
    );
    let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
    let sink = open(&database).await.with(creating().missing(Missing::Insert));
    let rows = ["a", "b", "c", "d", "e", "unknown"].map(|id| row(&schema, id, [Some(1.into())])).to_vec();
    assert_eq!(sink.apply(&batch(&schema, rows)).await.expect("applied"), Applied::now(3, 3));
    let letters = ask(&database, "SELECT row_key, error FROM forebay_dead_letters ORDER BY row_key");
    for (letter, (key, why)) in
        letters.lines().zip([("c", "no c today"), ("d", "ignored"), ("unknown", "foreign key constraint")])
    {
        assert!(letter.starts_with(key) && letter.contains(why), "{letter}");
    }
    assert_eq!(ask(&database, "SELECT string_agg(id, '' ORDER BY id) FROM p"), "abe");
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_has_each_batch_once() {
    if without("postgres") {
        return;
    }
    let (server, schema) = (Server::start(), projects("projects"));
    let sink = Postgres::open(&server.url("postgres")).await.expect("a database").with(creating());
    let (one, two) =
        (batch(&schema, vec![hits(&schema, "42", 1)]), batch(&schema, vec![hits(&schema, "42", 2)]));
    assert_eq!(sink.apply(&one).await.expect("applied"), Applied::now(1, 0));
    server.restart();
    assert_eq!(sink.apply(&one).await.expect("known"), Applied::Before);
    assert_eq!(sink.apply(&two).await.expect("applied"), Applied::now(1, 0));
    assert_eq!(server.query("postgres", "SELECT hits FROM projects"), "3");
}

#[tokio::test]
async fn texts_that_postgres_does_not_have_are_dead_letters() {
    if without("postgres") {
        return;
    }
    let database = Server::shared().new_database();
    let schema =
        Buffer::new("p").key("id").column("word", Merge::Max, ColumnType::Text).build().expect("valid");
    let rows = vec![
        row(&schema, "nul", [Some("a\0b".into())]),
        row(&schema, "n\0ul", [Some("a".into())]),
        row(&schema, "ok", [Some("a".into())]),
    ];
    let applied = open(&database).await.apply(&batch(&schema, rows)).await.expect("applied");
    assert_eq!(applied, Applied::now(1, 2));
    let letters = ask(&database, "SELECT row_key, cells FROM forebay_dead_letters ORDER BY row_key");
    assert_eq!(letters, "n%00ul\t{\"word\":\"a\"}\nnul\t{\"word\":\"a\\u0000b\"}");
}

/// A batch whose task ended while its transaction began left its connection inside that transaction. The next read failed,
/// and all later ones got 'current transaction is aborted'.
#[tokio::test]
async fn a_beginning_that_is_dropped_spoils_no_connection() {
    if without("postgres") {
        return;
    }
    let (database, schema) = (Server::shared().new_database(), projects("projects"));
    // The pool has one connection, so that the next use gets the same one.
    let sink = Postgres::from_pool(pool(&database, "").await).with(creating());
    sink.prepare(&schema).await.expect("prepared");
    for n in 0..40 {
        let one = batch(&schema, vec![hits(&schema, "42", 1)]);
        let (mut polls, mut applying) = (0, sink.apply(&one));
        poll_fn(|context| {
            polls += 1;
            match applying.as_mut().poll(context) {
                Poll::Pending if polls <= n / 2 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        drop(applying);
        // The next uses are a read and a write.
        sink.read(&schema, &one.rows[0].key, &[]).await.expect("read");
        sink.apply(&one).await.expect("applied");
    }
    assert_eq!(ask(&database, "SELECT hits FROM projects"), "40");
}

#[tokio::test]
async fn no_message_shows_a_password() {
    let refused = Postgres::open("postgres://me:secret@127.0.0.1:1/app").await.expect_err("nobody is there");
    let text = format!("{refused} {refused:?}");
    assert!(text.contains("127.0.0.1:1/app") && !text.contains("secret"), "{text}");
    if without("postgres") {
        return;
    }
    let url = Server::shared().url("postgres").replace("postgres@", "postgres:secret@");
    let sink = Postgres::open(&url).await.expect("a database");
    assert!(!format!("{sink:?}").contains("secret"));
}

#[tokio::test]
async fn a_setting_under_which_commits_do_not_last_is_warned_of() {
    if without("postgres") {
        return;
    }
    let (weak, strong) = (open(&Server::shared().new_database()).await, Server::durable());
    weak.prepare(&projects("projects")).await.expect("prepared");
    let warnings = weak.warnings();
    let both = ["fsync is off", "full_page_writes is off"];
    assert!(both.iter().zip(&warnings).all(|(part, warning)| warning.contains(part)), "{warnings:?}");
    let strong = Postgres::open(&strong.url("postgres")).await.expect("opens").with(creating());
    strong.prepare(&projects("projects")).await.expect("prepared");
    assert_eq!(strong.warnings(), [""; 0]);
}

/// A pooler may put each transaction on another connection to the server. Other clients use that connection in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_that_shares_connections_everything_works() {
    if without("postgres") || without("pgbouncer") {
        return;
    }
    let (pgbouncer, database) = (PgBouncer::start(Server::shared().port()), Server::shared().new_database());
    let schema = projects("projects");
    // There are more flushers than connections. The sinks are created in both ways.
    let mut sinks = vec![];
    for _ in 0..4 {
        sinks.push(Postgres::open(&pgbouncer.url(&database)).await.expect("opens").with(creating()));
        let options: PgConnectOptions = pgbouncer.url(&database).parse().expect("a URL");
        let pool = PgPoolOptions::new().connect_lazy_with(options.extra_float_digits(None));
        sinks.push(Postgres::from_pool(pool).with(creating()));
    }
    let shared = batch(&schema, vec![hits(&schema, "shared", 1)]);
    let work = |sink: Postgres, n: usize| {
        let (schema, shared) = (schema.clone(), shared.clone());
        tokio::spawn(async move {
            sink.prepare(&schema).await.expect("prepared");
            for round in 0..10 {
                let own = batch(&schema, vec![hits(&schema, "all", 1), hits(&schema, &n.to_string(), 1)]);
                assert_eq!(sink.apply(&own).await.expect("applied"), Applied::now(2, 0));
                assert_eq!(sink.apply(&own).await.expect("known"), Applied::Before);
                sink.apply(&shared).await.expect("applied once, by somebody");
                let row = sink.read(&schema, &own.rows[0].key, &[own.id]).await.expect("read");
                assert_eq!(
                    (row.applied, row.row.expect("a row")[0].clone()),
                    (vec![own.id], Some((round + 1).into()))
                );
            }
            // These are the queries of the other methods.
            let bad = batch(
                &schema,
                vec![hits(&schema, "huge", i64::MAX), hits(&schema, &n.to_string(), i64::MAX)],
            );
            let Applied::Now { dead, .. } = sink.apply(&bad).await.expect("applied") else { panic!("new") };
            assert!(dead >= 1);
            let letters = sink.dead_letters(&schema, 0, 100).await.expect("listed");
            assert!(sink.count_dead(&schema).await.expect("counted") >= 1);
            sink.replay_dead(&schema, &[letters[0].id]).await.expect("replayed");
            let key = |id: &str| RowKey::new(&schema, &[id.into()]).expect("a key");
            sink.move_row(&schema, &key(&format!("old {n}")), &key(&n.to_string())).await.expect("moved");
            assert!(permanent(sink.totals(&schema).await).contains("64 bits"));
            sink.ping().await.expect("answers");
            sink.prune().await.expect("pruned");
        })
    };
    let tasks: Vec<_> = sinks.into_iter().enumerate().map(|(n, sink)| work(sink, n)).collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let sums = ask(&database, "SELECT sum(hits), count(*) FROM projects WHERE id = 'all' OR length(id) = 1");
    assert_eq!(sums, "160\t9");
    assert_eq!(ask(&database, "SELECT hits FROM projects WHERE id = 'shared'"), "1");
}

/// Other clients share the pool's sessions, so a transaction changes settings for itself only.
#[tokio::test]
async fn nothing_stays_on_a_shared_connection() {
    if without("postgres") || without("pgbouncer") {
        return;
    }
    let (pgbouncer, database) = (PgBouncer::start(Server::shared().port()), Server::shared().new_database());
    ask(&database, &format!("ALTER DATABASE {database} SET synchronous_commit = off"));
    let (sink, schema) =
        (Postgres::open(&pgbouncer.url(&database)).await.expect("opens"), projects("projects"));
    let sink = sink.with(creating());
    let seen = || ask(&database, "SELECT string_agg(DISTINCT s, ',') FROM seen");
    sink.prepare(&schema).await.expect("prepared");
    ask(
        &database,
        "CREATE TABLE seen (s text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$;
         CREATE TRIGGER see BEFORE INSERT ON projects FOR EACH ROW EXECUTE FUNCTION see()",
    );
    for n in 0..5 {
        sink.apply(&batch(&schema, vec![hits(&schema, &n.to_string(), 1)])).await.expect("applied");
    }
    assert_eq!(seen(), "on", "a batch is durable");
    let options: PgConnectOptions = pgbouncer.url(&database).parse().expect("a URL");
    let mut other = options.extra_float_digits(None).connect().await.expect("a connection");
    for _ in 0..5 {
        let row = sqlx::raw_sql(
            "SELECT current_setting('synchronous_commit'), (SELECT count(*) FROM pg_prepared_statements)",
        );
        let row = row.fetch_one(&mut other).await.expect("a row");
        assert_eq!((row.get::<String, _>(0), row.get::<i64, _>(1)), ("off".into(), 0));
    }
}

/// A database, a role of the same name that owns it, and a sink that is that role.
async fn owned() -> (String, Postgres) {
    let server = Server::shared();
    let app = server.new_database();
    server.query("postgres", &format!("CREATE ROLE {app} LOGIN; ALTER DATABASE {app} OWNER TO {app}"));
    let url = server.url(&app).replace("postgres@", &format!("{app}@"));
    (app, Postgres::open(&url).await.expect("opens").with(creating()))
}

/// A failure to connect says nothing about a batch.
#[tokio::test]
async fn a_connection_that_is_refused_is_an_outage_whatever_the_reason() {
    if without("postgres") {
        return;
    }
    let ((app, sink), schema) = (owned().await, projects("projects"));
    let admin = |sql: &str| Server::shared().query("postgres", &sql.replace("APP", &app));
    sink.prepare(&schema).await.expect("prepared");
    for (what, [take, give]) in [
        ("28000: the role may not log in", ["ALTER ROLE APP NOLOGIN", "ALTER ROLE APP LOGIN"]),
        (
            "3D000: the database was renamed",
            ["ALTER DATABASE APP RENAME TO APPx", "ALTER DATABASE APPx RENAME TO APP"],
        ),
        (
            "55000: it takes no connections",
            ["ALTER DATABASE APP ALLOW_CONNECTIONS false", "ALTER DATABASE APP ALLOW_CONNECTIONS true"],
        ),
    ] {
        admin("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'APP'");
        admin(take);
        let one = batch(&schema, vec![hits(&schema, "42", 1)]);
        for _ in 0..2 {
            let refused = sink.apply(&one).await;
            let Err(SinkError::Transient(error)) = refused else { panic!("{what}: {refused:?}") };
            assert!(error.to_string().contains(": connecting: "), "{what}: {error}");
            assert!(sink.warnings().iter().any(|warning| warning.contains("is kept")), "{what}");
        }
        admin(give);
        assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(1, 0), "{what}");
    }
    assert!(!sink.warnings().iter().any(|warning| warning.contains("is kept")));
    assert_eq!(ask(&app, "SELECT hits FROM projects"), "3");
}

/// The batch is applied once the right is granted again. Other tables are not affected.
#[tokio::test]
async fn a_missing_right_is_an_outage_of_its_table_alone() {
    if without("postgres") {
        return;
    }
    let ((app, sink), schema, other) = (owned().await, projects("projects"), projects("others"));
    let first = [batch(&schema, vec![hits(&schema, "42", 1)]), batch(&other, vec![hits(&other, "42", 1)])];
    for one in &first {
        sink.apply(one).await.expect("applied");
    }
    for [take, give] in [
        ["REVOKE INSERT ON projects FROM APP", "GRANT INSERT ON projects TO APP"],
        [
            "REVOKE UPDATE (hits) ON projects FROM APP; REVOKE UPDATE ON projects FROM APP",
            "GRANT UPDATE ON projects TO APP",
        ],
        [
            "ALTER TABLE projects OWNER TO postgres; REVOKE ALL ON projects FROM APP",
            "ALTER TABLE projects OWNER TO APP",
        ],
    ] {
        ask(&app, &take.replace("APP", &app));
        let one = batch(&schema, vec![hits(&schema, "42", 1)]);
        let refused = sink.apply(&one).await;
        let Err(SinkError::Transient(error)) = refused else { panic!("{take}: {refused:?}") };
        assert!(error.to_string().contains("permission denied for table projects"), "{take}: {error}");
        let fine = batch(&other, vec![hits(&other, "42", 1)]);
        assert_eq!(sink.apply(&fine).await.expect("its own rights"), Applied::now(1, 0), "{take}");
        ask(&app, &give.replace("APP", &app));
        assert_eq!(sink.apply(&one).await.expect("mended"), Applied::now(1, 0), "{take}");
    }
    assert_eq!(ask(&app, "SELECT hits FROM projects"), "4");
}

/// The driver has to find a provider of cryptography by itself. Otherwise the first connection panics.
#[tokio::test]
async fn a_connection_by_tls_checks_the_certificate() {
    if without("postgres") {
        return;
    }
    let server = Server::start();
    // The certificates are made for this test only.
    for (name, text) in
        [("server.crt", include_str!("tls/certificate.pem")), ("server.key", include_str!("tls/key.pem"))]
    {
        let text = text.trim();
        let program = format!("cat > {name} && chmod 600 {name}");
        server.query(
            "postgres",
            &format!("COPY (SELECT regexp_split_to_table('{text}', '\n')) TO PROGRAM '{program}'"),
        );
    }
    server.query("postgres", "ALTER SYSTEM SET ssl = on");
    server.restart();
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/ca.pem");
    let url = server.url("postgres");
    let trusting = format!("{url}?sslmode=verify-full&sslrootcert={authority}");
    let sink = Postgres::open(&trusting).await.expect("a database").with(creating());
    let schema = projects("projects");
    sink.apply(&batch(&schema, vec![hits(&schema, "42", 1)])).await.expect("applied");
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'forebay'";
    assert_eq!(server.query("postgres", encrypted), "t");
    let refused = Postgres::open(&format!("{url}?sslmode=verify-full")).await.expect_err("nobody signed it");
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

//! Values in the types that tables really have.

use forebay::{
    Buffer, Timestamp,
    buffer::{ColumnType, Merge, Value},
    sink::{Applied, Sink as _},
};
use forebay_sql::{Missing, Options};
use uuid::Uuid;

use crate::support::{File, NOON, apply, row};

#[tokio::test]
async fn uuids_and_times_take_the_form_of_their_column_and_are_read_back() {
    let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let text = id.to_string();
    let digits = text.replace('-', "");
    for (key_type, last_type, shown, at) in [
        ("TEXT", "TEXT", format!("'{text}'"), "'2026-01-01 12:00:00.250000'"),
        ("char(32)", "datetime(6)", format!("'{digits}'"), "'2026-01-01 12:00:00.250000'"),
        ("UUID", "TIMESTAMP", format!("'{text}'"), "'2026-01-01 12:00:00.250000'"),
        ("BLOB", "INTEGER", format!("X'{}'", digits.to_uppercase()), "1767268800"),
        ("", "", format!("'{text}'"), "'2026-01-01 12:00:00.250000'"),
    ] {
        let (file, mut application) =
            File::with(&format!("CREATE TABLE p (id {key_type} PRIMARY KEY, last {last_type})")).await;
        let schema = Buffer::new("p").key_of("id", ColumnType::Uuid).max("last").build().expect("valid");
        let sink = file.sink().await.with(Options::new().missing(Missing::Insert));
        let at_noon = NOON.plus(forebay::time::millis(250));
        let one = row(&schema, id, [Some(at_noon.into())]);
        for _ in 0..2 {
            assert_eq!(apply(&sink, &schema, vec![one.clone()]).await, Applied::now(1, 0));
        }
        let found: Vec<(String, String)> = application.rows("SELECT quote(id), quote(last) FROM p").await;
        assert_eq!(found, [(shown, at.to_owned())], "{key_type}, {last_type}");
        let read = sink.read(&schema, &one.key, &[]).await.expect("read").row.expect("a row");
        let kept = if last_type == "INTEGER" { NOON } else { at_noon };
        assert_eq!(*read, [Some(Value::Timestamp(kept))], "{last_type}");
    }
}

/// Keys of events are texts, but most applications have integer ids.
#[tokio::test]
async fn text_keys_find_integer_ids_in_their_one_spelling() {
    let (file, mut application) = File::with(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO p VALUES (42, 1), (7, 1)",
    )
    .await;
    let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
    let sink = file.sink().await;
    let rows = ["42", "042", "seven", "8"].map(|id| row(&schema, id, [Some(10.into())])).to_vec();
    assert_eq!(apply(&sink, &schema, rows.clone()).await, Applied::now(1, 2));
    let letters = application.dead_letters().await;
    assert_eq!(letters.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["042", "seven"]);
    let ids: Vec<(i64, i64)> = application.rows("SELECT * FROM p ORDER BY id").await;
    assert_eq!(ids, [(7, 1), (42, 11)]);
    let read = sink.read(&schema, &rows[2].key, &[]).await.expect("no such row is no error");
    assert_eq!(read.row, None);
}

#[tokio::test]
async fn texts_compare_byte_by_byte_whatever_the_column_does() {
    let (file, mut application) = File::with(
        "CREATE TABLE p (id TEXT PRIMARY KEY COLLATE NOCASE, n INTEGER, word TEXT COLLATE NOCASE);
         INSERT INTO p VALUES ('A', 1, 'm'), ('b', 1, 'M')",
    )
    .await;
    let text = |merge| Buffer::new("p").key("id").sum("n").column("word", merge, ColumnType::Text).build();
    let schema = text(Merge::Max).expect("valid");
    let one = |id: &str, word: &str| row(&schema, id, [Some(10.into()), Some(word.into())]);
    // Two rows of the batch would match one row of the table. An update would apply only one of them.
    let rows = vec![one("A", "N"), one("a", "z"), one("b", "N\0|%'\"é")];
    assert_eq!(apply(&file.sink().await, &schema, rows).await, Applied::now(2, 0));
    // If rows are inserted, the key makes one row of the two.
    let insert = file.sink().await.with(Options::new().missing(Missing::Insert));
    assert_eq!(apply(&insert, &schema, vec![one("A", "N"), one("a", "Z")]).await, Applied::now(2, 0));
    let rows: Vec<(String, i64, String)> = application.rows("SELECT * FROM p ORDER BY id").await;
    assert_eq!(rows, [("A".into(), 31, "m".into()), ("b".into(), 11, "N\0|%'\"é".into())]);
}

#[tokio::test]
async fn a_time_without_a_text_goes_to_the_dead_letters_with_its_microseconds() {
    let file = File::new();
    let schema = Buffer::new("p").key("id").max("last").build().expect("valid");
    let far = row(&schema, "far", [Some(Timestamp::from_micros(i64::MAX).into())]);
    let near = row(&schema, "near", [Some(NOON.into())]);
    assert_eq!(apply(&file.sink().await, &schema, vec![far, near]).await, Applied::now(1, 1));
    let cells = file.application().await.one::<String>("SELECT cells FROM forebay_dead_letters").await;
    assert_eq!(cells, format!(r#"{{"last":{}}}"#, i64::MAX));
}

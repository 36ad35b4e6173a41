//! Buffers.

use uuid::Uuid;

use super::fresh;
use crate::{
    bay::Forebay,
    engine::step::{BufferPart, Rotate},
    model::{Buffer, ColumnType, Merge, Row, RowKey, Schema, Value},
    time::{Timestamp, hours, secs},
};

fn part() -> BufferPart {
    let schema = Buffer::new(fresh("buffer").as_str())
        .table("t")
        .key("id")
        .sum("hits")
        .max("last")
        .min("first")
        .column("note", Merge::Max, ColumnType::Text)
        .partitions(1)
        .build()
        .unwrap();
    BufferPart { schema, index: 0 }
}

fn row(schema: &Schema, id: &str, hits: i64, at: i64) -> Row {
    let at = Some(Value::from(Timestamp::from_micros(at)));
    Row {
        key: RowKey::new(schema, &[id.into()]).unwrap(),
        cells: [Some(hits.into()), at.clone(), at, None].into(),
    }
}

/// Rows of ids, hits and times.
fn rows<const N: usize>(part: &BufferPart, rows: [(&str, i64, i64); N]) -> Vec<Row> {
    rows.into_iter().map(|(id, hits, at)| row(&part.schema, id, hits, at)).collect()
}

async fn add(bay: &Forebay, part: &BufferPart, rows: Vec<Row>) {
    for answer in bay.engine().buffer_add(part, rows).await.unwrap() {
        answer.unwrap();
    }
}

/// Freezes what is live, and reads it: the rows by key.
async fn freeze(bay: &Forebay, part: &BufferPart) -> Vec<Row> {
    let id = bay.engine().buffer_rotate(part, Rotate::Now, 100).await.unwrap().unwrap();
    let mut rows = bay.engine().buffer_read(part, id).await.unwrap().unwrap().rows;
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

pub(super) async fn rows_merge_and_are_read_once_frozen(bay: Forebay) {
    let part = part();
    // Two times 99 ns apart in units of nanoseconds compare equal as Lua numbers; so do these as microseconds
    // of a far future. Text must decide.
    let far = (1 << 53) + 1;
    add(&bay, &part, rows(&part, [("a", 1, far), ("b", 5, -7)])).await;
    add(&bay, &part, rows(&part, [("a", 2, far + 1)])).await;
    add(&bay, &part, rows(&part, [("a", -10, far - 1), ("b", 5, 3)])).await;
    let rows = freeze(&bay, &part).await;
    let time = |micros| Some(Timestamp::from_micros(micros).into());
    let cells = |hits: i64, last, first| [Some(Value::from(hits)), time(last), time(first), None];
    assert_eq!(rows.len(), 2);
    assert_eq!(*rows[0].cells, cells(-7, far + 1, far - 1));
    assert_eq!(*rows[1].cells, cells(10, 3, -7));
}

pub(super) async fn a_row_that_overflows_changes_nothing_and_stops_nobody(bay: Forebay) {
    let part = part();
    add(&bay, &part, rows(&part, [("full", i64::MAX - 1, 5), ("low", i64::MIN, 5)])).await;
    let written = rows(&part, [("a", 1, 1), ("full", 2, 99), ("low", -1, 0), ("b", 1, 1)]);
    let answers = bay.engine().buffer_add(&part, written).await.unwrap();
    let refused: Vec<bool> = answers.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, true, true, false]);
    add(&bay, &part, rows(&part, [("full", 1, 5)])).await;
    let rows = freeze(&bay, &part).await;
    let five: Option<Value> = Some(Timestamp::from_micros(5).into());
    assert_eq!(rows.len(), 4);
    let full = [Some(i64::MAX.into()), five.clone(), five, None];
    assert_eq!(*rows[2].cells, full, "no column of a refused row");
}

pub(super) async fn rotation_follows_age_rows_and_bound(bay: Forebay) {
    let part = part();
    let rotate = async |rotate, most| bay.engine().buffer_rotate(&part, rotate, most).await.unwrap();
    let due = |age, rows| Rotate::Due { age, rows };
    assert_eq!(rotate(Rotate::Now, 100).await, None, "nothing is live");
    add(&bay, &part, rows(&part, [("a", 1, 1), ("b", 1, 1)])).await;
    assert_eq!(rotate(due(hours(1), 3), 100).await, None, "neither old nor many");
    assert_eq!(rotate(Rotate::Now, 0).await, None, "none may be frozen");
    let first = rotate(due(hours(1), 2), 100).await;
    assert!(first.is_some(), "many");
    add(&bay, &part, rows(&part, [("a", 1, 1)])).await;
    assert_eq!(rotate(due(secs(0), 9), 1).await, None, "one is frozen already");
    let second = rotate(due(secs(0), 9), 2).await;
    assert!(second.is_some() && second != first, "old");
}

pub(super) async fn generations_come_oldest_first_and_go_once(bay: Forebay) {
    let part = part();
    for id in ["a", "b", "c"] {
        add(&bay, &part, rows(&part, [(id, 1, 1)])).await;
        freeze(&bay, &part).await;
    }
    let list = async || bay.engine().buffer_frozen(&part).await.unwrap();
    let frozen = list().await;
    assert_eq!(frozen.len(), 3);
    let first = bay.engine().buffer_read(&part, frozen[0].id).await.unwrap().unwrap();
    assert_eq!(first.fingerprint, part.schema.fingerprint);
    assert_eq!(first.rows[0].key.as_str(), "a");
    assert_eq!((frozen[0].rows, frozen[0].born <= frozen[2].born), (1, true));
    for _ in 0..2 {
        bay.engine().buffer_ack(&part, frozen[0].id, first.last_write).await.unwrap();
    }
    assert_eq!(list().await, frozen[1..]);
    assert!(bay.engine().buffer_read(&part, frozen[0].id).await.unwrap().is_none());
}

pub(super) async fn pending_tells_what_is_not_acknowledged(bay: Forebay) {
    let part = part();
    let key = RowKey::new(&part.schema, &["a".into()]).unwrap();
    let pending = async || bay.engine().buffer_pending(&part, &key).await.unwrap();
    assert_eq!(pending().await, []);
    add(&bay, &part, rows(&part, [("a", 1, 1), ("b", 1, 1)])).await;
    let id = bay.engine().buffer_rotate(&part, Rotate::Now, 100).await.unwrap().unwrap();
    add(&bay, &part, rows(&part, [("a", 2, 2)])).await;
    let both = pending().await;
    assert_eq!(both.len(), 2);
    assert_eq!((both[0].generation, both[0].row.cells[0].clone()), (id, Some(1.into())));
    assert_eq!(both[1].row.cells[0], Some(2.into()));
    let stats = bay.engine().buffer_stats(&part).await.unwrap();
    assert_eq!((stats.live_rows, stats.frozen_rows, stats.frozen), (1, 2, 1));
    assert!(stats.oldest.is_some_and(|oldest| oldest <= stats.now));
    let read = bay.engine().buffer_read(&part, id).await.unwrap().unwrap();
    bay.engine().buffer_ack(&part, id, read.last_write).await.unwrap();
    assert_eq!(pending().await.len(), 1);
}

pub(super) async fn hostile_texts_come_back_as_they_went(bay: Forebay) {
    let part = part();
    let texts = ["#gen", "0:x", "a|b%7C", "}{*", "\u{0}\n\r", "ключ", "-1", "9223372036854775808", "%"];
    for text in texts {
        let mut row = row(&part.schema, text, 1, 1);
        row.cells[3] = Some(text.into());
        add(&bay, &part, vec![row]).await;
    }
    let rows = freeze(&bay, &part).await;
    assert_eq!(rows.len(), texts.len());
    for row in rows {
        let text = row.key.values(&part.schema).unwrap().remove(0);
        assert_eq!(row.cells[3].as_ref(), Some(&text));
    }
}

pub(super) async fn the_version_decides_in_whatever_order_writes_come(bay: Forebay) {
    let integers = |buffer: Buffer| buffer.column("v", Merge::Max, ColumnType::Integer);
    let schema = integers(Buffer::new(fresh("versions").as_str()).table("t").key("id").sum("n"))
        .last("state", ColumnType::Text, "v")
        .column("born", Merge::Min, ColumnType::Timestamp)
        .first("origin", ColumnType::Text, "born")
        .partitions(1);
    let part = BufferPart { schema: schema.build().unwrap(), index: 0 };
    // Next to each other beyond 2^53: as Lua numbers they are one.
    let far = (1 << 53) + 2;
    for (id, order) in [("a", [far - 1, far, -1]), ("b", [far, -1, far - 1]), ("c", [-1, far - 1, far])] {
        for v in order {
            let text = Some(Value::from(format!("as of {v}")));
            let born = Some(Value::from(Timestamp::from_micros(v)));
            let key = RowKey::new(&part.schema, &[id.into()]).unwrap();
            let cells = [Some(1.into()), Some(v.into()), text.clone(), born, text].into();
            add(&bay, &part, vec![Row { key, cells }]).await;
        }
    }
    let stats = bay.engine().buffer_stats(&part).await.unwrap();
    assert_eq!(stats.live_rows, 3);
    for row in freeze(&bay, &part).await {
        let (last, first) = (Some(format!("as of {far}").into()), Some("as of -1".into()));
        let born = Some(Timestamp::from_micros(-1).into());
        assert_eq!(*row.cells, [Some(3.into()), Some(far.into()), last, born, first], "{:?}", row.key);
    }
}

/// Two partitions may have writes of one version, and are flushed in any order.
pub(super) async fn of_one_version_the_value_decides_and_not_the_order(bay: Forebay) {
    let schema = Buffer::new(fresh("ties").as_str())
        .table("t")
        .key("id")
        .column("v", Merge::Max, ColumnType::Text)
        .last("state", ColumnType::Text, "v")
        .last("n", ColumnType::Integer, "v")
        .column("born", Merge::Min, ColumnType::Integer)
        .first("origin", ColumnType::Uuid, "born")
        .first("m", ColumnType::Timestamp, "born")
        .partitions(1);
    let part = BufferPart { schema: schema.build().unwrap(), index: 0 };
    let far = (1 << 53) + 2;
    let cells = |state: &str, n: i64, id: u128| -> Box<[Option<Value>]> {
        let (origin, m) = (Uuid::from_u128(id).into(), Timestamp::from_micros(n).into());
        [Value::from("same"), state.into(), n.into(), 7.into(), origin, m].map(Some).into()
    };
    let writes = [cells("B", far, 1 << 127), cells("a", far - 1, 9), cells("\u{e9}", -3, 10)];
    for (id, order) in [("a", [0, 1, 2]), ("b", [2, 1, 0]), ("c", [1, 2, 0])] {
        for place in order {
            let key = RowKey::new(&part.schema, &[id.into()]).unwrap();
            add(&bay, &part, vec![Row { key, cells: writes[place].clone() }]).await;
        }
    }
    for row in freeze(&bay, &part).await {
        let (origin, m) = (Uuid::from_u128(9).into(), Timestamp::from_micros(-3).into());
        let expected = [Value::from("same"), "\u{e9}".into(), far.into(), 7.into(), origin, m].map(Some);
        assert_eq!(*row.cells, expected, "{:?}", row.key);
    }
}

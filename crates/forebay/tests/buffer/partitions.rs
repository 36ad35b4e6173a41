//! Changes of the number of partitions, and buffers that leave the configuration: their rows are flushed or reported.

use forebay::{
    Buffer, Forebay,
    buffer::BufferHandle,
    fault::{Fault, Faults},
    sink::MemorySink,
    time::secs,
};

use crate::support::{shared_stores, total};

fn rows(bay: &Forebay, partitions: u16) -> BufferHandle {
    bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(partitions)).expect("valid")
}

/// Enough rows for every partition.
async fn write(buffer: &BufferHandle) {
    for id in 0..100 {
        buffer.row(id.to_string()).add("n", 1).await.expect("acknowledged");
    }
}

/// The flusher once knew only the partitions of its own definition. Acknowledged rows of the others never reached the
/// database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_orphaned_partitions_are_flushed() {
    for [before, after] in shared_stores().await {
        let (wide, narrow) = (rows(&before, 16), rows(&after, 2));
        write(&wide).await;
        assert_eq!(narrow.stats().await.expect("answers").pending_rows, 100);
        let pending = narrow.pending(["42".into()]).await.expect("answers");
        assert_eq!(pending[0], Some(1.into()), "whichever partition it was in");
        let sink = MemorySink::new();
        let _ = narrow.flush_to(sink.clone());
        assert_eq!(narrow.flush().await.expect("flushes"), 100);
        assert_eq!((total(&narrow, &sink), narrow.stats().await.expect("answers").pending_rows), (100, 0));

        // A process with the old definition goes on writing.
        write(&wide).await;
        assert_eq!(narrow.flush().await.expect("flushes"), 100);
        assert_eq!(total(&narrow, &sink), 200);
    }
}

/// Frozen generations too, by the background flusher, and after a restart on a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_more_partitions_than_the_definition_is_emptied() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let url = format!("embedded:{}", directory.path().join("store.redb").display());
    let bay = Forebay::open(&url).await.expect("opens");
    write(&rows(&bay, 64)).await;
    bay.close().await.expect("closes");

    let bay = Forebay::open(&url).await.expect("opens");
    let (buffer, sink) = (rows(&bay, 1), MemorySink::new());
    let flushing = buffer.flush_to(sink.clone()).every(secs(3_600)).spawn();
    let emptied = async {
        while buffer.stats().await.expect("answers").pending_rows > 0 {
            tokio::task::yield_now().await;
        }
    };
    bay.clock().timeout(secs(20), emptied).await.expect("within 20 s");
    assert_eq!(total(&buffer, &sink), 100);
    flushing.stop().await.expect("stops");
    bay.close().await.expect("closes");
}

#[tokio::test]
async fn a_store_that_cannot_say_its_partitions_does_not_stop_those_that_are_known() {
    let faults = Faults::default();
    let bay = Forebay::options().faults(faults.clone()).open("memory:").await.expect("opens");
    let (buffer, sink) = (rows(&bay, 2), MemorySink::new());
    let _ = buffer.flush_to(sink.clone());
    write(&buffer).await;
    faults.next("buffer_parts", [Some(Fault::Refused)]);
    assert!(buffer.flush().await.is_err(), "perhaps not all of it");
    assert_eq!(total(&buffer, &sink), 100);
    assert_eq!(buffer.flush().await.expect("flushes"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_tells_of_buffers_that_nobody_defines() {
    for [before, after] in shared_stores().await {
        write(&rows(&before, 5)).await;
        let stored = after.stored_buffers().await.expect("answers");
        let [one] = stored.as_slice() else { panic!("{stored:?}") };
        assert_eq!((one.name.as_str(), one.pending_rows), ("rows", 100));
        let buffer = rows(&after, 1);
        let _ = buffer.flush_to(MemorySink::new());
        buffer.flush().await.expect("flushes");
        let stored = after.stored_buffers().await.expect("answers");
        assert!(stored.iter().all(|one| one.pending_rows == 0), "{stored:?}");
    }
}

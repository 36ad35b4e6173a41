//! Files that are in use, not ours, too new, or broken.

use std::{fs, path::Path, sync::Arc};

use forebay_testkit::Random;
use redb::{Database, ReadableDatabase as _, TableDefinition, TableHandle as _};
use uuid::Uuid;

use super::{
    super::{file::open_database, tables},
    RELAXED, SYNC, claim,
    disk::{Disk, Fault, What},
    engine, hits, part, pending, start, until,
};
use crate::{Clock, ErrorKind, Forebay, engine::embedded::Embedded, error::Error};

/// A table of another program.
const OTHER: TableDefinition<&str, u64> = TableDefinition::new("other");

async fn refused(path: &Path) -> Error {
    Embedded::open(path, SYNC, Clock::system()).await.expect_err("refused")
}

#[tokio::test]
async fn a_file_in_use_names_who_uses_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.redb");
    let first = Embedded::open(&path, SYNC, Clock::system()).await.expect("opens");
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("this process has it open"), "{error}");

    // As another process would find it.
    fs::write(directory.path().join("a.redb.pid"), "4711\n").expect("writes");
    let error = refused(&path).await.to_string();
    assert!(error.contains("process 4711") && error.contains("--server"), "{error}");
    fs::remove_file(directory.path().join("a.redb.pid")).expect("removes");
    let error = refused(&path).await.to_string();
    assert!(error.contains("another process"), "{error}");

    first.close().await.expect("closes");
    assert!(!directory.path().join("a.redb.pid").exists());
    let second = Embedded::open(&path, SYNC, Clock::system()).await.expect("a closed file is free");
    assert_eq!(
        fs::read_to_string(directory.path().join("a.redb.pid")).expect("reads").trim(),
        std::process::id().to_string()
    );
    second.close().await.expect("closes");
}

#[tokio::test]
async fn a_closed_engine_takes_nothing_and_closes_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let url = format!("embedded:{}", directory.path().join("a.redb").display());
    let bay = Forebay::open(&url).await.expect("opens");
    let buffer = bay.buffer(crate::Buffer::new("b").key("id").sum("n")).expect("valid");
    buffer.row("1").add("n", 1).await.expect("commits");
    bay.close().await.expect("closes");
    bay.close().await.expect("closes again");
    let error = buffer.row("1").add("n", 1).await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(bay.ping().await.expect_err("closed").kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn other_files_are_left_as_they_are() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("notes.txt");
    for foreign in ["dear diary", &"x".repeat(100_000)] {
        fs::write(&path, foreign).expect("writes");
        let error = refused(&path).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("not a file of forebay's"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("reads"), foreign);
    }

    let path = directory.path().join("other.redb");
    let other = Database::create(&path).expect("creates");
    let write = other.begin_write().expect("begins");
    write.open_table(OTHER).expect("opens").insert("a", 7).expect("inserts");
    write.commit().expect("commits");
    drop(other);
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("not one of forebay's"), "{error}");
    let database = Database::open(&path).expect("opens");
    let other = database.begin_read().expect("begins");
    assert_eq!(other.list_tables().expect("lists").count(), 1);
    assert_eq!(other.open_table(OTHER).expect("opens").get("a").expect("reads").expect("there").value(), 7);
}

#[tokio::test]
async fn a_path_that_leads_nowhere_is_said_so() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for path in [directory.path().join("no/such/a.redb"), directory.path().to_owned()] {
        let error = refused(&path).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_newer_format_names_the_version_that_reads_it() {
    let (clock, disk) = (start(), Disk::default());
    engine(disk.opener(), SYNC, &clock).await.close().await.expect("closes");
    let database = open_database(disk.clone()).expect("opens");
    let write = database.begin_write().expect("begins");
    for (name, value) in [("format", "2"), ("forebay", "9.1.0")] {
        write.open_table(tables::META).expect("opens").insert(name, value).expect("writes");
    }
    write.commit().expect("commits");
    drop(database);
    let error = Embedded::open_storage(disk.opener(), SYNC, clock.into()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("format 2, written by forebay 9.1.0"), "{error}");
}

#[tokio::test]
async fn the_format_is_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/embedded-file.md");
    let document = fs::read_to_string(path).expect("docs/embedded-file.md");
    let disk = Disk::default();
    engine(disk.opener(), SYNC, &start()).await.close().await.expect("closes");
    let database = open_database(disk).expect("opens");
    let transaction = database.begin_read().expect("begins");
    let format = tables::meta(&transaction, "format").expect("reads").expect("there");
    assert!(document.contains(&format!("## Format {format}\n")));
    for table in transaction.list_tables().expect("lists") {
        assert!(document.contains(&format!("\n| `{}` |", table.name())), "{}", table.name());
    }
}

/// Any damage is either not in what is read, or an error; never a panic, and never other rows than were written.
#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_other_data() {
    let (clock, disk, part) = (start(), Disk::default(), part(0));
    let before = engine(disk.opener(), SYNC, &clock).await;
    for row in 0..200 {
        before.buffer_add(&part, hits(&part, &format!("row {row}"), 7)).await.expect("commits");
    }
    before.close().await.expect("closes");
    let mut dice = Random::new(1);
    let mut errors = 0;
    for _ in 0..60 {
        let spoiled = disk.at(disk.age(), &mut dice);
        spoiled.bytes(|bytes| {
            let len = bytes.len() as u64;
            let at = usize::try_from(dice.below(len)).expect("small");
            if dice.below(4) == 0 {
                bytes.truncate(at.max(1));
            } else {
                bytes[at] ^= 1 << dice.below(8);
            }
        });
        match Embedded::open_storage(spoiled.opener(), SYNC, clock.clone().into()).await {
            Err(error) => {
                errors += 1;
                let known = [ErrorKind::Corrupt, ErrorKind::Unavailable];
                assert!(known.contains(&error.kind()), "{error:?}");
            }
            Ok(found) => {
                for row in 0..200 {
                    assert_eq!(pending(&found, &part, &format!("row {row}")).await, 7);
                }
                found.close().await.expect("closes");
            }
        }
    }
    assert!(errors > 10, "{errors} of 60 noticed");
}

/// While a full disk keeps the file closed, another process can take it. Then it is that one's.
#[tokio::test]
async fn a_file_that_another_process_had_meanwhile_is_given_up() {
    let (clock, disk, part) = (start(), Disk::default(), part(0));
    let first = engine(disk.opener(), SYNC, &clock).await;
    disk.fail(Fault { after: 0, what: What::Write, kind: std::io::ErrorKind::StorageFull });
    first.buffer_add(&part, hits(&part, "a", 1)).await.expect_err("full");
    disk.mend();
    let second = engine(disk.opener(), SYNC, &clock).await;
    second.buffer_add(&part, hits(&part, "b", 1)).await.expect("commits");
    second.close().await.expect("closes");
    let first = Arc::clone(&first);
    until(|| async {
        clock.advance(crate::time::millis(500));
        first.ping().await.is_err_and(|error| error.to_string().contains("restart"))
    })
    .await;
    let third = engine(disk.opener(), SYNC, &clock).await;
    assert_eq!(pending(&third, &part, "b").await, 1);
    third.close().await.expect("closes");
}

/// A copy that broke off, or a disk that was full: to begin anew there would lose what the store had.
#[tokio::test]
async fn an_empty_file_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.redb");
    let engine = Embedded::open(&path, SYNC, Clock::system()).await.expect("opens");
    engine.close().await.expect("closes");
    for file in [path.clone(), directory.path().join("never.redb")] {
        fs::write(&file, "").expect("writes");
        for _ in 0..2 {
            let error = refused(&file).await;
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let text = error.to_string();
            for part in [&file.display().to_string(), "0 bytes", "restore a copy", "remove it"] {
                assert!(text.contains(part), "{text}");
            }
            assert_eq!(fs::metadata(&file).expect("is there").len(), 0, "it is left as it is");
        }
    }
    fs::remove_file(&path).expect("removes");
    Embedded::open(&path, SYNC, Clock::system()).await.expect("begins anew").close().await.expect("closes");
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.redb");
    let mode = || fs::metadata(&path).expect("is there").permissions().mode() & 0o777;
    let open = async || Embedded::open(&path, SYNC, Clock::system()).await.expect("opens");
    open().await.close().await.expect("closes");
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("sets");
    open().await.close().await.expect("closes");
    assert_eq!(mode(), 0o640);
    let names: Vec<_> = fs::read_dir(directory.path())
        .expect("lists")
        .map(|entry| entry.expect("is there").file_name())
        .collect();
    assert_eq!(names, ["a.redb"], "nothing is left beside it");
}

#[tokio::test]
async fn of_many_who_create_a_file_at_once_one_has_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.redb");
    let opens = (0..16).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { Embedded::open(&path, SYNC, Clock::system()).await })
    });
    let mut engines = vec![];
    for opened in futures::future::join_all(opens).await {
        match opened.expect("no panic") {
            Ok(engine) => engines.push(engine),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
    assert_eq!(engines.len(), 1);
    engines[0].close().await.expect("closes");
    assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 1, "nothing is left beside it");
}

/// A fault of the file at a path. The file is moved aside first, so that it can be put back.
type Loss = fn(path: &Path, aside: &Path);

const LOSSES: [(&str, Loss); 4] = [
    ("deleted", |_, _| {}),
    ("replaced by another file", |path, _| fs::write(path, "dear diary").expect("writes")),
    ("replaced by a copy", |path, aside| assert!(fs::copy(aside, path).is_ok())),
    ("replaced by a directory", |path, _| fs::create_dir(path).expect("creates")),
];

fn says_what_to_do(error: &Error) -> bool {
    let text = error.to_string();
    error.kind() == ErrorKind::Unavailable
        && text.contains("deleted or replaced")
        && text.contains("put it back, or restart")
}

/// A commit to a file that has lost its name is gone after a restart, unless the file is put back.
#[tokio::test]
async fn a_file_that_lost_its_name_acknowledges_nothing_until_it_is_put_back() {
    for (case, (what, lose)) in LOSSES.into_iter().enumerate() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (path, aside) = (directory.path().join("a.redb"), directory.path().join("aside"));
        let (clock, part) = (start(), part(0));
        let engine = Embedded::open(&path, SYNC, clock.clone().into()).await.expect("opens");
        engine.buffer_add(&part, hits(&part, "before", 1)).await.expect("commits");

        fs::rename(&path, &aside).expect("renames");
        lose(&path, &aside);
        let (lock, row) = (claim("l", Uuid::now_v7()), hits(&part, "meanwhile", 1));
        if case % 2 == 0 {
            engine.buffer_add(&part, row).await.expect_err(what);
            let error = engine.lock_claim(lock).await.expect_err(what);
            assert!(says_what_to_do(&error), "{what}: {error}");
        } else {
            engine.lock_claim(lock).await.expect_err(what);
            let error = engine.buffer_add(&part, row).await.expect_err(what);
            assert!(says_what_to_do(&error), "{what}: {error}");
        }
        let error = engine.ping().await.expect_err(what);
        assert!(says_what_to_do(&error), "{what}: {error}");
        // It stays so, and nothing is made in the place of what is missing.
        clock.advance(crate::time::secs(2));
        assert!(engine.buffer_add(&part, hits(&part, "meanwhile", 1)).await.is_err(), "{what}");
        assert_eq!(path.exists(), case != 0, "{what}");

        if path.is_dir() {
            fs::remove_dir(&path).expect("removes");
        }
        fs::rename(&aside, &path).expect("renames");
        until(|| async {
            clock.advance(crate::time::millis(500));
            engine.ping().await.is_ok()
        })
        .await;
        engine.buffer_add(&part, hits(&part, "after", 1)).await.expect("commits");
        engine.lock_claim(claim("m", Uuid::now_v7())).await.expect("commits");
        engine.close().await.expect("closes");

        let engine = Embedded::open(&path, SYNC, clock.into()).await.expect("opens");
        for row in ["before", "after"] {
            assert_eq!(pending(&engine, &part, row).await, 1, "{what}: {row}");
        }
        engine.close().await.expect("closes");
    }
}

/// Nobody writes, or is answered before the commit: the store's health and its end say it all the same.
#[tokio::test]
async fn a_lost_file_is_noticed_without_a_write() {
    for options in [SYNC, RELAXED] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.redb");
        let (clock, part) = (start(), part(0));
        let engine = Embedded::open(&path, options, clock.clone().into()).await.expect("opens");
        engine.buffer_add(&part, hits(&part, "a", 1)).await.expect("commits");
        fs::remove_file(&path).expect("removes");
        until(|| async {
            clock.advance(crate::time::millis(500));
            engine.ping().await.is_err_and(|error| says_what_to_do(&error))
        })
        .await;
        let error = engine.close().await.expect_err("acknowledged rows are lost");
        assert!(says_what_to_do(&error), "{error}");

        // Also one that is lost right before the end.
        let engine = Embedded::open(&path, options, clock.into()).await.expect("opens");
        engine.buffer_add(&part, hits(&part, "a", 1)).await.expect("commits");
        fs::remove_file(&path).expect("removes");
        assert!(engine.close().await.is_err());
    }
}

//! The file behind `embedded:PATH`.
//!
//! `docs/embedded-file.md` describes the format. The file answers two questions only: what was there when the
//! process began, and whether a batch is durable. All else is answered from memory.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, StorageError,
    TableHandle, WriteTransaction, backends::FileBackend,
};
use uuid::Uuid;

use super::{
    batch::Batch,
    storage::{Storage, is_full},
    tables,
    watched::Watched,
};
use crate::error::{Error, ErrorKind, Result};

/// The format this version writes, and the only one it reads.
const FORMAT: u32 = 1;

/// redb's cache. What is read is read once, into memory of our own; this holds the paths to where commits write.
const CACHE: usize = 32 << 20;

/// How to get at the database. Tests put other storage under it.
pub(super) type Opener = Box<dyn Fn() -> Result<Opened, DatabaseError> + Send>;

/// A database, and its file if it is one with a name.
pub(super) type Opened = (Database, Option<Watched>);

/// An open file, locked.
pub(super) struct File {
    /// `None` only after it could not be opened again.
    database: Option<Database>,
    opener: Opener,
    watched: Option<Watched>,
    /// Names the file in errors.
    place: Box<str>,
    /// Drawn at each start, and in the file: if it holds another, another process has had it.
    session: Uuid,
    /// The number of the next entry of any log in it.
    next: u64,
}

/// A failed commit: it was applied as a whole or not at all, and which is unknown.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub remedy: Remedy,
}

/// The remedy that lets the file take changes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// There is room on the disk again: the commit can be repeated.
    Room,
    /// The file that is open has its name again: the commit can be repeated.
    PutBack,
    /// Only a restart tells what is in the file.
    Restart,
}

/// Why reading failed.
pub(super) enum Trouble {
    Storage(redb::Error),
    Content(Error),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(cause: E) -> Self {
        Self::Storage(cause.into())
    }
}

impl From<Error> for Trouble {
    fn from(cause: Error) -> Self {
        Self::Content(cause)
    }
}

/// Opens the database at a path, or creates it.
pub(super) fn at_path(path: PathBuf) -> Opener {
    Box::new(move || {
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return create(&path),
            file => file?,
        };
        // redb would begin anew in it. Something else has emptied it: `create` leaves no such file.
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has 0 bytes").into());
        }
        open_file(path.as_path(), file)
    })
}

/// Creates the database, readable for its owner alone. It gets its name when it is a database: a process that dies over it
/// leaves no empty file under that name, and of two processes one finds the file of the other.
fn create(path: &Path) -> Result<Opened, DatabaseError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", Uuid::now_v7().simple()));
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&beside)?;
    let opened = open_file(path, file);
    let named = opened.and_then(|opened| Ok(name(&beside, path).map(|()| opened)?));
    // After a link it has two names; after a failure it is of no use.
    let _ = fs::remove_file(&beside);
    match named {
        Err(DatabaseError::Storage(StorageError::Io(error)))
            if error.kind() == io::ErrorKind::AlreadyExists =>
        {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            open_file(path, file)
        }
        named => named,
    }
}

/// Opens the database in a file that has, or is to have, the name `path`.
fn open_file(path: &Path, file: fs::File) -> Result<Opened, DatabaseError> {
    let watched = Watched::new(path, &file)?;
    Ok((open_database(FileBackend::new(file)?)?, Some(watched)))
}

/// Gives a file its name, unless another one has it.
fn name(file: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(file, name) {
        // Some file systems have no links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !name.exists() => {
            fs::rename(file, name)
        }
        linked => linked,
    }
}

/// Opens the database in some storage, or creates it.
pub(super) fn open_database(storage: impl StorageBackend) -> Result<Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE)
        // A damaged file is then an error, where redb would trust it and might panic. It costs one more read of
        // what is about to be read anyway.
        .set_check_integrity_on_open(true)
        .create_with_backend(Storage(storage))
}

impl File {
    /// Opens a file of ours, or begins one in empty storage; touches no other.
    pub(super) fn open(place: &str, opener: Opener) -> Result<Self> {
        let (database, watched) = opener().map_err(|cause| open_error(place, cause))?;
        let session = Uuid::now_v7();
        let file = Self { database: Some(database), opener, watched, place: place.into(), session, next: 0 };
        let known = file.read(|transaction| {
            let names: Vec<String> = transaction.list_tables()?.map(|t| t.name().to_owned()).collect();
            if names.is_empty() {
                return Ok(None);
            }
            Ok(Some((tables::meta(transaction, "format")?, tables::meta(transaction, "forebay")?)))
        })?;
        match known {
            None => {
                let begin = |transaction: &WriteTransaction| {
                    tables::create(transaction)?;
                    transaction.open_table(tables::META)?.insert("format", &*FORMAT.to_string())?;
                    Ok(())
                };
                file.write(begin).map_err(|failure| failure.error)?;
            }
            Some((format, version)) => file.check_format(format.as_deref(), version.as_deref())?,
        }
        Ok(file)
    }

    /// Begins a session: from here on the file is this process's, and its first batch is in it.
    pub(super) fn begin(&mut self, next: u64, mut batch: Batch) -> Result<()> {
        self.next = next;
        batch.fact("forebay", Some(env!("CARGO_PKG_VERSION")));
        batch.fact("session", Some(&self.session.to_string()));
        self.commit(&batch).map_err(|failure| failure.error)
    }

    /// Writes a batch, durably. After a failure the file takes nothing until it was [opened again](Self::reopen).
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut next = self.next;
        let written = self.write(|transaction| tables::write(transaction, batch, &mut next));
        // Also after a failure: the numbers may be in use.
        self.next = next;
        written
    }

    /// Opens the file again after a failed commit.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        // Its error would be the one that made this necessary.
        drop(self.database.take());
        let reopened = (self.opener)().map_err(|cause| {
            let cause = redb::Error::from(cause);
            self.failure("opening", cause)
        });
        let (database, watched) = reopened?;
        (self.database, self.watched) = (Some(database), watched);
        let session = self.read(|transaction| Ok(tables::meta(transaction, "session")?));
        let error = match session {
            Ok(Some(session)) if session == self.session.to_string() => return Ok(()),
            Ok(_) => {
                let what = "another process had it while it could not be written";
                Error::new(ErrorKind::Corrupt, format!("opening {} again: {what}", self.place))
            }
            Err(error) => error,
        };
        self.database = None;
        Err(Failure { error, remedy: Remedy::Restart })
    }

    /// Whether the file that is open is the one that a restart would find.
    pub(super) fn check_name(&self) -> Result<(), Failure> {
        if self.watched.as_ref().is_none_or(Watched::is_in_place) {
            return Ok(());
        }
        let what = "it was deleted or replaced while it is open, and what is written to it is lost: put it back, or restart \
                    to begin with the file that is there";
        let error = Error::new(ErrorKind::Unavailable, format!("looking for {}: {what}", self.place));
        Err(Failure { error, remedy: Remedy::PutBack })
    }

    /// Closes the file, after which another process may have it.
    pub(super) fn close(mut self) -> Result<()> {
        match self.database.take().map(Database::close) {
            Some(Err(cause)) => Err(self.error("closing", cause.into())),
            _ => Ok(()),
        }
    }

    /// Reads something in one transaction.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>) -> Result<T> {
        let all = || read(&self.database.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_read()?);
        all().map_err(|trouble| match trouble {
            Trouble::Storage(cause) => self.error("reading", cause),
            Trouble::Content(cause) => {
                Error::new(ErrorKind::Corrupt, format!("reading {}", self.place)).with_source(cause)
            }
        })
    }

    /// Writes something in one transaction.
    fn write(&self, write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), Failure> {
        let all = || {
            let transaction = self.database.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_write()?;
            write(&transaction)?;
            Ok(transaction.commit()?)
        };
        all().map_err(|cause: redb::Error| self.failure("writing to", cause))
    }

    fn check_format(&self, format: Option<&str>, version: Option<&str>) -> Result<()> {
        let wrong = match format.map(str::parse::<u32>) {
            Some(Ok(FORMAT)) => return Ok(()),
            Some(Ok(other)) => format!(
                "has format {other}, written by forebay {}; this version reads format {FORMAT}",
                version.unwrap_or("of unknown version")
            ),
            _ => "is a redb file, but not one of forebay's".to_owned(),
        };
        Err(Error::new(ErrorKind::Corrupt, format!("opening {}: it {wrong}", self.place)))
    }

    fn failure(&self, doing: &str, cause: redb::Error) -> Failure {
        let remedy = if is_full(&cause) { Remedy::Room } else { Remedy::Restart };
        Failure { remedy, error: self.error(doing, cause) }
    }

    fn error(&self, doing: &str, cause: redb::Error) -> Error {
        let kind = match &cause {
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Corrupt,
        };
        Error::new(kind, format!("{doing} {}", self.place)).with_source(cause)
    }
}

/// Why there is no database at all.
fn open_error(place: &str, cause: DatabaseError) -> Error {
    let (kind, what) = match &cause {
        DatabaseError::DatabaseAlreadyOpen => (ErrorKind::Unavailable, "it is in use"),
        DatabaseError::Storage(StorageError::Io(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
            (ErrorKind::Corrupt, "it is not a file of forebay's; it was left as it is")
        }
        DatabaseError::Storage(StorageError::Io(cause)) if cause.kind() == io::ErrorKind::UnexpectedEof => (
            ErrorKind::Corrupt,
            "it is empty (0 bytes), as a full disk or a copy that broke off leaves it: restore a copy, or remove it to begin \
             with an empty store",
        ),
        DatabaseError::Storage(StorageError::Io(_)) => (ErrorKind::Unavailable, "it cannot be opened"),
        _ => (ErrorKind::Corrupt, "it is damaged, or of another version"),
    };
    Error::new(kind, format!("opening {place}: {what}")).with_source(cause)
}

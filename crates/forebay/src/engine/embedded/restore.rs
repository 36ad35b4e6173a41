//! Opens a file and restores the engine from it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableTable, TableError};
use uuid::Uuid;

use super::{
    Embedded,
    batch::{Batch, Block, GenerationRecord, HoldRecord},
    buffer_table::Written,
    closing,
    codec::{Unpack, corrupt},
    committer::Committer,
    engine::{Logged, sweep_loop},
    file::{File, Opener, Trouble, at_path},
    journal::Journal,
    override_table,
    pidfile::{self, PidFile},
    tables,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result, out_of_range},
    key::Name,
    model::rate::rule::Scale,
    time::{Timestamp, millis, secs},
};

/// Options of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileOptions {
    /// Zero, the default: a write to a buffer is answered once it is on disk. 10 ms to 1 s: it is answered at once, and
    /// on disk at most so much later. Locks are on disk before the answer whatever this says.
    pub sync: Duration,
}

/// After at most how long limits and series are on disk.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Embedded {
    /// An engine on the file at `path`, which is created if it is not there.
    ///
    /// Freezes the generations that were live in buffers: a sink may have one of them if the process ended between its commit
    /// and its acknowledgement, and such a generation gets no more hits. Needs a tokio runtime, for as long as the engine is in
    /// use.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the file cannot be opened, or is in use, by whom the message says;
    /// [`ErrorKind::Corrupt`]: it is damaged, of another program, or of a newer version, and was left as it is;
    /// [`ErrorKind::OutOfRange`]: an option is.
    pub(crate) async fn open(path: &Path, options: FileOptions, clock: Clock) -> Result<Arc<Self>> {
        let path = path.to_owned();
        let engine = blocking(move || {
            let place = format!("embedded:{}", path.display());
            let fresh = !path.exists();
            let open = || Self::open_file(&place, at_path(path.clone()), options, clock.clone());
            let ending = closing::is_under_way(&place);
            let opened = open().or_else(|error| {
                if !pidfile::is_held(&error) || !(ending || closing::is_under_way(&place)) {
                    return Err(error);
                }
                closing::wait(&place);
                open()
            });
            let (engine, start) = opened.map_err(|error| pidfile::explain(&path, error))?;
            if fresh {
                sync_directory(&path);
            }
            start(PidFile::note(&path))?;
            Ok(engine)
        });
        Ok(engine.await?.tend(options))
    }

    /// An engine on whatever storage `opener` opens.
    #[cfg(test)]
    pub(super) async fn open_storage(
        opener: Opener,
        options: FileOptions,
        clock: Clock,
    ) -> Result<Arc<Self>> {
        let engine = blocking(move || {
            let (engine, start) = Self::open_file("embedded:test", opener, options, clock)?;
            start(PidFile::nobody())?;
            Ok(engine)
        });
        Ok(engine.await?.tend(options))
    }

    /// Opens, reads, freezes; and how to start the commits.
    fn open_file(
        place: &str,
        opener: Opener,
        options: FileOptions,
        clock: Clock,
    ) -> Result<(Self, impl FnOnce(PidFile) -> Result<()> + use<>)> {
        let FileOptions { sync } = options;
        let relaxed = !sync.is_zero();
        if relaxed && !(millis(10)..=secs(1)).contains(&sync) {
            return Err(out_of_range(format!("opening {place}: sync {sync:?}: 0, or 10 ms to 1 s")));
        }
        let mut file = File::open(place, opener)?;
        let mut engine = Self { clock, ..Self::default() };
        let restored = file.read(|transaction| engine.restore(transaction))?;
        file.begin(restored.next, restored.first)?;
        let (journal, shared) = Journal::new(place, relaxed);
        engine.journal = journal;
        engine.logged = Mutex::new(restored.logged);
        Ok((engine, move |pid_file| Committer::start(shared, file, pid_file)))
    }

    fn tend(self, options: FileOptions) -> Arc<Self> {
        let engine = Arc::new(self);
        // Half of what is promised, so that the other half is left for the commit.
        let every = if options.sync.is_zero() { LOG_INTERVAL } else { options.sync.min(LOG_INTERVAL) } / 2;
        tokio::spawn(sweep_loop(Arc::downgrade(&engine), engine.clock.clone(), every));
        engine
    }

    /// Takes what the file has.
    fn restore(&self, transaction: &ReadTransaction) -> Result<Restored, Trouble> {
        let mut restored = Restored::default();
        self.restore_buffers(transaction, &mut restored)?;
        for item in transaction.open_table(tables::META)?.iter()? {
            let (name, fact) = item?;
            self.buffers.restore_fact(name.value());
            self.requests.lock().restore_fact(name.value(), fact.value());
            let _ = self.tokens.lock().restore_fact(name.value(), fact.value());
            override_table::restore_fact(&mut self.overrides.lock(), name.value(), fact.value());
        }
        self.requests.lock().order.make_contiguous().sort_unstable();
        self.tokens.lock().order.make_contiguous().sort_unstable();
        self.restore_locks(transaction, &mut restored)?;
        self.restore_limits(transaction, &mut restored)?;
        for item in transaction.open_table(tables::SERIES)?.iter()? {
            let (place, packed) = item?;
            let (step, start, series, key) = place.value();
            self.restore_block(Block { step, start }, &Name::from_store(series), key, packed.value())?;
        }
        match transaction.open_table(tables::SUMMARIES) {
            Ok(table) => {
                for item in table.iter()? {
                    let (place, packed) = item?;
                    let (step, start, series, key) = place.value();
                    let (block, series) = (Block { step, start }, Name::from_store(series));
                    self.restore_summary(block, &series, key, packed.value())?;
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(cause) => return Err(cause.into()),
        }
        Ok(restored)
    }

    fn restore_buffers(&self, transaction: &ReadTransaction, restored: &mut Restored) -> Result<(), Trouble> {
        let mut all: BTreeMap<u64, Written> = BTreeMap::new();
        for item in transaction.open_table(tables::GENERATIONS)?.iter()? {
            let (number, row) = item?;
            let (number, (buffer, partition, fingerprint, id, born, frozen)) = (number.value(), row.value());
            let record = GenerationRecord {
                buffer: Name::from_store(buffer),
                partition,
                fingerprint: fingerprint.into(),
                id: Uuid::from_u128(id),
                born: Timestamp::from_micros(born),
                frozen,
            };
            all.insert(number, Written::new(number, record));
        }
        for item in transaction.open_table(tables::ROWS)?.iter()? {
            let (place, packed) = item?;
            let (number, entry) = place.value();
            restored.next = restored.next.max(entry + 1);
            let generation = all.get_mut(&number).ok_or_else(corrupt)?;
            let mut unpack = Unpack::new(packed.value());
            while !unpack.is_empty() {
                let (key, cells) = unpack.row()?;
                generation.rows.insert(key, cells);
            }
        }
        for mut written in all.into_values() {
            if !written.record.frozen {
                written.record.frozen = true;
                restored.first.record(written.number, written.record.clone());
            }
            self.buffers.restore(written);
        }
        Ok(())
    }

    fn restore_locks(&self, transaction: &ReadTransaction, restored: &mut Restored) -> Result<(), Trouble> {
        for item in transaction.open_table(tables::HOLDS)?.iter()? {
            let (name, hold) = item?;
            let (owner, fence, ttl, at, held_for, remaining) = hold.value();
            let (owner, at) = (Uuid::from_u128(owner), Timestamp::from_micros(at));
            let hold = HoldRecord { owner, fence, ttl, at, held_for, remaining };
            if !self.locks.restore(name.value(), &hold, &self.clock) {
                restored.first.holds.insert(name.value().into(), None);
            }
        }
        if let Some(fence) = tables::meta(transaction, "fence")? {
            self.locks.table.lock().fence = fence.parse().map_err(|_| corrupt())?;
        }
        Ok(())
    }

    fn restore_limits(&self, transaction: &ReadTransaction, restored: &mut Restored) -> Result<(), Trouble> {
        for item in transaction.open_table(tables::LIMITS)?.iter()? {
            let (place, packed) = item?;
            let (shard, entry) = place.value();
            restored.next = restored.next.max(entry + 1);
            let logged = restored.logged.0.get_mut(usize::from(shard)).ok_or_else(corrupt)?;
            let mut unpack = Unpack::new(packed.value());
            while !unpack.is_empty() {
                let (limit, key, scale, state, deadline) = unpack.limit()?;
                let limit = Name::from_store(limit);
                if scale == Scale::LEASE {
                    self.restore_lease(&limit, key, state, deadline);
                } else {
                    self.restore_limit(&limit, key, scale, state, deadline);
                }
                *logged += 1;
            }
        }
        Ok(())
    }
}

/// The results of restoring, beside the engine's tables.
#[derive(Default)]
struct Restored {
    /// The number of the next entry of a log.
    next: u64,
    /// The changes for the file: live generations are frozen, and leases have ended.
    first: Batch,
    logged: Logged,
}

/// Runs work that waits for the disk. A panic in it, which only a damaged file causes, is an error.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|cause| {
        Err(Error::new(ErrorKind::Corrupt, "opening a file: it cannot be read").with_source(cause))
    })
}

/// Makes a new file's name durable. Not every system can; then a crash of the machine may leave no file, and the writes
/// in it were on disk for nothing.
fn sync_directory(path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(cause) = std::fs::File::open(directory).and_then(|directory| directory.sync_all()) {
        tracing::warn!(directory = %directory.display(), %cause, "cannot make the file's name durable");
    }
}

//! A disk in memory that remembers what was written in which order, fails on command, and can be had as it would be
//! after a loss of power.

use std::{io, sync::Arc};

use forebay_testkit::Random;
use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::StorageBackend;

use super::super::file::{Opener, open_database};

/// A disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    /// The content at the start.
    base: Vec<u8>,
    bytes: Vec<u8>,
    /// The changes since the start.
    history: Vec<Done>,
    fault: Option<Fault>,
    /// Syncs wait.
    held: bool,
    /// How many syncs wait or have waited.
    waited: u64,
}

#[derive(Clone, Debug)]
enum Done {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

/// The planned fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// After how many writes or syncs.
    pub after: u64,
    pub what: What,
    pub kind: io::ErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Write,
    Sync,
}

impl Disk {
    /// How an engine opens it.
    pub(super) fn opener(&self) -> Opener {
        let disk = self.clone();
        Box::new(move || Ok((open_database(disk.clone())?, None)))
    }

    /// From now on things go wrong.
    pub(super) fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// From now on they do not.
    pub(super) fn mend(&self) {
        self.state().fault = None;
    }

    /// Whether something has gone wrong.
    pub(super) fn is_failing(&self) -> bool {
        self.state().fault.is_some_and(|fault| fault.after == 0)
    }

    /// Makes syncs wait, or go on.
    pub(super) fn hold(&self, held: bool) {
        self.state().held = held;
        self.0.1.notify_all();
    }

    /// How many syncs wait or have waited.
    pub(super) fn waited(&self) -> u64 {
        self.state().waited
    }

    /// How much has been done.
    pub(super) fn age(&self) -> usize {
        self.state().history.len()
    }

    /// A disk as this one is found when the power fails at an `age`: with all that was synced by then, and of what was
    /// written after that any part, down to the single sector.
    pub(super) fn at(&self, age: usize, dice: &mut Random) -> Self {
        let state = self.state();
        let history = &state.history[..age];
        let synced = history.iter().rposition(|done| matches!(done, Done::Sync)).unwrap_or(0);
        let mut bytes = state.base.clone();
        for (place, done) in history.iter().enumerate() {
            match done {
                Done::SetLen(len) if place < synced || dice.below(2) == 0 => bytes.resize(*len, 0),
                Done::SetLen(_) | Done::Sync => {}
                Done::Write(offset, data) => {
                    for (index, sector) in data.chunks(512).enumerate() {
                        if place < synced || dice.below(2) == 0 {
                            write(&mut bytes, offset + index * 512, sector);
                        }
                    }
                }
            }
        }
        let disk = Self::default();
        disk.state().base.clone_from(&bytes);
        disk.state().bytes = bytes;
        disk
    }

    /// The bytes, to be looked at or spoiled.
    pub(super) fn bytes<T>(&self, look: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        look(&mut self.state().bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock()
    }
}

impl State {
    fn check(&mut self, what: What) -> io::Result<()> {
        match &mut self.fault {
            Some(fault) if fault.what == what => {
                if fault.after == 0 {
                    return Err(fault.kind.into());
                }
                fault.after -= 1;
            }
            _ => {}
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        let state = self.state();
        let there = state.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("small");
        let mut state = self.state();
        state.bytes.resize(len, 0);
        state.history.push(Done::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.check(What::Sync)?;
        state.waited += 1;
        self.0.1.wait_while(&mut state, |state| state.held);
        state.history.push(Done::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        let mut state = self.state();
        state.check(What::Write)?;
        write(&mut state.bytes, offset, data);
        state.history.push(Done::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

//! All keys of a host, page by page.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, Result},
    model::{Command, Failure, Fate, Reply, Verb},
    store::Store,
    time::secs,
};

/// About so many keys are in a page: a server answers nobody else meanwhile.
const PAGE: &[u8] = b"1000";

/// How long a host has for a page. Far above what it takes.
const PAGE_TIMEOUT: Duration = secs(10);

/// Reads all keys of a host. A key that is there all the time comes at least once.
pub(super) struct Scan<'a> {
    store: &'a Store,
    host: Box<str>,
    /// `None`: all were read.
    cursor: Option<Box<[u8]>>,
    /// Whether the host refused to say how large a key is.
    refused: bool,
}

type Keys = Vec<Box<[u8]>>;

/// Some keys of a host.
pub(super) struct Page {
    pub keys: Keys,
    /// The memory of some of them, by their place.
    pub sizes: Vec<(usize, u64)>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(store: &'a Store, host: &str) -> Self {
        Self { store, host: host.into(), cursor: Some((*b"0").into()), refused: false }
    }

    /// The next keys, which may be none; after the last one `None`. Those for which `is_measured` says so are measured, unless
    /// the host refuses that.
    pub(super) async fn next(&mut self, mut is_measured: impl FnMut(&[u8]) -> bool) -> Result<Option<Page>> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let reply = self.run(vec![raw([b"SCAN", &*cursor, b"COUNT", PAGE])]).await.swap_remove(0);
        let reply = reply.map_err(|(_, error)| error)?;
        let (next, keys) = read(reply).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "SCAN: the host answered with something else than keys")
        })?;
        self.cursor = (*next != *b"0").then_some(next);
        let measured: Vec<usize> = (0..keys.len()).filter(|&key| is_measured(&keys[key])).collect();
        let mut sizes = vec![];
        if !self.refused && !measured.is_empty() {
            let ask = measured.iter().map(|&key| raw([b"MEMORY", b"USAGE", &*keys[key]])).collect();
            for (key, reply) in measured.into_iter().zip(self.run(ask).await) {
                match reply {
                    Ok(Reply::Integer(size)) => sizes.push((key, size.unsigned_abs())),
                    // It has gone meanwhile.
                    Ok(_) => {}
                    Err((Fate::Rejected, _)) => self.refused = true,
                    Err((_, error)) => return Err(error),
                }
            }
        }
        Ok(Some(Page { keys, sizes }))
    }

    /// Whether the host refused to say how large a key is.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    async fn run(&self, commands: Vec<Command>) -> Vec<Result<Reply, Failure>> {
        let commands: Vec<&Command> = commands.iter().collect();
        self.store.engine().kv(&self.host, &commands, PAGE_TIMEOUT).await
    }
}

fn raw<const N: usize>(words: [&[u8]; N]) -> Command {
    Command { key: [].into(), verb: Verb::Raw(words.into_iter().map(Into::into).collect()) }
}

/// The next cursor and the keys of an answer to `SCAN`.
fn read(reply: Reply) -> Option<(Box<[u8]>, Keys)> {
    let bytes = |reply| match reply {
        Reply::Bytes(bytes) => Some(bytes),
        _ => None,
    };
    let Reply::Array(parts) = reply else { return None };
    let [cursor, Reply::Array(keys)] = <[Reply; 2]>::try_from(parts).ok()? else { return None };
    Some((bytes(cursor)?, keys.into_iter().map(bytes).collect::<Option<_>>()?))
}

//! Writes to the partitions of a buffer on a Redis host.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use uuid::Uuid;

use super::{
    Redis,
    buffer::Partition,
    connection::{Call, Host, Session},
    guard,
    keys::Keys,
    reply::unavailable,
    rows::{self, Merged},
    script::Script,
};
use crate::{
    buffer::{Row, Schema},
    engine::{
        sequence::{Channel, Flying, Refusals, Sent, Sequencer, Waiting},
        step::BufferPart,
    },
    error::Result,
};

/// How often a write makes way for itself by rotating a stale generation, before it says that it could not.
const STALE: usize = 5;

/// Flights under way to the partitions of a buffer: two keep server and client busy at once.
const LANES: u16 = 2;

/// The writers of this process: of each buffer the definition and its lanes. Few, and looked up for every write.
#[derive(Debug, Default)]
pub(super) struct Writers(RwLock<Vec<(Arc<Schema>, Lanes)>>);

type Lanes = [Arc<Sequencer<Lane>>; LANES as usize];

/// Every so many-th partition of a buffer, and where they are kept.
#[derive(Debug)]
pub(super) struct Lane {
    host: Arc<Host>,
    keys: Keys,
    schema: Arc<Schema>,
    /// Which partitions the store has been told of. Locked to look and to note, never across an await.
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The replication id of the store. One that went back in time has forgotten them, and another id.
    replid: Box<str>,
    parts: BTreeSet<u16>,
}

impl Redis {
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        let lane = self.lane(part);
        match <[Row; 1]>::try_from(rows) {
            Ok([row]) => Ok(vec![lane.write_one(part.index, row).await?]),
            Err(rows) => lane.write(part.index, rows).await,
        }
    }

    fn lane(&self, part: &BufferPart) -> Arc<Sequencer<Lane>> {
        let of = |schema: &Arc<Schema>| {
            Arc::ptr_eq(schema, &part.schema)
                || schema.name == part.schema.name && schema.fingerprint == part.schema.fingerprint
        };
        let find = |writers: &[(Arc<Schema>, Lanes)]| {
            let (_, lanes) = writers.iter().find(|(schema, _)| of(schema))?;
            Some(lanes[usize::from(part.index % LANES)].clone())
        };
        // Only ever pushed to, so a poisoned list is whole.
        let known = find(&self.writers.0.read().unwrap_or_else(PoisonError::into_inner));
        known.unwrap_or_else(|| {
            let mut writers = self.writers.0.write().unwrap_or_else(PoisonError::into_inner);
            find(&writers).unwrap_or_else(|| {
                let lanes = std::array::from_fn(|_| {
                    let (host, keys) = (self.host.clone(), self.keys.clone());
                    let lane = Lane { host, keys, schema: part.schema.clone(), told: Mutex::default() };
                    Sequencer::new(lane, self.host.clock().clone())
                });
                writers.push((part.schema.clone(), lanes));
                writers[writers.len() - 1].1[usize::from(part.index % LANES)].clone()
            })
        })
    }
}

impl Lane {
    fn part(&self, index: u16) -> BufferPart {
        BufferPart { schema: self.schema.clone(), index }
    }

    /// A connection to a store that knows which partitions are written to.
    async fn ready(&self, parts: impl Iterator<Item = u16> + Clone) -> Result<Session> {
        let session = self.host.session().await?;
        self.tell(&session, parts).await?;
        Ok(session)
    }

    /// Tells the store of `session` which partitions are written to, before they are: a flusher that knows another
    /// number of partitions finds them by that.
    async fn tell(&self, session: &Session, parts: impl Iterator<Item = u16> + Clone) -> Result<()> {
        let mut command = redis::cmd("SADD");
        command.arg(self.keys.buffers());
        {
            let told = self.told();
            let knows = |part: &u16| *told.replid == *session.replid() && told.parts.contains(part);
            let mut new = parts.clone().filter(|part| !knows(part)).peekable();
            if new.peek().is_none() {
                return Ok(());
            }
            for part in new {
                command.arg(format!("{}.{part}", self.schema.name));
            }
        }
        // If it takes a younger connection than `session`, that one is dead, and the write that follows fails.
        self.host.query(&command).await?;
        let mut told = self.told();
        if *told.replid != *session.replid() {
            *told = Told { replid: session.replid().into(), parts: BTreeSet::new() };
        }
        told.parts.extend(parts);
        Ok(())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // What was not noted is told again, so a poisoned note is good.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, flying: &Flying<Merged>, replid: &str) -> Call {
        let (schema, part) = (&self.schema, self.part(flying.part));
        let mut call = self.host.call(Script::BufferAdd, 2, 384 + 2 * flying.batch.bytes());
        call.command.arg(self.keys.buffer(&part, "guard")).arg(self.keys.buffer(&part, "live"));
        guard::stamp(&mut call, flying);
        // An id of its own for each transmission: the id of a generation that a store has forgotten, and SQL has
        // not, must never name another one.
        let id = rows::id_text(Uuid::now_v7());
        call.command.arg(replid).arg(id).arg(&*schema.fingerprint).arg(rows::kinds(schema));
        flying.batch.add_to(&mut call.command);
        call
    }
}

impl Channel for Lane {
    type Item = Row;
    type Batch = Merged;
    /// What was refused, as the script says it.
    type Outcome = String;

    fn merge(&self, _: u16, items: &[(u16, Row)], waiting: &mut Waiting) -> Merged {
        Merged::new(&self.schema, items, waiting)
    }

    async fn transmit(&self, flying: &[&Flying<Merged>]) -> Vec<Sent<String>> {
        let mut sent: Vec<Option<Sent<String>>> = flying.iter().map(|_| None).collect();
        let mut said = String::new();
        for _ in 0..STALE {
            let open: Vec<usize> = (0..flying.len()).filter(|&i| sent[i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let session = match self.ready(open.iter().map(|&i| flying[i].part)).await {
                Ok(session) => session,
                Err(error) => {
                    for i in open {
                        sent[i] = Some(Sent::Unsent(error.clone()));
                    }
                    break;
                }
            };
            let batches: Vec<&Flying<Merged>> = open.iter().map(|&i| flying[i]).collect();
            let answers =
                guard::send(&self.host, &session, &batches, |flying| self.add(flying, session.replid()));
            for (i, answer) in open.into_iter().zip(answers.await) {
                match answer {
                    guard::Answer::Sent(answer) => sent[i] = Some(answer),
                    guard::Answer::Other(word, id) => {
                        let part = &self.part(flying[i].part);
                        Partition { host: &self.host, keys: &self.keys, part }.make_way(&id).await;
                        said = word;
                    }
                }
            }
        }
        let stays = format_args!("the live generation stays {said}");
        let error = || Sent::Unsent(unavailable(self.host.name(), stays));
        sent.into_iter().map(|sent| sent.unwrap_or_else(error)).collect()
    }

    fn places(batch: &Merged) -> impl Iterator<Item = usize> {
        batch.places()
    }

    fn settle(&self, batch: &Merged, refused: String, waiting: &mut Waiting, refusals: &mut Refusals) {
        batch.settle(&self.schema, &refused, waiting, refusals);
    }
}

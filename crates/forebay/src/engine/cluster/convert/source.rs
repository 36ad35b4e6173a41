//! The hosts whose keys are copied.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use futures::future::try_join_all;

use super::{
    super::{Address, Host, Placement, RouterKind, claim::Claim},
    database::{Database, Key, distinct, home, refused},
    state::State,
    target::Target,
};
use crate::{
    clock::Clock,
    engine::redis::{Activity, Home, Redis},
    error::{Error, Result},
    key,
    time::secs,
};

/// Keys that are asked for together.
const PAGE: usize = 500;

/// The hosts whose keys are copied.
#[derive(Debug)]
pub(super) struct Source {
    pub kind: RouterKind,
    pub hosts: Vec<SourceHost>,
    /// Where their keys are.
    pub placement: Placement,
}

#[derive(Debug)]
pub(super) struct SourceHost {
    pub host: Host,
    pub engine: Arc<Redis>,
    /// What tells its database from every other one.
    pub database: Database,
}

/// The contents of the hosts.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The keys of each kind that are where the router looks for them.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Those that go to another host.
    pub moves: u64,
    /// The partitions of buffers that have rows.
    pub rows: BTreeSet<String>,
    /// The number of keys where the router does not look, and one of them.
    pub misplaced: u64,
    pub example: Option<(Box<str>, Key)>,
    /// The keys that tell which buffers are paused.
    pub paused: BTreeSet<Key>,
    /// A plain key that the target has already.
    pub taken: Option<(Box<str>, Key)>,
}

impl Source {
    /// Connects to the hosts.
    pub(super) async fn open(
        kind: RouterKind,
        addresses: &[Address],
        (prefix, clock): (&str, &Clock),
    ) -> Result<Self> {
        let connect = async |address: &Address| {
            let engine = Redis::start(&address.url, prefix, clock.clone())?;
            engine.connected().await?;
            let database = engine.database().await?;
            Ok::<_, Error>(SourceHost { host: address.host.clone(), engine, database })
        };
        let hosts = try_join_all(addresses.iter().map(connect)).await?;
        let names: Vec<Host> = hosts.iter().map(|host| host.host.clone()).collect();
        let placement = Placement::first(kind, &names)?;
        let source = Self { kind, hosts, placement };
        distinct(source.hosts.iter().map(|host| (host.host.name(), &host.database)))?;
        Ok(source)
    }

    /// Takes the placement that the hosts have stored, if they have. True: it is a table of slots.
    pub(super) async fn agree(&mut self) -> Result<bool> {
        let found = futures::future::join_all(self.hosts.iter().map(|host| host.engine.record())).await;
        if let Some(error) = found.iter().find_map(|record| record.as_ref().err()) {
            return Err(error.clone());
        }
        let names: Vec<Host> = self.hosts.iter().map(|host| host.host.clone()).collect();
        let Some(stored) = Placement::agreed(self.kind, &names, &found)? else { return Ok(false) };
        if stored.table().is_some_and(|table| !table.transits().is_empty()) {
            return Err(refused(
                "slots of the source are on their way to another host: run forebay cluster reshard to its end first",
            ));
        }
        self.placement = stored.of_its_hosts(&names)?;
        Ok(self.placement.table().is_some())
    }

    /// The number of this database among the hosts.
    pub(super) fn number_of(&self, database: &Database) -> Option<usize> {
        self.hosts.iter().position(|host| host.database == *database)
    }

    /// The number of the host on which the router looks for a key; `None`: each host has its own.
    pub(super) fn home(&self, key: &[u8]) -> Option<usize> {
        home(&self.placement, &self.hosts[0].engine, key)
    }

    /// Looks at all keys. If this is the first attempt, and the target is `shared` with others, it asks whether that has plain keys
    /// of the same name.
    pub(super) async fn survey(&self, target: &Target, state: State, shared: bool) -> Result<Survey> {
        let is_new = state == State::New && shared;
        let mut survey = Survey::default();
        for (number, host) in self.hosts.iter().enumerate() {
            let mut known = HashSet::new();
            let mut cursor = None;
            loop {
                let (next, keys) = host.engine.scan_page(cursor.as_ref()).await?;
                let mut plain = vec![];
                for key in keys {
                    if known.insert(key::hash(&key))
                        && survey.note(self, (target, state), (number, &key))
                        && is_new
                    {
                        plain.push(key);
                    }
                }
                for keys in plain.chunks(PAGE) {
                    if let Some(taken) = target.taken(&host.engine, keys).await? {
                        survey.taken = Some(taken);
                    }
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(survey)
    }

    /// Looks twice whether somebody writes, and answers how much was written until then.
    ///
    /// # Errors
    /// If somebody does.
    pub(super) async fn still(&self, clock: &Clock) -> Result<Vec<Activity>> {
        let look = || try_join_all(self.hosts.iter().map(|host| host.engine.activity()));
        let before = look().await?;
        clock.sleep(secs(1)).await;
        let after = look().await?;
        self.compare(&before, &after)?;
        Ok(after)
    }

    /// # Errors
    /// If somebody wrote between two looks.
    pub(super) fn compare(&self, before: &[Activity], after: &[Activity]) -> Result<()> {
        let mut hosts = self.hosts.iter().zip(before.iter().zip(after));
        let Some((host, _)) = hosts.find(|(_, (before, after))| after.exceeds(before)) else { return Ok(()) };
        let name = host.host.name();
        Err(refused(format!(
            "host {name:?}: somebody writes there or calls scripts: stop all servers and programs that use the source; what \
             is written while keys are copied is lost (--force does not look)"
        )))
    }
}

impl Survey {
    /// # Errors
    /// If something in the source speaks against a conversion.
    pub(super) fn check(&self, force: bool) -> Result<()> {
        let shown = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        if !self.rows.is_empty() {
            let rows: Vec<&str> = self.rows.iter().map(String::as_str).collect();
            return Err(refused(format!(
                "rows of {} are not in the database: buffers are not copied; resume those that are paused, and run forebay \
                 flush on the source",
                rows.join(" ")
            )));
        }
        if let Some((name, key)) = self.example.as_ref().filter(|_| !force) {
            return Err(refused(format!(
                "{} keys are not where the router of the source looks for them, such as {:?} on host {name:?}: they are not \
                 copied; see forebay cluster verify for a wrong router or list of hosts (--force goes on without them)",
                self.misplaced,
                shown(key)
            )));
        }
        if let Some((name, key)) = &self.taken {
            return Err(refused(format!(
                "host {name:?} of the target has another value under {:?}: remove it there, or rename it",
                shown(key)
            )));
        }
        Ok(())
    }

    /// Counts a key of a host. True: it is a plain key that goes to a host of which the source knows nothing.
    fn note(
        &mut self,
        source: &Source,
        (target, state): (&Target, State),
        (number, key): (usize, &Key),
    ) -> bool {
        let engine = &source.hosts[number].engine;
        let home = match (engine.home(key), engine.kind_of(key)) {
            (Home::Buffer(tag), _) if Redis::has_rows_under(key) => {
                self.rows.insert(String::from_utf8_lossy(tag).into_owned());
                return false;
            }
            (Home::EveryHost, _) if key.ends_with(b"}:paused") => {
                self.paused.insert(key.clone());
                return false;
            }
            (_, None) => return false,
            _ => source.home(key),
        };
        if home != Some(number) {
            // What an earlier attempt has copied is removed. A guard stays where its slot was, until it expires.
            let is_copy = state == State::Begun && target.peers.iter().any(|peer| peer.same == Some(number));
            if home.is_some() && !is_copy && !key.ends_with(b"}:guard") {
                self.misplaced += 1;
                self.example.get_or_insert_with(|| (source.hosts[number].host.name().into(), key.clone()));
            }
            return false;
        }
        let Some(place) = target.place(engine, key) else { return false };
        let kind = engine.kind_of(key).unwrap_or("plain");
        *self.kinds.entry(kind).or_default() += 1;
        let moves = target.peers[place.peer].same != Some(number);
        self.moves += u64::from(moves);
        moves && kind == "plain" && target.peers[place.peer].same.is_none()
    }
}

/// All keys of a host.
pub(super) async fn each_key(engine: &Redis, claim: &Claim, mut note: impl FnMut(Key)) -> Result<()> {
    let mut cursor = None;
    loop {
        let (next, keys) = engine.scan_page(cursor.as_ref()).await?;
        claim.check()?;
        keys.into_iter().for_each(&mut note);
        cursor = next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

//! The nodes of a Redis Cluster: connections to those that were met, and questions for the owners of slots.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::{Mutex, MutexGuard};
use redis::Value;
use tokio::sync::Notify;

use super::{
    Redis,
    connection::{Host, Kin, Peers},
    inbox::Inbox,
    keys::Keys,
    pipeline::words,
    refusal::Refusal,
    reply::{strings, unavailable, unexpected},
    slot_claims::{Address, Claim, SlotOwners, claims},
    target::Target,
};
use crate::{
    clock::Clock,
    engine::cluster::Layout,
    error::{Error, ErrorKind, Result, invalid},
    time::{millis, secs},
};

/// How many nodes are asked at once. One that was cut off may be behind; few are at the same time.
const MAX_ASKED: usize = 5;

/// How long a node may take to connect and answer.
const ANSWER_TIMEOUT: Duration = secs(1);

/// How long each further node may take once one has answered.
const OTHERS_TIMEOUT: Duration = millis(100);

/// The nodes of a Redis Cluster.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// The nodes of the store's URL. Their names are resolved anew for each question.
    seeds: Vec<Target>,
    keys: Keys,
    clock: Clock,
    kin: Kin,
    /// By name and port. Locked to look and to note, never across an await.
    hosts: Mutex<BTreeMap<Address, Arc<Host>>>,
    /// The owners of slots as they were found last. Locked to copy and to replace.
    owners: Mutex<Option<Arc<SlotOwners>>>,
    /// Notified when the known owners of slots may be out of date.
    stale: Notify,
    inbox: Arc<Inbox>,
    /// Counts questions, so that each time others are asked. Orders nothing else.
    questions: AtomicUsize,
}

/// The answer of the nodes.
#[derive(Debug)]
pub(crate) struct Found {
    pub owners: Arc<SlotOwners>,
    /// Whether the cluster serves no key while it has a slot without a node. `None`: no node says so.
    pub needs_all: Option<bool>,
}

impl Nodes {
    /// The nodes that `urls` lead to; connects to none yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a URL that is none, or names another database than 0.
    pub(crate) fn new(urls: &[Box<str>], prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let seeds: Vec<Target> = urls.iter().map(|url| Target::parse(url)).collect::<Result<_>>()?;
        if let Some(db) = seeds.iter().map(|seed| seed.access.db).find(|db| *db != 0) {
            return Err(invalid(format!("store URL: database {db}: a Redis Cluster has database 0 only")));
        }
        let keys = Keys::new(prefix, Layout::Grouped);
        Ok(Arc::new_cyclic(|nodes: &Weak<Self>| Self {
            inbox: Arc::new(Inbox::new(keys.inboxes())),
            seeds,
            keys,
            clock,
            kin: Kin::of(nodes.clone()),
            hosts: Mutex::default(),
            owners: Mutex::default(),
            stale: Notify::new(),
            questions: AtomicUsize::new(0),
        }))
    }

    /// The engine on one node.
    pub(crate) fn engine(&self, (host, port): &Address) -> Arc<Redis> {
        let mut node = self.node(host, *port);
        if !node.own() {
            // That of a former engine, which closes it when its last calls have ended.
            node = self.start(host, *port);
            node.own();
            self.hosts().insert((host.clone(), *port), node.clone());
        }
        Redis::on(node, self.keys.clone(), self.inbox.clone())
    }

    fn start(&self, name: &str, port: u16) -> Arc<Host> {
        // All seeds have one login.
        let target = self.seeds[0].at(name, port);
        let host = Host::start_at(target, self.keys.clone(), self.clock.clone(), self.kin.clone());
        host.enter_service();
        host
    }

    /// Ends when the known owners of slots may be out of date.
    pub(crate) async fn stale(&self) {
        self.stale.notified().await;
    }

    /// Asks several nodes who has which slot.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if a node is not part of a cluster or lets this process not ask; else the last outage.
    pub(crate) async fn find(&self) -> Result<Found> {
        let asked = self.to_ask();
        let mut failures = vec![];
        for some in asked.chunks(MAX_ASKED) {
            let mut answers: FuturesUnordered<_> = some.iter().map(|target| self.ask(target)).collect();
            let (mut all, mut needs_all) = (vec![], None);
            // Once one has answered nobody waits long for a node that is stopped or cut off.
            let mut left = ANSWER_TIMEOUT * 2;
            while let Some(Some(answer)) = self.clock.timeout(left, answers.next()).await {
                match answer {
                    Ok((claims, needs)) => {
                        all.extend(claims);
                        needs_all = needs.or(needs_all);
                        left = OTHERS_TIMEOUT;
                    }
                    Err(error) if error.is_outage() => failures.push(error),
                    Err(error) => return Err(error),
                }
            }
            if !all.is_empty() {
                let owners = Arc::new(SlotOwners::of(&all));
                *self.owners.lock() = Some(owners.clone());
                return Ok(Found { owners, needs_all });
            }
        }
        let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let text = format!("no node of the cluster says who has which slot: {}", texts.join("; "));
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    /// The nodes to ask, each once: some that are known, others each time, then those of the URL.
    fn to_ask(&self) -> Vec<Target> {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let mut targets: Vec<Target> = self.hosts().values().map(|host| host.target().clone()).collect();
        let count = targets.len();
        targets.rotate_left(number % count.max(1));
        // Room for two seeds among the first: of those that are known all may be gone.
        let tail = targets.split_off(count.min(MAX_ASKED - 2));
        targets.extend(self.seeds.iter().cloned());
        targets.extend(tail);
        let mut known = std::collections::BTreeSet::new();
        targets.retain(|target| known.insert(target.name.clone()));
        targets
    }

    async fn ask(&self, target: &Target) -> Result<(Vec<Claim>, Option<bool>)> {
        let name = &*target.name;
        let commands =
            ["CLUSTER SLOTS", "CLUSTER NODES", "CONFIG GET cluster-require-full-coverage"].map(words);
        let answers = self.clock.timeout(ANSWER_TIMEOUT, target.ask(&commands, &self.clock)).await;
        let answers = answers
            .unwrap_or_else(|| Err(unavailable(name, format_args!("no answer within {ANSWER_TIMEOUT:?}"))))?;
        let [slots, nodes, coverage] = <[Value; 3]>::try_from(answers)
            .map_err(|_| unexpected(name, "a question for the owners of slots"))?;
        if let Value::ServerError(error) = &slots {
            let details = error.details().unwrap_or_default();
            if details.contains("cluster support disabled") {
                let text = format!(
                    "redis {name}: cluster support is disabled: write redis: in place of redis+cluster: in the URL"
                );
                return Err(Error::new(ErrorKind::Configuration, text));
            }
            return Err(Refusal::of(error).error_at_start(name));
        }
        let asked = target.address().map_or("", |(host, _)| host);
        let claims = claims(asked, &slots, nodes)
            .ok_or_else(|| unexpected(name, "a question for the owners of slots"))?;
        let coverage = match coverage {
            Value::Map(pairs) => pairs.into_iter().next().map(|(_, value)| Value::Array(vec![value])),
            other => Some(other),
        };
        let needs_all = coverage.and_then(strings).and_then(|words| Some(words.last()? == "yes"));
        Ok((claims, needs_all))
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        self.inbox.close();
        for host in std::mem::take(&mut *self.hosts()).into_values() {
            host.close();
        }
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<Address, Arc<Host>>> {
        self.hosts.lock()
    }
}

impl Peers for Nodes {
    fn node(&self, name: &str, port: u16) -> Arc<Host> {
        let mut hosts = self.hosts();
        // Those that left the cluster were closed.
        hosts.retain(|_, host| !host.is_closed());
        hosts.entry((name.into(), port)).or_insert_with(|| self.start(name, port)).clone()
    }

    fn report(&self) {
        self.stale.notify_one();
    }

    fn owner(&self, slot: u16) -> Option<Address> {
        let owners = self.owners.lock().clone()?;
        let number = (*owners.owners.get(usize::from(slot))?)?;
        owners.nodes.get(usize::from(number)).cloned()
    }

    fn any(&self, number: usize) -> Option<Arc<Host>> {
        let hosts: Vec<Arc<Host>> =
            self.hosts().values().filter(|host| host.trouble().is_none()).cloned().collect();
        (!hosts.is_empty()).then(|| hosts[number % hosts.len()].clone())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.close();
    }
}

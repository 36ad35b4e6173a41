//! The placement that independent hosts have stored, as one process follows it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::Mutex, task::AbortHandle};

use super::{
    Host, SlotTable,
    address::Address,
    member::Member,
    placement::{CurrentPlacement, Placement},
};
use crate::{
    clock::Clock,
    engine::{options::Options, redis::Redis},
    error::{Error, ErrorKind, Result},
};

/// The placement that independent hosts have stored, and what is needed to follow it.
#[derive(Debug)]
pub(super) struct StoredHosts {
    pub current: Arc<CurrentPlacement>,
    configured: Box<[Address]>,
    prefix: Box<str>,
    pub(super) clock: Clock,
    /// Held while hosts are asked for a later placement: when somebody began to ask last, on the monotonic clock.
    pub(super) turn: Mutex<Duration>,
    task: OnceLock<AbortHandle>,
}

impl StoredHosts {
    pub(super) fn new(configured: Vec<Address>, placement: Arc<Placement>, options: &Options) -> Self {
        Self {
            current: CurrentPlacement::new(placement),
            configured: configured.into(),
            prefix: options.prefix.as_str().into(),
            clock: options.clock.clone(),
            turn: Mutex::default(),
            task: OnceLock::new(),
        }
    }

    /// Keeps the task that follows the placement.
    pub(super) fn keep(&self, task: AbortHandle) {
        self.task.get_or_init(|| task);
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// What an operator should know of the hosts that are configured, and of slots on their way.
    pub(super) fn warnings(&self) -> Vec<String> {
        let placement = self.current.get();
        let Some(table) = placement.table() else { return vec![] };
        let mut warnings = vec![];
        let is_configured = |name: &str| self.configured.iter().any(|address| address.host.name() == name);
        for name in table.hosts().filter(|name| !is_configured(name)) {
            warnings.push(format!("host {name:?} has joined the store: add it to the configuration"));
        }
        for name in self.configured.iter().map(|address| address.host.name()) {
            if table.hosts().all(|known| known != name) {
                warnings.push(format!(
                    "host {name:?} is configured and has no slots: forebay cluster reshard gives it some, or remove it"
                ));
            }
        }
        if !table.transits().is_empty() {
            let slots = table.transits().len();
            warnings.push(format!(
                "{slots} slots are on their way to another host: if forebay cluster reshard is not running, run it again"
            ));
        }
        warnings
    }

    /// A host that is not known yet: by the URL of the configuration, or by its stored address and the login of the others.
    pub(super) fn begin(&self, name: &str, table: &SlotTable) -> Result<Arc<Member>> {
        let configured = self.configured.iter().find(|address| address.host.name() == name);
        let url = if let Some(address) = configured {
            address.url.clone()
        } else {
            let stored = table.addresses().find(|(known, _)| *known == name);
            let (_, address) = stored.ok_or_else(|| unknown_host(name))?;
            like(&self.configured, address)?
        };
        let engine = Redis::start_fenced(&url, &self.prefix, self.clock.clone())?;
        engine.set_epoch(table.epoch());
        engine.enter_service();
        Ok(Arc::new(Member::new(Host::new(name)?, engine)))
    }

    /// A host for those who come by the table of another epoch.
    pub(super) fn renewed(&self, member: &Arc<Member>, epoch: u64) -> Arc<Member> {
        let renewed = Arc::new(member.of_epoch(epoch));
        renewed.engine.enter_service();
        renewed.start_probing(Some(&self.current), &self.clock);
        renewed
    }
}

/// An address with the login and the parameters of the configured hosts.
pub(super) fn like(configured: &[Address], address: &str) -> Result<Box<str>> {
    let template = configured.first().ok_or_else(|| unknown_host(address))?;
    Ok(template.like(address))
}

fn unknown_host(name: &str) -> Error {
    let text = format!("host {name:?} has slots and no address is stored: add it to the configuration");
    Error::new(ErrorKind::Configuration, text)
}

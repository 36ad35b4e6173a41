//! The nodes of a Redis Cluster, and the task that asks them who has which slot.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::AbortHandle;

use crate::engine::redis::{Found, Nodes};

/// The nodes of a Redis Cluster, and the task that asks them.
#[derive(Debug)]
pub(super) struct NodeWatch {
    pub nodes: Arc<Nodes>,
    /// Whether one node without a replica takes all keys with it when it dies. Orders nothing else.
    needs_all: AtomicBool,
    task: OnceLock<AbortHandle>,
}

impl NodeWatch {
    pub(super) fn new(nodes: Arc<Nodes>, found: &Found) -> Self {
        let watch = Self { nodes, needs_all: AtomicBool::new(false), task: OnceLock::new() };
        watch.note(found);
        watch
    }

    /// Notes what the nodes say beside the owners of slots.
    pub(super) fn note(&self, found: &Found) {
        let Some(needs_all) = found.needs_all else { return };
        if !self.needs_all.swap(needs_all, Ordering::Relaxed)
            && let Some(warning) = self.warning()
        {
            tracing::warn!("{warning}");
        }
    }

    pub(super) fn warning(&self) -> Option<String> {
        let text = "the cluster has cluster-require-full-coverage yes: while one slot has no node, every key is out; set it to \
                    no on all nodes";
        self.needs_all.load(Ordering::Relaxed).then(|| text.to_owned())
    }

    /// Keeps the task that asks the nodes.
    pub(super) fn keep(&self, task: AbortHandle) {
        self.task.get_or_init(|| task);
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        self.nodes.close();
    }
}

//! The record of a cluster that each of its hosts stores.

use redis::{Cmd, Value};

use super::{
    Redis,
    calls::Call,
    fence::Fence,
    pipeline::pipeline,
    reply::{text, unexpected},
    script::Script,
};
use crate::{
    engine::cluster::{Identity, Placement, Record, SEAL},
    error::Result,
};

/// The place of the last byte of the first lines of a placement that are read: its form and its epoch.
const HEAD: i64 = 63;

impl Redis {
    /// Reads what this host holds.
    pub(crate) async fn record(&self) -> Result<Record> {
        let values = self.ask([get(self.keys.cluster_name()), get(self.keys.cluster_placement())]).await?;
        self.read_record(values)
    }

    /// Writes what this host lacks, and reads what it holds then: another process may have been first.
    pub(crate) async fn complete_record(&self, name: &str, placement: &str) -> Result<Record> {
        let set = |key: String, value: &str| redis::cmd("SET").arg(key).arg(value).arg("NX").to_owned();
        let (name_key, placement_key) = (self.keys.cluster_name(), self.keys.cluster_placement());
        let mut values = self
            .ask([
                set(name_key.clone(), name),
                set(placement_key.clone(), placement),
                get(name_key),
                get(placement_key),
            ])
            .await?;
        for value in values.drain(..2) {
            value?;
        }
        self.read_record(values)
    }

    /// Reads the name, and the first and the last lines of the placement: enough to tell whether this is still the same host.
    pub(crate) async fn check_identity(&self) -> Result<Identity> {
        let seal = i64::try_from(SEAL).expect("a line is short");
        let part = |from: i64, to: i64| {
            redis::cmd("GETRANGE").arg(self.keys.cluster_placement()).arg(from).arg(to).to_owned()
        };
        let values = self.ask([get(self.keys.cluster_name()), part(0, HEAD), part(-seal, -1)]).await?;
        let [name, head, seal] = self.texts(values)?;
        // `GETRANGE` answers with an empty text where there is none.
        let [head, seal] = [head, seal].map(|text| text.filter(|text| !text.is_empty()));
        Ok(Identity { name, head, seal })
    }

    /// Stores a table of slots unless a later one is there, and raises the fence to an epoch. False: a later one is there, or
    /// another one of this epoch, and nothing was done.
    pub(crate) async fn store_placement(&self, placement: &Placement, fence: Option<Fence>) -> Result<bool> {
        Ok(self.host.run_one(self.placement_call(placement, fence)).await? == Value::Int(1))
    }

    /// The call of [`store_placement`](Self::store_placement), which answers 1 or 0.
    pub(super) fn placement_call(&self, placement: &Placement, fence: Option<Fence>) -> Call {
        let fence = fence.map(|fence| fence.to_string()).unwrap_or_default();
        let mut call = self.host.call(Script::PlacementSet, 2, placement.text().len());
        call.command.arg(self.keys.cluster_placement()).arg(self.keys.cluster_fence());
        call.command.arg(placement.text()).arg(placement.epoch()).arg(fence);
        call
    }

    async fn ask<const N: usize>(&self, commands: [Cmd; N]) -> Result<Vec<Result<Value>>> {
        let session = self.host.session().await?;
        self.host.send(&session, &pipeline(commands)).await
    }

    fn read_record(&self, values: Vec<Result<Value>>) -> Result<Record> {
        let [name, placement] = self.texts(values)?;
        Ok(Record { name, placement })
    }

    fn texts<const N: usize>(&self, values: Vec<Result<Value>>) -> Result<[Option<String>; N]> {
        let texts = values.into_iter().map(|value| match value? {
            Value::Nil => Ok(None),
            value => text(value)
                .map(Some)
                .ok_or_else(|| unexpected(self.host.name(), "what it holds of the cluster")),
        });
        let texts: Vec<Option<String>> = texts.collect::<Result<_>>()?;
        texts.try_into().map_err(|_| unexpected(self.host.name(), "what it holds of the cluster"))
    }
}

fn get(key: String) -> Cmd {
    redis::cmd("GET").arg(key).to_owned()
}

//! The record of a cluster that each of its hosts stores.

use redis::{Cmd, Value};

use super::{
    Redis,
    pipeline::pipeline,
    reply::{text, unexpected},
};
use crate::{
    engine::cluster::{Record, SEAL},
    error::Result,
};

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

    /// Reads the name and the placement's last line: enough to tell whether this is still the same host.
    pub(crate) async fn check_identity(&self) -> Result<Record> {
        let seal = i64::try_from(SEAL).expect("a line is short");
        let mut end = redis::cmd("GETRANGE");
        end.arg(self.keys.cluster_placement()).arg(-seal).arg(-1);
        let values = self.ask([get(self.keys.cluster_name()), end]).await?;
        let record = self.read_record(values)?;
        // `GETRANGE` answers with an empty text where there is none.
        Ok(Record { placement: record.placement.filter(|end| !end.is_empty()), ..record })
    }

    async fn ask<const N: usize>(&self, commands: [Cmd; N]) -> Result<Vec<Result<Value>>> {
        let session = self.host.session().await?;
        self.host.send(&session, &pipeline(commands)).await
    }

    fn read_record(&self, values: Vec<Result<Value>>) -> Result<Record> {
        let mut texts = values.into_iter().map(|value| match value? {
            Value::Nil => Ok(None),
            value => text(value)
                .map(Some)
                .ok_or_else(|| unexpected(self.host.name(), "what it holds of the cluster")),
        });
        let mut next = || texts.next().unwrap_or(Ok(None));
        Ok(Record { name: next()?, placement: next()? })
    }
}

fn get(key: String) -> Cmd {
    redis::cmd("GET").arg(key).to_owned()
}

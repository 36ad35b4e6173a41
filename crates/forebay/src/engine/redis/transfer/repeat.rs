//! Commands that may be executed twice.

use std::time::Duration;

use redis::{Cmd, Value};

use super::super::{Redis, pipeline::pipeline, refusal::Refusal};
use crate::{
    error::{ErrorKind, Result},
    time::mins,
};

/// How often a pipeline is sent at most: one connection may be found dead, and the next one lose the answer.
const MAX_SENT: usize = 3;

/// A server writes a value of half a gigabyte in some seconds, and does nothing else meanwhile.
const WITHIN: Duration = mins(1);

impl Redis {
    /// The replies to commands, which are written and sent again if the connection ends before the replies come.
    ///
    /// # Errors
    /// The refusal of the first that was refused; else as of a lost connection.
    pub(in crate::engine::redis) async fn repeat(
        &self,
        commands: impl Fn() -> Vec<Cmd>,
    ) -> Result<Vec<Value>> {
        let host = self.plain();
        host.hurry();
        let (mut session, mut sent) = (host.session().await?, 0);
        let values = loop {
            sent += 1;
            match host.transmit_within(&session, &pipeline(commands()), WITHIN).await {
                Err(error) if error.kind() == ErrorKind::Ambiguous && sent < MAX_SENT => {
                    session = host.session_after(&session).await?;
                }
                Err(error) => {
                    host.give_up();
                    return Err(error);
                }
                Ok(values) => break values,
            }
        };
        let accepted = |value| match value {
            Value::ServerError(refused) => Err(Refusal::of(&refused).error(host.name())),
            value => Ok(value),
        };
        values.into_iter().map(accepted).collect()
    }

    /// [`repeat`](Self::repeat) for a single command.
    pub(in crate::engine::redis) async fn repeat_one(&self, command: impl Fn() -> Cmd) -> Result<Value> {
        Ok(self.repeat(|| vec![command()]).await?.swap_remove(0))
    }
}

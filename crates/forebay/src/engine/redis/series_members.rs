//! The members of a series that has a bound on its keys, on one Redis host: that of the name of the series.

use std::time::Duration;

use redis::Value;

use super::{Redis, reply::unexpected, script::Script};
use crate::{
    engine::step::{MEMBER_KNOWN, MemberStep, Members},
    error::Result,
    key::Name,
};

/// A member is looked at after that: by then no program adds to it that has not claimed it again, and what was under way has ended.
const DOUBT: Duration = MEMBER_KNOWN.saturating_mul(3);

impl Redis {
    pub(crate) async fn series_members(&self, series: &Name, step: MemberStep<'_>) -> Result<Members> {
        let members = self.keys.members(series);
        let mut call = self.host.call(Script::SeriesMembers, 2, 3 * members.len() + 128);
        call.command.arg(&*members).arg(format!("{members}:doubtful"));
        let arguments = &mut call.command;
        let doubt = DOUBT.as_micros().to_string();
        match step {
            MemberStep::Claim { keys, most } => {
                arguments.arg("claim").arg(doubt).arg(most);
                for (key, until) in keys {
                    arguments.arg(*key).arg(until.as_micros());
                }
            }
            MemberStep::Check { key, most } => _ = arguments.arg("check").arg(doubt).arg(most).arg(key),
            MemberStep::Doubt { key } => _ = arguments.arg("doubt").arg(doubt).arg(0).arg(key),
            MemberStep::Due { most } => _ = arguments.arg("due").arg(most).arg(0),
            MemberStep::Looked { gone, kept } => {
                arguments.arg("looked").arg(gone.len()).arg(0).arg(gone).arg(kept);
            }
        }
        let reply = self.host.run_one(call).await?;
        let read = || unexpected(self.host.name(), "a count of the keys of a series");
        Ok(match reply {
            Value::Int(count) => Members { full: u64::try_from(count).ok(), due: vec![] },
            due => Members { full: None, due: redis::from_redis_value(due).map_err(|_| read())? },
        })
    }
}

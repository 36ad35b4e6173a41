//! Overrides of single keys of limits on a Redis host.

use redis::Value;
use uuid::Uuid;

use super::{
    Redis,
    reply::{pairs, unexpected},
    script::Script,
};
use crate::{
    engine::step::{MAX_OVERRIDES, too_many_overrides},
    error::{Error, Result},
    key::Name,
};

impl Redis {
    pub(crate) async fn override_set(
        &self,
        limit: &Name,
        key: &str,
        instead: Option<&str>,
        mark: Uuid,
    ) -> Result<bool> {
        let mut call = self.host.call(Script::OverrideSet, 2, key.len() + 256);
        call.command.arg(self.keys.overrides(limit)).arg(self.keys.override_marks());
        call.command.arg(limit.as_str()).arg(key).arg(instead.unwrap_or_default());
        call.command.arg(mark.to_string()).arg(MAX_OVERRIDES);
        match self.host.run_one(call).await? {
            Value::Int(-1) => Err(too_many_overrides(limit)),
            Value::Int(changed) => Ok(changed == 1),
            _ => Err(self.strange()),
        }
    }

    pub(crate) async fn override_marks(&self) -> Result<Vec<(Name, Uuid)>> {
        let marks = self.hash(self.keys.override_marks()).await?;
        let read = |(limit, mark): (Box<str>, Box<str>)| Some((Name::new(&limit).ok()?, mark.parse().ok()?));
        Ok(marks.into_iter().filter_map(read).collect())
    }

    pub(crate) async fn overrides(&self, limit: &Name) -> Result<Vec<(Box<str>, Box<str>)>> {
        self.hash(self.keys.overrides(limit)).await
    }

    async fn hash(&self, key: String) -> Result<Vec<(Box<str>, Box<str>)>> {
        let all = self.host.query(redis::cmd("HGETALL").arg(key)).await?;
        let found = pairs(all).ok_or_else(|| self.strange())?;
        let text = |bytes| String::from_utf8(bytes).ok().map(String::into_boxed_str);
        // A value that is no text is not Forebay's.
        Ok(found.into_iter().filter_map(|(key, value)| Some((text(key)?, text(value)?))).collect())
    }

    fn strange(&self) -> Error {
        unexpected(self.host.name(), "a question for overrides")
    }
}

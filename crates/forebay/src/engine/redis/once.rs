//! Requests that are carried out once, on a Redis host.
//!
//! A request is a string: "print owner answer", the answer empty until there is one. All commands may be repeated.

use redis::Value;
use uuid::Uuid;

use super::{
    Redis,
    reply::{text, unexpected},
};
use crate::{
    engine::step::{Known, ONCE},
    error::Result,
};

impl Redis {
    pub(crate) async fn once_begin(&self, key: &str, print: u128, owner: Uuid) -> Result<Known> {
        let key = self.keys.once(key);
        loop {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(value(print, owner, "")).arg("NX").arg("PX").arg(ONCE.as_millis().to_string());
            if self.host.query(&set).await? != Value::Nil {
                return Ok(Known::First);
            }
            let mut get = redis::cmd("GET");
            get.arg(&key);
            match self.host.query(&get).await? {
                // It has just expired.
                Value::Nil => {}
                found => {
                    let found = text(found).and_then(|found| known(&found, print, owner));
                    return found.ok_or_else(|| unexpected(self.host.name(), "a question for a request"));
                }
            }
        }
    }

    pub(crate) async fn once_end(&self, key: &str, print: u128, owner: Uuid, answer: &str) -> Result<()> {
        let mut set = redis::cmd("SET");
        set.arg(self.keys.once(key)).arg(value(print, owner, answer)).arg("XX").arg("KEEPTTL");
        self.host.query(&set).await.map(drop)
    }

    pub(crate) async fn once_forget(&self, key: &str) -> Result<()> {
        let mut delete = redis::cmd("DEL");
        delete.arg(self.keys.once(key));
        // Not repeated: the next one may have begun.
        self.host.command(&delete).await.map(drop)
    }
}

fn value(print: u128, owner: Uuid, answer: &str) -> String {
    format!("{print:032x} {} {answer}", owner.simple())
}

fn known(value: &str, print: u128, owner: Uuid) -> Option<Known> {
    let mut parts = value.splitn(3, ' ');
    let (theirs, who, answer) = (parts.next()?, parts.next()?, parts.next()?);
    Some(if u128::from_str_radix(theirs, 16).ok()? != print {
        Known::Other
    } else if Uuid::parse_str(who).ok()? == owner && answer.is_empty() {
        // The reply to this very claim was lost.
        Known::First
    } else if answer.is_empty() {
        Known::Running
    } else {
        Known::Done(answer.into())
    })
}

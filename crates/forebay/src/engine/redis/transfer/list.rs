//! All keys of a host, and those that calls came with.

use redis::{Cmd, Value, cmd};

use super::super::{
    Redis,
    reply::{info_field, text, unavailable, unexpected},
};
use crate::error::{Result, Retry};

/// About how many keys a page has: the server is busy with them for less than a millisecond.
const PAGE: u32 = 1_000;

/// The place of a list of keys from which it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    at: u64,
    /// The run of the server that gave it: another one keeps its keys in another order.
    run: Box<str>,
}

impl Redis {
    /// Some keys of this host, and where the list goes on; `None`: it is complete.
    ///
    /// A list has every key that is there from its beginning to its end. It may have a key twice, and one that is not there any
    /// more.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) also if the server was restarted since the cursor: begin anew.
    pub(crate) async fn scan_page(&self, from: Option<&Cursor>) -> Result<(Option<Cursor>, Vec<Box<[u8]>>)> {
        self.page(&cmd("SCAN"), from).await
    }

    /// The keys that calls came with while the fence had its `+`, since the last time.
    pub(crate) async fn take_touched(&self) -> Result<Vec<Box<[u8]>>> {
        let (touched, taken) = (self.keys.cluster_touched(), self.keys.cluster_taken());
        let mut keys = vec![];
        loop {
            // What was taken before and not read is still there, so that nothing is overlooked when an answer was lost.
            let take = || cmd("RENAMENX").arg(&touched).arg(&taken).to_owned();
            let was_full = match self.repeat_one(take).await {
                Err(error) if error.to_string().contains("no such key") => false,
                renamed => renamed? == Value::Int(0),
            };
            let mut cursor = None;
            loop {
                let (next, page) = self.page(cmd("SSCAN").arg(&taken), cursor.as_ref()).await?;
                keys.extend(page);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            self.repeat_one(|| cmd("UNLINK").arg(&taken).to_owned()).await?;
            if !was_full {
                return Ok(keys);
            }
        }
    }

    /// Forgets the keys that calls came with.
    pub(crate) async fn forget_touched(&self) -> Result<()> {
        let keys = [self.keys.cluster_touched(), self.keys.cluster_taken()];
        let unlink = || cmd("UNLINK").arg(&keys).to_owned();
        self.repeat_one(unlink).await.map(drop)
    }

    async fn page(&self, scan: &Cmd, from: Option<&Cursor>) -> Result<(Option<Cursor>, Vec<Box<[u8]>>)> {
        let commands = || {
            let mut scan = scan.clone();
            scan.arg(from.map_or(0, |from| from.at)).arg("COUNT").arg(PAGE);
            vec![scan, cmd("INFO").arg("server").to_owned()]
        };
        let [page, info]: [Value; 2] =
            self.repeat(commands).await?.try_into().map_err(|_| unexpected(self.host.name(), "a scan"))?;
        let info = text(info).unwrap_or_default();
        let run = info_field(&info, "run_id").ok_or_else(|| unexpected(self.host.name(), "INFO"))?;
        if from.is_some_and(|from| *from.run != *run) {
            let text = "the server was restarted while its keys were listed: list them anew";
            return Err(unavailable(self.host.name(), text).with_retry(Retry::Now));
        }
        let (at, keys): (u64, Vec<Vec<u8>>) =
            redis::from_redis_value(page).map_err(|_| unexpected(self.host.name(), "a scan"))?;
        let next = (at != 0).then(|| Cursor { at, run: run.into() });
        Ok((next, keys.into_iter().map(Vec::into_boxed_slice).collect()))
    }
}

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

    /// As [`scan_page`](Self::scan_page): some of the keys that calls came with while the fence had its `+`.
    pub(crate) async fn touched_page(
        &self,
        from: Option<&Cursor>,
    ) -> Result<(Option<Cursor>, Vec<Box<[u8]>>)> {
        self.page(cmd("SSCAN").arg(self.keys.cluster_touched()), from).await
    }

    /// Forgets the keys that calls came with.
    pub(crate) async fn forget_touched(&self) -> Result<()> {
        let unlink = || cmd("UNLINK").arg(self.keys.cluster_touched()).to_owned();
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

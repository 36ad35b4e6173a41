//! limitador's storage on Redis without a cache, through one shared limiter.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Result, anyhow};
use forebay_bench::{Load, together};
use limitador::{
    AsyncRateLimiter,
    limit::{Context, Limit, Namespace},
    storage::redis::AsyncRedisStorage,
};

use crate::shared::PLENTY;

/// One call checks the limits of all `names`, each per value of the variable of its name, and then updates them. That
/// takes two round trips, and a concurrent call between them goes unnoticed.
pub(crate) async fn takes(load: Load, keys: usize, names: &'static [&'static str]) -> Result<f64> {
    let limiter = AsyncRateLimiter::new_with_storage(Box::new(AsyncRedisStorage::new(&load.redis).await?));
    for name in names {
        // The window is an hour, as for all subjects.
        limiter.add_limit(Limit::new("bench", PLENTY, 3_600, [], [(*name).try_into()?]));
    }
    together(&load, keys, (Arc::new(limiter), Namespace::from("bench")), move |handles, key| async move {
        let (limiter, namespace) = &*handles;
        let values: HashMap<_, _> = names.iter().map(|name| (name.to_string(), key.to_string())).collect();
        let context = Context::from(values);
        let answer = limiter.check_rate_limited_and_update(namespace, &context, 1).await;
        // The errors of limitador are not `Send`, unlike those of anyhow.
        let answer = answer.map_err(|error| anyhow!("limitador: {error}"))?;
        // A limit that does not match is not counted and does not deny.
        Ok(!answer.limited && answer.counters.len() == names.len())
    })
    .await
}

//! Limits within this process.

use std::{num::NonZeroU32, sync::Arc};

use anyhow::Result;
use forebay::{
    Forebay, Limit,
    limit::{Kind, Mode},
    time::{hours, secs},
};
use forebay_bench::{Cell, Load, per_second, takes, together};
use governor::{Quota, RateLimiter};

use crate::shared::PLENTY;

const ONE: &str = "in this process, 10 000 keys, 1 thread";
const TWO: &str = "in this process, 10 000 keys, 2 threads";
/// The store leases budget only for busy keys, so the keys are few.
const FEW: &str = "in this process, 100 keys, 2 threads";

pub(crate) fn cells() -> Vec<Cell> {
    vec![
        per_second(ONE, &["forebay memory:"], |load| memory(load, 1, limit())),
        per_second(ONE, &["forebay memory:, token bucket"], |load| memory(load, 1, bucket())),
        per_second(ONE, &["governor"], |load| governed(load, 1, 10_000)),
        per_second(TWO, &["forebay memory:"], |load| memory(load, 2, limit())),
        per_second(TWO, &["forebay memory:, token bucket"], |load| memory(load, 2, bucket())),
        per_second(TWO, &["governor"], |load| governed(load, 2, 10_000)),
        per_second(FEW, &["forebay leased, one Redis"], leased),
        per_second(FEW, &["governor"], |load| governed(load, 2, 100)),
    ]
}

/// A fixed window, the usual kind.
fn limit() -> Limit {
    Limit::new("hits", PLENTY, hours(1))
}

/// A token bucket, the kind of governor's limiter. Governor's integers allow no larger quota.
fn bucket() -> Limit {
    Limit::new("hits", 1 << 30, secs(1)).kind(Kind::TokenBucket)
}

async fn memory(load: Load, threads: usize, limit: Limit) -> Result<f64> {
    let bay = Forebay::open("memory:").await?;
    takes(&Load { callers: threads, ..load }, 10_000, bay.limit(limit)?).await
}

async fn leased(load: Load) -> Result<f64> {
    let bay = Forebay::open(&load.redis).await?;
    takes(&Load { callers: 2, ..load }, 100, bay.limit(limit().mode(Mode::Leased))?).await
}

async fn governed(load: Load, threads: usize, keys: usize) -> Result<f64> {
    let quota = Quota::per_second(NonZeroU32::MAX);
    let limiter = Arc::new(RateLimiter::<Arc<str>, _, _>::dashmap(quota));
    together(&Load { callers: threads, ..load }, keys, limiter, |limiter, key| async move {
        Ok(limiter.check_key(&key).is_ok())
    })
    .await
}

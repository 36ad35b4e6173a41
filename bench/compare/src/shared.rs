//! Limits that processes share, on one Redis.

use anyhow::Result;
use forebay::{
    Forebay, Limit,
    limit::{Charge, LimitHandle},
    time::{hours, mins},
};
use forebay_bench::{Cell, Load, per_second, takes, together};

use crate::{
    limitador::{self, LIMITADOR},
    peers,
};

/// A quota that is never reached.
pub(crate) const PLENTY: u64 = 1 << 40;

const MANY: &str = "exact limit, 10 000 keys, one Redis";
const HOT: &str = "exact limit, one hot key, one Redis";
const THREE: &str = "three limits per request, 10 000 keys";

/// The limits of a request with three limits.
const LIMITS: [&str; 3] = ["user", "project", "organization"];

pub(crate) fn cells() -> Vec<Cell> {
    vec![
        per_second(MANY, &["forebay"], |load| alone(load, 10_000)),
        per_second(MANY, &[peers::CELL], |load| peers::cell(load, 10_000, 1)),
        per_second(MANY, &[LIMITADOR], |load| limitador::takes(load, 10_000, &["user"])),
        per_second(HOT, &["forebay"], |load| alone(load, 1)),
        per_second(HOT, &["redis-benchmark -P 64 INCR"], |load| async move { peers::incr(&load) }),
        per_second(HOT, &[peers::CELL], |load| peers::cell(load, 1, 1)),
        per_second(HOT, &[LIMITADOR], |load| limitador::takes(load, 1, &["user"])),
        per_second(THREE, &["forebay"], three),
        per_second(THREE, &[peers::CELL], |load| peers::cell(load, 10_000, 3)),
        per_second(THREE, &[LIMITADOR], |load| limitador::takes(load, 10_000, &LIMITS)),
    ]
}

async fn limits(load: &Load, names: &[&str]) -> Result<(Forebay, Vec<LimitHandle>)> {
    let bay = Forebay::open(&load.redis).await?;
    // Under this load a call may wait for longer than a request should.
    let limit = |name: &&str| bay.limit(Limit::new(*name, PLENTY, hours(1)).deadline(mins(1)));
    let limits = names.iter().map(limit).collect::<Result<_, _>>()?;
    Ok((bay, limits))
}

async fn alone(load: Load, keys: usize) -> Result<f64> {
    let (_bay, limits) = limits(&load, &["hits"]).await?;
    takes(&load, keys, limits[0].clone()).await
}

async fn three(load: Load) -> Result<f64> {
    together(&load, 10_000, limits(&load, &LIMITS).await?, |handles, key| async move {
        let (bay, limits) = &*handles;
        let charge = |limit: &LimitHandle| Charge { limit: limit.clone(), key: key.to_string(), cost: 1 };
        let charges: Vec<Charge> = limits.iter().map(charge).collect();
        Ok(bay.take_all(&charges).await?.allowed)
    })
    .await
}

//! Writers, sealers and movers of one series, while replies and requests are lost, connections are cut, and the server is killed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use forebay_testkit::{Fault, Proxy, Redis as Server, unique_prefix};
use futures::future::join_all;
use uuid::Uuid;

use super::sealing::{part, point, sum};
use crate::{
    Clock, Retry,
    engine::{
        key_move::{Servers, continue_moves, move_key},
        redis::Redis,
        step::{KeyMove, Rank, RankLevel, SeriesPart, Which},
    },
    model::resolution::{Grid, Resolution},
    time::{hours, millis, mins, secs},
};

const WRITERS: usize = 3;
const SEALERS: usize = 2;

/// Everybody's way to the server.
struct World {
    server: Server,
    prefix: String,
    part: SeriesPart,
    /// The sum of the points that were acknowledged, and of those whose fate nobody knows.
    added: AtomicU64,
    unknown: AtomicU64,
    moved: AtomicU64,
    has_ended: AtomicBool,
}

impl World {
    async fn join(&self, proxy: &Proxy) -> Arc<Redis> {
        let url = self.server.url_through(proxy);
        loop {
            if let Ok(redis) = Redis::open(&url, &self.prefix, Clock::system()).await {
                return redis;
            }
            Clock::system().sleep(millis(20)).await;
        }
    }

    fn goes_on(&self) -> bool {
        !self.has_ended.load(Ordering::SeqCst)
    }

    async fn write(&self, redis: Arc<Redis>, writer: usize) {
        let mut number = writer as u64;
        while self.goes_on() {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let now = redis.series_now(&self.part).await;
            let at = now.minus(secs((number >> 33) % 90));
            match redis.series_add(&self.part, vec![point("a", at, 3)], now).await {
                Ok(()) => self.added.fetch_add(3, Ordering::SeqCst),
                Err(error) if error.retry() == Retry::Unknown => self.unknown.fetch_add(3, Ordering::SeqCst),
                Err(_) => {
                    redis.clock().sleep(millis(5)).await;
                    0
                }
            };
        }
    }

    async fn seal(&self, redis: Arc<Redis>) {
        while self.goes_on() {
            let _ = redis.series_seal(&self.part, Which::All).await;
            redis.clock().sleep(millis(2)).await;
        }
    }

    async fn move_keys(&self, redis: Arc<Redis>) {
        while self.goes_on() {
            // As if it had begun so long ago that others continue it.
            let id = Uuid::from_u128(Uuid::now_v7().as_u128() - (20_000u128 << 80));
            let moving = KeyMove { id, from: "a".into(), to: "b".into() };
            if move_key(Servers::One(&redis), &self.part, &moving).await.is_ok() {
                self.moved.fetch_add(1, Ordering::SeqCst);
            }
            let _ = continue_moves(Servers::One(&redis), &self.part).await;
            redis.clock().sleep(millis(10)).await;
        }
    }
}

/// Long runs set `FOREBAY_SEAL_FAULTS`: see `scripts/faults series`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_and_double_nothing_on_the_way_to_the_chunks() {
    let faults =
        std::env::var("FOREBAY_SEAL_FAULTS").ok().and_then(|count| count.parse().ok()).unwrap_or(25u64);
    let seed = std::env::var("FOREBAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7u64);
    let server = Server::builder().append_only().start();
    let proxies: Vec<Proxy> = (0..=WRITERS + SEALERS).map(|_| Proxy::new(server.port())).collect();
    let proxies = Arc::new(proxies);
    let (prefix, part) = (unique_prefix(), ranked(&Resolution::defaults()));
    let counter = AtomicU64::default;
    let (added, unknown, moved, has_ended) = (counter(), counter(), counter(), AtomicBool::new(false));
    let world = Arc::new(World { server, prefix, part, added, unknown, moved, has_ended });
    let tasks = (0..proxies.len()).map(|number| {
        let (world, proxies) = (world.clone(), proxies.clone());
        tokio::spawn(async move {
            let redis = world.join(&proxies[number]).await;
            match number {
                writer if writer < WRITERS => world.write(redis, writer).await,
                sealer if sealer < WRITERS + SEALERS => world.seal(redis).await,
                _ => world.move_keys(redis).await,
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let clock = Clock::system();
    let mut random = seed;
    for fault in 0..faults {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (choice, which) = ((random >> 33) % 10, (random >> 40) as usize % proxies.len());
        match choice {
            0 => tokio::task::block_in_place(|| {
                world.server.kill();
                world.server.restart();
            }),
            1 | 2 => proxies[which].cut(),
            3..=6 => proxies[which].set(Fault::DropReply { after: fault % 3 }),
            _ => proxies[which].set(Fault::DropRequest { after: fault % 3 }),
        }
        clock.sleep(millis(60)).await;
    }
    proxies.iter().for_each(|proxy| proxy.set(Fault::Pass));
    world.has_ended.store(true, Ordering::SeqCst);
    for task in join_all(tasks).await {
        task.expect("ends");
    }
    check(&world, faults).await;
}

/// A partition with lists of its largest keys.
fn ranked(resolutions: &[Resolution]) -> SeriesPart {
    let SeriesPart { grid, index, .. } = part(resolutions);
    let Grid { name, resolutions, partitions, .. } = Arc::into_inner(grid).expect("nobody else has it");
    SeriesPart::new(Arc::new(Grid { name, resolutions, partitions, is_ranked: true }), index)
}

/// No key has more than its list says.
async fn check_lists(redis: &Redis, part: &SeriesPart) {
    let now = redis.series_now(part).await;
    let (start, end) = (now.minus(hours(1)), now.plus(mins(5)));
    let rank = Rank { runs: &[], start, end, level: RankLevel::Fine, fits: &|_| true, most: 10 };
    let found = redis.series_rank(part, &rank).await.expect("answers").expect("its lists are complete");
    for key in ["a", "b"] {
        let most = found.keys.iter().find(|(other, _)| other == key).map_or(found.others, |(_, most)| *most);
        let count = sum(redis, part, part.grid.resolutions[2], key).await;
        assert!(count <= most, "{key} has {count}, in the lists {most}");
    }
}

/// Completes what was begun, and compares the sums with what was acknowledged.
async fn check(world: &World, faults: u64) {
    let direct = Redis::open(&world.server.url(), &world.prefix, Clock::system()).await.expect("opens");
    let part = &world.part;
    continue_moves(Servers::One(&direct), part).await.expect("completes moves");
    let known = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (added, unknown, moved) = (known(&world.added), known(&world.unknown), known(&world.moved));
    for seals in [false, true] {
        if seals {
            direct.series_seal(part, Which::All).await.expect("seals");
        }
        for &resolution in &part.grid.resolutions {
            let found = sum(&direct, part, resolution, "a").await + sum(&direct, part, resolution, "b").await;
            assert!(
                (added..=added + unknown).contains(&found),
                "{found} of {added} and {unknown} unknown, {moved} moves"
            );
        }
    }
    check_lists(&direct, part).await;
    eprintln!("{faults} faults: {added} counted, {unknown} unknown, {moved} moves; lost 0, doubled 0");
    assert!(added > 100 && moved > 2, "{added} counted, {moved} moves");
    assert!(unknown < added / 2 + 3_000, "{unknown} unknown of {added}");
}

//! Slide "Basic sharding": many keys, many hosts, one call.
//!
//! The slide's library placed a key by its checksum modulo the number of hosts, so another host moved nearly every key. It
//! stored answers by command, so three `incr` had one answer. And it raised one error for the whole map when one host was
//! dead or one command was refused. Here a table places the keys, and each command has its own ticket and answer.
//!
//! `cargo run --example slide-cluster`, with `FOREBAY_STORE` for another store than `memory:`, such as
//! `redis://a,b,c`.

use forebay::{
    Forebay, Result,
    cluster::{Cluster, CommandError, Ticket},
    time::mins,
};

fn create_cluster(bay: &Forebay) -> Cluster {
    bay.cluster() // the hosts are in the URL of the store
}

async fn map(cluster: &Cluster, keys: &[String]) -> Vec<Result<Option<i64>, CommandError>> {
    let mut map = cluster.map();
    let gets: Vec<Ticket<Option<i64>>> = keys.iter().map(|key| map.get(key)).collect();
    let answers = map.run().await; // one pipeline per host, all at the same time
    gets.into_iter().map(|get| answers.get(get)).collect()
}

/// Counts for some users, makes one of the keys unreadable, and reads all of them.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn run(bay: &Forebay, name: &str) -> Result<Vec<Result<Option<i64>, CommandError>>> {
    let cluster = create_cluster(bay);
    let keys: Vec<String> = (0..4).map(|user| format!("{name}:{user}")).collect();
    let mut counting = cluster.map();
    for key in &keys {
        counting.del(key); // from an earlier run
    }
    let hits = [(); 3].map(|()| counting.incr(&keys[0], 1));
    counting.incr(&keys[1], 10);
    counting.set(&keys[2], "not a number");
    let refused = counting.incr(&keys[2], 1);
    for key in &keys {
        counting.expire(key, mins(1)); // otherwise a plain key stays for ever
    }
    let answers = counting.run().await;
    let counts: Vec<i64> = hits.into_iter().map(|hit| answers.get(hit)).collect::<Result<_, _>>()?;
    assert_eq!(counts, [1, 2, 3], "the same command three times");
    assert!(answers.get(refused).is_err(), "refused, and the others were not");
    Ok(map(&cluster, &keys).await)
}

#[allow(dead_code, clippy::print_stdout, reason = "prints as an example does; the tests call `run` instead")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::var("FOREBAY_STORE").unwrap_or_else(|_| "memory:".into());
    for (user, answer) in run(&Forebay::open(&store).await?, "hits").await?.into_iter().enumerate() {
        match answer {
            Ok(hits) => println!("user {user}: {} hits", hits.unwrap_or(0)),
            Err(error) => println!("user {user}: {error}"),
        }
    }
    Ok(())
}

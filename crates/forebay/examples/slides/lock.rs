//! Slide "Good enough locks": one at a time does something crazy.
//!
//! The slide sent SETNX and EXPIRE as two commands, so a crash between them locked for ever. It ended with a DELETE, which
//! released the lock of any other holder. A slow holder did not learn that its ten seconds were over. Here the claim and its
//! expiry are one step, and only the holder can release the lock. A live holder renews it and learns of its loss, and the
//! fence tells the resource which holder is the later one.
//!
//! `cargo run --example slide-lock`, with `FOREBAY_STORE` for another store than `memory:`.

use forebay::{
    Forebay, Result,
    lock::{Attempt, Guard, Release},
    time::secs,
};

/// The slide's `nowait`.
#[derive(Clone, Copy)]
enum Wait {
    No,
    Yes,
}

async fn lock(bay: &Forebay, key: &str, wait: Wait) -> Result<Option<Guard>> {
    let lock = bay.lock(key).ttl(secs(10)); // as on the slide; it is the default
    Ok(match wait {
        Wait::No => lock.try_acquire().await?.acquired(),
        Wait::Yes => Some(lock.acquire().await?),
    })
}

async fn do_something_crazy(bay: &Forebay, key: &str, wait: Wait) -> Result<Option<u64>> {
    let Some(guard) = lock(bay, key, wait).await? else { return Ok(None) };
    let fence = guard.fence();
    let crazy = guard.while_held(async {
        // No other holder is here. Write with `WHERE fence < $fence`, so that a late holder cannot write after you.
        assert!(
            matches!(bay.lock(key).try_acquire().await, Ok(Attempt::Held { .. })),
            "somebody else was let in"
        );
    });
    if crazy.await.is_err() {
        return Ok(None); // the lock was lost, and the work was dropped unfinished
    }
    Ok((guard.release().await? == Release::Released).then_some(fence))
}

/// Four callers wait at once, and one does not wait. Returns the fences of those that acquired the lock, in order.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn run(bay: &Forebay, key: &str) -> Result<Vec<u64>> {
    let all = [(); 4].map(|()| do_something_crazy(bay, key, Wait::Yes));
    let mut fences: Vec<u64> = futures::future::try_join_all(all).await?.into_iter().flatten().collect();
    fences.sort_unstable();

    let held = lock(bay, key, Wait::Yes).await?.expect("waited for it");
    assert_eq!(do_something_crazy(bay, key, Wait::No).await?, None, "held by another");
    drop(held); // releases it in the background; `release().await` would return whether it was held until then
    fences.extend(do_something_crazy(bay, key, Wait::Yes).await?);
    Ok(fences)
}

#[allow(dead_code, clippy::print_stdout, reason = "prints as an example does; the tests call `run` instead")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let store = std::env::var("FOREBAY_STORE").unwrap_or_else(|_| "memory:".into());
    for fence in run(&Forebay::open(&store).await?, "crazy").await? {
        println!("Hello world! (fence {fence})");
    }
    Ok(())
}

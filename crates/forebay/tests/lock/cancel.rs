//! An acquire that is dropped after any number of steps leaves nothing behind.

use std::{future::Future, pin::pin, task::Poll};

use forebay::{
    fault::Fault,
    lock::{Attempt, Guard},
    time::{millis, secs},
};

use crate::Store;

/// The behaviour of the store in the meantime.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Fair,
    AnswersLost,
    Refusing,
    Unreachable,
    ReleaseLost,
}

#[tokio::test]
async fn an_acquire_dropped_at_any_point_leaves_nothing() {
    use Weather::{AnswersLost, Fair, Refusing, ReleaseLost, Unreachable};
    for weather in [Fair, AnswersLost, Refusing, Unreachable, ReleaseLost] {
        for held in [false, true] {
            for wait in [secs(0), secs(3)] {
                // The last numbers are larger than the number of steps: these calls end by themselves.
                for steps in 0..24 {
                    let store = Store::open().await;
                    let holder = if held { Some(store.guard().await) } else { None };
                    brew(&store, weather);
                    let lock = store.lock();
                    drop_after(&store, steps, lock.acquire_within(wait)).await;
                    store.faults.always(None);
                    clear(&store, holder, &format!("{weather:?}, held {held}, {wait:?}, {steps} steps"))
                        .await;
                }
            }
        }
    }
}

fn brew(store: &Store, weather: Weather) {
    match weather {
        Weather::Fair => {}
        Weather::AnswersLost => store.faults.next("lock_claim", [Some(Fault::AnswerLost), None]),
        Weather::Refusing => store.faults.always(Some(Fault::Refused)),
        Weather::Unreachable => store.faults.next("lock_claim", [Some(Fault::Unreachable), None]),
        Weather::ReleaseLost => {
            store.faults.next("lock_release", [Some(Fault::Refused), Some(Fault::AnswerLost)]);
        }
    }
}

/// Polls a number of times and then drops the future. The other tasks run once between two polls; in some, time passes.
async fn drop_after(
    store: &Store,
    steps: u32,
    acquire: impl Future<Output = forebay::Result<Attempt<Guard>>>,
) {
    let mut acquire = pin!(acquire);
    for step in 0..steps {
        let polled =
            std::future::poll_fn(|context| Poll::Ready(acquire.as_mut().poll(context).is_ready())).await;
        if polled {
            return;
        }
        tokio::task::yield_now().await;
        if step % 4 == 3 {
            store.hand.advance(millis(600));
        }
    }
}

/// Checks that only the other holder is left soon, and that nothing is left after it: no place in the queue, and no lease.
async fn clear(store: &Store, holder: Option<Guard>, case: &str) {
    let expected = holder.as_ref().map(Guard::holder);
    let passed = store
        .pass_until(case, async || {
            let state = store.state().await;
            state.waiters == 0 && state.holding.map(|holding| holding.holder) == expected
        })
        .await;
    assert!(passed < secs(4), "{case}: {passed:?}, not because a lease ran out");
    drop(holder);
    store.pass_until(case, async || store.free().await).await;
}

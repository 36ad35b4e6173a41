use std::{collections::BTreeMap, future::pending, pin::Pin, sync::Arc, task::Poll, time::Duration};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    sequencer::{MAX_WAITING, MAX_WAITING_BYTES},
    *,
};
use crate::{Clock, ManualClock, Timestamp};

/// Sums numbers; does with each transmission what the script says, then applies.
#[derive(Debug, Default)]
struct Fake {
    script: Mutex<Vec<Fault>>,
    /// Of each partition the sequence and the batches applied.
    store: Mutex<BTreeMap<u16, (u64, Vec<u64>)>>,
    stamps: Mutex<Vec<Stamp>>,
    /// How many batches each transmission had.
    flights: Mutex<Vec<usize>>,
    /// The store is being connected to, for ever.
    connects: Mutex<bool>,
    /// The next transmission waits for this.
    silent: Mutex<Option<Arc<Notify>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Not applied, no answer.
    LostBefore,
    /// Applied, no answer.
    LostAfter,
    /// Applied, no answer, by a store that does not tell its epoch.
    LostUntold,
    /// No connection.
    Down,
    /// The store has changed its epoch.
    Rollback,
    /// Not applied, and said so.
    Refuse,
}

/// See [`Fake::heap_bytes`].
const LARGE: u64 = 1 << 40;

/// Three numbers go together.
#[derive(Debug)]
struct Sum {
    places: Vec<usize>,
    sum: u64,
}

impl Fake {
    fn transmit_one(&self, in_flight: &InFlight<Sum>) -> Sent<()> {
        let error = || Error::new(ErrorKind::Ambiguous, "lost");
        let fault = self.script.lock().pop();
        let InFlight { part, stamp, batch, doubt, .. } = in_flight;
        self.stamps.lock().push(*stamp);
        let mut store = self.store.lock();
        let (sequence, applied) = store.entry(*part).or_default();
        let epoch = if fault == Some(Fault::LostUntold) { "" } else { "1" };
        let in_doubt = || Sent::InDoubt(Doubt { epoch: epoch.into(), time: 1, error: error() });
        match fault {
            Some(Fault::Down) => return Sent::Unsent(error()),
            Some(Fault::LostBefore) => return in_doubt(),
            Some(Fault::Refuse) => return Sent::Refused(Error::new(ErrorKind::Unavailable, "refused")),
            Some(Fault::Rollback) if doubt.is_some() => return Sent::TooLate,
            _ => {}
        }
        if stamp.sequence <= *sequence {
            return Sent::Duplicate(());
        }
        *sequence = stamp.sequence;
        applied.push(batch.sum);
        match fault {
            Some(Fault::LostAfter | Fault::LostUntold) => in_doubt(),
            _ => Sent::Applied(()),
        }
    }
}

impl Channel for Arc<Fake> {
    type Item = u64;
    type Batch = Sum;
    type Outcome = ();
    type Session = ();

    const MAX_YIELDS: usize = 2;

    /// A number from [`LARGE`] on holds a third of what may wait.
    fn heap_bytes(item: &u64) -> usize {
        if *item >= LARGE { MAX_WAITING_BYTES / 3 } else { 0 }
    }

    fn merge(&self, _: u16, items: &[(u16, u64)], waiting: &mut Waiting) -> Sum {
        let most = waiting.places.len().min(3);
        let places: Vec<usize> = waiting.places.drain(..most).collect();
        let sum = places.iter().map(|&place| items[place].1).sum();
        Sum { places, sum }
    }

    async fn ready(&self, _: &[&InFlight<Sum>]) -> Result<()> {
        if *self.connects.lock() {
            pending::<()>().await;
        }
        Ok(())
    }

    async fn transmit(&self, session: Result<()>, in_flight: &[&InFlight<Sum>]) -> Vec<Sent<()>> {
        if let Err(error) = session {
            return in_flight.iter().map(|_| Sent::Unsent(error.clone())).collect();
        }
        tokio::task::yield_now().await;
        self.flights.lock().push(in_flight.len());
        let silent = self.silent.lock().take();
        if let Some(silent) = silent {
            silent.notified().await;
        }
        in_flight.iter().map(|in_flight| self.transmit_one(in_flight)).collect()
    }

    fn places(batch: &Sum) -> impl DoubleEndedIterator<Item = usize> {
        batch.places.iter().copied()
    }

    fn settle(&self, batch: &Sum, (): (), _: &mut Waiting, refusals: &mut Refusals) {
        // Nobody takes a hundred.
        if batch.sum == 100 {
            refusals.push((batch.places[0], Error::new(ErrorKind::OutOfRange, "a hundred")));
        }
    }
}

fn faulty(script: &[Fault]) -> (Arc<Fake>, Arc<Sequencer<Arc<Fake>>>) {
    let fake = Arc::new(Fake::default());
    *fake.script.lock() = script.iter().rev().copied().collect();
    let sequencer = Sequencer::new(fake.clone(), Clock::system());
    (fake, sequencer)
}

/// A write that joins when it is first polled, as those of a buffer do.
async fn write_one(sequencer: &Arc<Sequencer<Arc<Fake>>>, part: u16, item: u64) -> Result<()> {
    let mut seated = None;
    std::future::poll_fn(|context| match &mut seated {
        None => {
            seated = Some(sequencer.write_one(part, item, context.waker())?);
            Poll::Pending
        }
        Some(seated) => Pin::new(seated).poll(context),
    })
    .await
}

fn applied(fake: &Fake, part: u16) -> Vec<u64> {
    fake.store.lock().get(&part).map(|(_, applied)| applied.clone()).unwrap_or_default()
}

#[tokio::test]
async fn what_waits_goes_together_and_each_batch_once() {
    let (fake, sequencer) = faulty(&[]);
    let writes = (1..=5).map(|n| write_one(&sequencer, 0, n)).chain([write_one(&sequencer, 3, 100)]);
    let answers = join_all(writes).await;
    let mut answers = answers.into_iter();
    assert!(answers.by_ref().take(5).all(|answer| answer.is_ok()));
    let refused = answers.next().expect("the sixth").expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::OutOfRange);
    assert_eq!(applied(&fake, 0), [6, 9], "a full batch and the rest");
    assert_eq!(*fake.flights.lock(), [2, 1], "both partitions take off together");
}

#[tokio::test]
async fn each_item_of_a_write_has_its_own_answer() {
    let (fake, sequencer) = faulty(&[]);
    let answers = sequencer.write(1, [50, 30, 10, 100]).await.expect("there is room");
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(applied(&fake, 1), [90, 100]);
}

/// A caller may send elsewhere what was not applied, and nothing else.
#[tokio::test]
async fn of_a_write_in_two_batches_each_item_has_its_own_error() {
    let (_, sequencer) = faulty(&[Fault::Refuse, Fault::LostBefore, Fault::Rollback]);
    let answers = sequencer.write(0, [1, 2, 3, 4]).await.expect("the batches differ");
    let retries: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(Error::retry)).collect();
    assert_eq!(retries, [Err(Retry::Later), Err(Retry::Later), Err(Retry::Later), Err(Retry::Unknown)]);
    let (_, sequencer) = faulty(&[Fault::Refuse, Fault::Refuse]);
    let error = sequencer.write(0, [1, 2, 3, 4]).await.expect_err("nothing was applied");
    assert_eq!(error.retry(), Retry::Later);
}

#[tokio::test]
async fn a_lost_answer_costs_the_other_partitions_nothing() {
    let (fake, sequencer) = faulty(&[Fault::LostAfter, Fault::Refuse, Fault::LostBefore]);
    let answers = join_all([0, 1, 2].map(|part| write_one(&sequencer, part, 7))).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!([0, 1, 2].map(|part| applied(&fake, part)), [vec![7], vec![], vec![7]]);
    assert_eq!(*fake.flights.lock(), [3, 2], "only those in doubt are sent again");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_number() {
    let (fake, sequencer) = faulty(&[Fault::LostBefore, Fault::Down, Fault::LostAfter, Fault::LostAfter]);
    write_one(&sequencer, 0, 7).await.expect("applied");
    assert_eq!(applied(&fake, 0), [7]);
    write_one(&sequencer, 0, 8).await.expect("applied");
    assert_eq!(applied(&fake, 0), [7, 8]);
    let sequences: Vec<u64> = fake.stamps.lock().iter().map(|stamp| stamp.sequence).collect();
    assert_eq!(sequences, [1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn what_was_never_sent_may_be_repeated_and_what_is_in_doubt_may_not() {
    let (fake, sequencer) = faulty(&[
        Fault::Down,
        Fault::Refuse,
        Fault::LostAfter,
        Fault::Rollback,
        Fault::LostBefore,
        Fault::Refuse,
    ]);
    for _ in ["down", "refused"] {
        assert!(write_one(&sequencer, 0, 1).await.is_err());
        assert_eq!(applied(&fake, 0), []);
    }
    for _ in ["rolled back", "refused later"] {
        let error = write_one(&sequencer, 0, 1).await.expect_err("nobody knows");
        assert_eq!(error.retry(), Retry::Unknown);
    }
    write_one(&sequencer, 0, 9).await.expect("the next one goes its way");
}

/// It may have forgotten the batch, and nothing says so.
#[tokio::test]
async fn what_is_in_doubt_is_not_sent_again_to_a_store_without_an_epoch() {
    let (fake, sequencer) = faulty(&[Fault::LostUntold]);
    let error = write_one(&sequencer, 0, 7).await.expect_err("nobody knows");
    assert_eq!(error.retry(), Retry::Unknown);
    write_one(&sequencer, 0, 8).await.expect("applied");
    let sequences: Vec<u64> = fake.stamps.lock().iter().map(|stamp| stamp.sequence).collect();
    assert_eq!((sequences, applied(&fake, 0)), (vec![1, 2], vec![7, 8]));
}

#[tokio::test]
async fn a_number_that_was_given_twice_is_said_loudly() {
    let (fake, sequencer) = faulty(&[]);
    fake.store.lock().insert(0, (1, vec![]));
    let error = write_one(&sequencer, 0, 1).await.expect_err("a thief");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Never));
}

#[tokio::test]
async fn a_store_that_stays_away_is_given_up() {
    let fake = Arc::new(Fake::default());
    *fake.script.lock() = [vec![Fault::Down; 10_000], vec![Fault::LostAfter]].concat();
    let hand = ManualClock::at(Timestamp::from_secs(1_000));
    let sequencer = Sequencer::new(fake.clone(), Clock::from(hand.clone()));
    let write = tokio::spawn(async move { write_one(&sequencer, 0, 1).await });
    while !write.is_finished() {
        hand.advance(Duration::from_millis(50));
        tokio::task::yield_now().await;
    }
    let error = write.await.expect("ends").expect_err("nobody knows");
    assert_eq!(error.retry(), Retry::Unknown);
}

#[tokio::test]
async fn too_much_waiting_is_refused() {
    let (fake, sequencer) = faulty(&[]);
    let many = sequencer.write(0, 0..MAX_WAITING as u64);
    let (many, one) = tokio::join!(many, write_one(&sequencer, 0, 1));
    assert_eq!(one.expect_err("full").kind(), ErrorKind::Overloaded);
    assert!(many.expect("there was room").iter().all(Result::is_ok));
    assert_eq!(applied(&fake, 0).len(), MAX_WAITING.div_ceil(3));
}

/// The items are few, and large.
#[tokio::test]
async fn too_many_waiting_bytes_are_refused_until_they_are_sent() {
    let (fake, sequencer) = faulty(&[]);
    let large = async || write_one(&sequencer, 0, LARGE).await;
    let [first, second, third, fourth] = [large(), large(), large(), large()];
    let (first, second, third, fourth, small) =
        tokio::join!(first, second, third, fourth, write_one(&sequencer, 1, 1));
    for admitted in [first, second, third] {
        admitted.expect("there was room");
    }
    for refused in [fourth, small] {
        let refused = refused.expect_err("full");
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Overloaded, Retry::Later), "{refused}");
    }
    large().await.expect("there is room again");
    assert_eq!(applied(&fake, 0), [3 * LARGE, LARGE]);
    assert_eq!(applied(&fake, 1), []);
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_flight_is_dropped() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("starts");
    let (fake, sequencer) = faulty(&[[Fault::LostBefore; 1].as_slice(), &[Fault::Down; 100]].concat());
    let mut write = Box::pin(write_one(&sequencer, 0, 1));
    {
        let _within = runtime.enter();
        assert!(futures::poll!(&mut write).is_pending());
    }
    while fake.stamps.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    runtime.shutdown_background();
    let error = write.await.expect_err("nobody knows");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Unknown));
}

/// The host is down: what waits may go elsewhere, and what is in doubt may not.
#[tokio::test]
async fn what_waits_is_refused_and_the_flight_under_way_is_not() {
    let (fake, sequencer) = faulty(&[Fault::LostAfter]);
    let mut first = Box::pin(write_one(&sequencer, 0, 1));
    while fake.flights.lock().is_empty() {
        assert!(futures::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    let mut second = Box::pin(write_one(&sequencer, 0, 2));
    assert!(futures::poll!(&mut second).is_pending());
    sequencer.refuse_waiting(&Error::new(ErrorKind::Unavailable, "down"));
    let refused = second.await.expect_err("refused");
    assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unavailable, Retry::Later));
    first.await.expect("applied, as its second transmission told");
    sequencer.admit_waiting();
    write_one(&sequencer, 0, 4).await.expect("later writes go on");
    assert_eq!(applied(&fake, 0), [1, 4]);
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

/// Time goes on until a future ends.
async fn in_time<T>(hand: &ManualClock, future: impl Future<Output = T>) -> T {
    let time_goes_on = async {
        loop {
            hand.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        value = future => value,
        () = time_goes_on => unreachable!("it has no end"),
    }
}

/// Three of four items are on their way, without an answer or in doubt. The host is down, so that the fourth may go elsewhere.
#[tokio::test]
async fn the_rest_of_a_flight_is_refused_and_nothing_waits_behind_it_while_its_host_is_down() {
    for is_silent in [true, false] {
        let fake = Arc::new(Fake::default());
        let hand = ManualClock::at(Timestamp::from_secs(1_000));
        let sequencer = Sequencer::new(fake.clone(), Clock::from(hand.clone()));
        let answers = Arc::new(Notify::new());
        if is_silent {
            *fake.silent.lock() = Some(answers.clone());
        } else {
            *fake.script.lock() = vec![Fault::Down, Fault::LostBefore];
        }
        let mut writes: Vec<_> = (1..=4).map(|n| Box::pin(write_one(&sequencer, 0, n))).collect();
        let mut both = Box::pin(sequencer.write(0, [10, 20]));
        for write in &mut writes {
            assert!(futures::poll!(write).is_pending());
        }
        assert!(futures::poll!(&mut both).is_pending());
        until(|| !fake.flights.lock().is_empty()).await;
        sequencer.refuse_waiting(&down());
        let refused = in_time(&hand, writes.pop().expect("four")).await.expect_err("not sent");
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unavailable, Retry::Later));
        assert_eq!(in_time(&hand, both).await.expect_err("not sent").retry(), Retry::Later);
        let late = write_one(&sequencer, 1, 9).await.expect_err("the host is down");
        assert_eq!(late.retry(), Retry::Later);
        for write in &mut writes {
            assert!(futures::poll!(write).is_pending(), "its fate is not known");
        }
        sequencer.admit_waiting();
        let mut behind = Box::pin(write_one(&sequencer, 0, 40));
        assert!(futures::poll!(&mut behind).is_pending());
        answers.notify_one();
        let landed = async {
            for write in writes {
                write.await.expect("applied");
            }
            behind.await.expect("the host is back");
        };
        in_time(&hand, landed).await;
        assert_eq!(applied(&fake, 0), [6, 40], "silent: {is_silent}");
    }
}

/// Nothing was sent yet.
#[tokio::test]
async fn a_flight_that_waits_for_a_connection_is_refused_when_its_host_is_down() {
    let (fake, sequencer) = faulty(&[]);
    *fake.connects.lock() = true;
    let mut writes: Vec<_> = (0..5).map(|n| Box::pin(write_one(&sequencer, n % 2, 7))).collect();
    for write in &mut writes {
        assert!(futures::poll!(write).is_pending());
    }
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    sequencer.refuse_waiting(&down());
    for refused in join_all(writes).await {
        assert_eq!(refused.expect_err("not sent").retry(), Retry::Later);
    }
    *fake.connects.lock() = false;
    write_one(&sequencer, 0, 4).await.expect("later writes go on");
    assert_eq!((applied(&fake, 0), fake.flights.lock().len()), (vec![4], 1));
}

/// The batch was sent once, and its connection is being made anew.
#[tokio::test]
async fn a_batch_in_doubt_goes_on_although_its_host_is_down() {
    let (fake, sequencer) = faulty(&[Fault::LostAfter]);
    let mut write = Box::pin(write_one(&sequencer, 0, 7));
    assert!(futures::poll!(&mut write).is_pending());
    until(|| !fake.flights.lock().is_empty()).await;
    *fake.connects.lock() = true;
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    sequencer.refuse_waiting(&down());
    *fake.connects.lock() = false;
    write.await.expect("it was applied the first time");
    assert_eq!(applied(&fake, 0), [7]);
}

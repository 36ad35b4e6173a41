//! The requirements of a lock. Leases follow the engine's clock, so these cases wait for it, with short leases.

use std::time::Duration;

use uuid::Uuid;

use super::fresh;
use crate::{
    bay::Forebay,
    clock::Clock,
    engine::step::{Claim, Claimed},
    model::{Holder, LockState},
    time::{hours, millis, secs},
};

/// A lock of its own, and who asks for it.
struct Party {
    bay: Forebay,
    name: String,
}

impl Party {
    fn new(bay: Forebay) -> Self {
        Self { bay, name: fresh("lock").to_string() }
    }

    async fn claim(&self, owner: Uuid, ttl: Duration, queue: Option<Duration>) -> Claimed {
        self.bay.engine().lock_claim(Claim { name: &self.name, owner, ttl, queue }).await.unwrap()
    }

    /// The fence, if it was granted.
    async fn granted(&self, owner: Uuid) -> Option<u64> {
        fence(self.claim(owner, hours(1), None).await)
    }

    async fn wait(&self, owner: Uuid) -> Claimed {
        self.claim(owner, hours(1), Some(hours(1))).await
    }

    async fn release(&self, owner: Uuid) -> bool {
        self.bay.engine().lock_release(&self.name, owner).await.unwrap()
    }

    async fn renew(&self, owner: Uuid) -> Option<Duration> {
        self.bay.engine().lock_renew(&self.name, owner, None).await.unwrap()
    }

    async fn renew_for(&self, owner: Uuid, ttl: Duration) -> Option<Duration> {
        self.bay.engine().lock_renew(&self.name, owner, Some(ttl)).await.unwrap()
    }

    async fn state(&self) -> LockState {
        self.bay.engine().lock_state(&self.name).await.unwrap()
    }

    fn patience(&self) -> Patience {
        let clock = self.bay.clock().clone();
        Patience { until: clock.monotonic() + secs(60), clock }
    }
}

/// For loops that wait for something: a minute of real time.
struct Patience {
    clock: Clock,
    until: Duration,
}

impl Patience {
    async fn wait(&self, what: &str) {
        assert!(self.clock.monotonic() < self.until, "waited a minute for {what}");
        self.clock.sleep(millis(5)).await;
    }
}

fn fence(claimed: Claimed) -> Option<u64> {
    match claimed {
        Claimed::Granted { fence } => Some(fence),
        Claimed::Held { .. } => None,
    }
}

fn ahead(claimed: Claimed) -> u64 {
    let Claimed::Held { ahead, .. } = claimed else { panic!("granted out of turn") };
    ahead
}

fn owners<const N: usize>() -> [Uuid; N] {
    std::array::from_fn(|_| Uuid::new_v4())
}

pub(super) async fn a_lock_has_one_holder_and_its_fences_increase(bay: Forebay) {
    let (party, mut last) = (Party::new(bay), 0);
    for [one, two] in [owners(), owners(), owners()] {
        let first = party.granted(one).await.unwrap();
        let Claimed::Held { holder, remaining, ahead } = party.claim(two, hours(1), None).await else {
            panic!("held twice")
        };
        assert_eq!((holder, ahead), (one, 0));
        assert!(remaining > hours(1).saturating_sub(secs(60)) && remaining <= hours(1), "{remaining:?}");
        assert!(party.release(one).await);
        let second = party.granted(two).await.unwrap();
        assert!(last < first && first < second, "{last} {first} {second}");
        assert!(second < 1 << 53, "{second}");
        assert!(party.release(two).await);
        last = second;
    }
    assert_eq!(party.state().await, LockState::default());
}

pub(super) async fn a_claim_may_be_repeated(bay: Forebay) {
    let (party, [one, two]) = (Party::new(bay), owners());
    let fence = party.granted(one).await.unwrap();
    assert_eq!(party.granted(one).await, Some(fence));
    for _ in 0..2 {
        assert_eq!(ahead(party.wait(two).await), 0);
        assert_eq!(party.state().await.waiters, 1);
    }
    assert!(party.release(one).await);
    assert!(!party.release(one).await, "released by the first call");
    assert!(party.granted(two).await.unwrap() > fence);
}

pub(super) async fn another_ttl_never_ends_a_lease_sooner(bay: Forebay) {
    let (party, [one, two]) = (Party::new(bay), owners());
    fence(party.claim(one, hours(1), None).await).unwrap();
    assert_eq!(party.renew_for(two, hours(9)).await, None, "only the holder");
    assert_eq!(party.renew_for(one, hours(2)).await, Some(hours(2)));
    assert_eq!(party.renew(one).await, Some(hours(2)), "the ttl stays");
    // The answer to this may be lost, and then the holder relies on two hours.
    let kept = party.renew_for(one, millis(100)).await.unwrap();
    assert!(kept > hours(2).saturating_sub(secs(60)) && kept <= hours(2), "{kept:?}");
    let left = party.state().await.holding.unwrap().remaining;
    assert!(left > hours(2).saturating_sub(secs(60)) && left <= hours(2), "{left:?}");
    let renewed = party.renew(one).await.unwrap();
    assert!(renewed <= hours(2), "{renewed:?}");
    assert!(party.release(one).await);
    assert_eq!(party.renew_for(one, hours(1)).await, None, "what was released is not revived");
}

pub(super) async fn a_lease_runs_out_unless_it_is_renewed(bay: Forebay) {
    let (party, [one, two]) = (Party::new(bay), owners());
    let first = fence(party.claim(one, millis(300), None).await).unwrap();
    let clock = party.bay.clock().clone();
    let (begun, mut renewed) = (clock.monotonic(), 0);
    while clock.monotonic() < begun + millis(600) {
        // On a machine that stalls for 300 ms the lease may run out under it.
        renewed += u32::from(party.renew(one).await == Some(millis(300)));
        clock.sleep(millis(20)).await;
    }
    assert!(renewed > 1);
    let patience = party.patience();
    while party.state().await.holding.is_some() {
        patience.wait("the lease to run out").await;
    }
    assert_eq!(party.renew(one).await, None, "what ran out is not revived");
    assert!(!party.release(one).await);
    assert!(party.granted(two).await.unwrap() > first);
    assert_eq!(party.renew(two).await, Some(hours(1)));
}

pub(super) async fn only_the_holder_renews_and_releases(bay: Forebay) {
    let (party, [one, two]) = (Party::new(bay), owners());
    assert_eq!(party.renew(one).await, None);
    assert!(!party.release(one).await);
    let fence = party.granted(one).await.unwrap();
    assert_eq!(party.renew(two).await, None);
    assert!(!party.release(two).await);
    let state = party.state().await;
    let holding = state.holding.unwrap();
    assert_eq!((holding.holder, holding.fence, state.waiters), (Holder::from_owner(one), fence, 0));
    assert!(holding.held_for < secs(60) && holding.remaining <= hours(1));

    let engine = party.bay.engine();
    assert!(engine.lock_force_release(&party.name).await.unwrap());
    assert!(!engine.lock_force_release(&party.name).await.unwrap());
    assert_eq!(party.renew(one).await, None);
    assert!(!party.release(one).await);
}

pub(super) async fn waiters_are_served_in_order_and_told_by_a_bell(bay: Forebay) {
    let (party, [one, two, three, late]) = (Party::new(bay), owners());
    let engine = party.bay.engine();
    let subscriptions = [engine.lock_subscribe(&party.name, two), engine.lock_subscribe(&party.name, three)];
    party.granted(one).await.unwrap();
    assert_eq!(ahead(party.wait(two).await), 0);
    assert_eq!(ahead(party.wait(three).await), 1);
    assert_eq!(ahead(party.claim(late, hours(1), None).await), 2, "who does not queue is behind all who do");
    assert_eq!(party.state().await.waiters, 2);

    assert!(party.release(one).await);
    subscriptions[0].notified().await;
    assert_eq!(ahead(party.claim(late, hours(1), None).await), 2);
    assert_eq!(ahead(party.wait(three).await), 1);
    let Claimed::Held { holder, remaining, .. } = party.wait(three).await else { panic!("out of turn") };
    assert_eq!((holder, remaining), (two, Duration::ZERO));
    // The first leaves instead: the next one's turn.
    assert!(party.release(two).await);
    subscriptions[1].notified().await;
    party.granted(three).await.unwrap();
    assert_eq!(party.state().await.waiters, 0);
    assert!(engine.lock_force_release(&party.name).await.unwrap());
    party.granted(late).await.unwrap();
}

pub(super) async fn a_dead_waiter_loses_its_place(bay: Forebay) {
    let (party, [one, dead, live]) = (Party::new(bay), owners());
    party.granted(one).await.unwrap();
    // Long enough that a busy machine gets to the next line before it is over.
    assert_eq!(ahead(party.claim(dead, hours(1), Some(secs(1))).await), 0);
    assert_eq!(ahead(party.wait(live).await), 1);
    let patience = party.patience();
    while ahead(party.wait(live).await) > 0 {
        patience.wait("the dead one to be forgotten").await;
    }
    assert_eq!(party.state().await.waiters, 1);
    assert!(party.release(one).await);
    party.granted(live).await.unwrap();
}

pub(super) async fn a_free_lock_waits_a_turn_for_the_first(bay: Forebay) {
    let (party, [one, silent, next]) = (Party::new(bay), owners());
    party.granted(one).await.unwrap();
    party.wait(silent).await;
    party.wait(next).await;
    let freed = party.bay.clock().monotonic();
    assert!(party.release(one).await);
    let patience = party.patience();
    while fence(party.wait(next).await).is_none() {
        patience.wait("the second's turn").await;
    }
    let turn = party.bay.clock().monotonic().saturating_sub(freed);
    assert!(turn >= millis(1_900), "{turn:?}");
    // Its place is kept all the same.
    assert_eq!(party.state().await.waiters, 1);
    assert!(party.release(next).await);
    party.granted(silent).await.unwrap();
}

pub(super) async fn a_lock_may_have_any_name(bay: Forebay) {
    let party = Party::new(bay);
    let suffix = &party.name;
    let names = ["{", "}", "{}", "a}b{c", "%7B", "\r\n", "\0", "日本", ":", &"x".repeat(400)]
        .map(|name| format!("{name}{suffix}"));
    let engine = party.bay.engine();
    for name in &names {
        let claim = Claim { name, owner: Uuid::new_v4(), ttl: hours(1), queue: None };
        assert!(fence(engine.lock_claim(claim).await.unwrap()).is_some(), "{name:?}");
    }
    for name in &names {
        assert!(engine.lock_force_release(name).await.unwrap(), "{name:?}");
    }
}

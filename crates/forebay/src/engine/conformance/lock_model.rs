//! Random lock steps, told to an engine and to a model of it.

use std::time::Duration;

use uuid::Uuid;

use super::{fresh, splitmix::Random};
use crate::{
    bay::Forebay,
    clock::ManualClock,
    engine::step::{Claim, Claimed, HANDOFF_WINDOW},
    model::Holder,
    time::{hours, millis},
};

/// Tells `steps` random steps of five owners to the store and to the model, and compares the answers.
///
/// With the clock of a store in memory, time passes too. Without it leases and places last for an hour.
///
/// # Panics
/// At the first answer that differs, with the seed and the step.
pub async fn locks_follow_the_model(bay: &Forebay, hand: Option<&ManualClock>, seed: u64, steps: usize) {
    let mut random = Random(seed);
    let (name, owners) = (fresh("model").to_string(), [(); 5].map(|()| Uuid::new_v4()));
    let mut model = Model::default();
    for number in 0..steps {
        let owner = *random.pick(&owners);
        let (ttl, patience) = match hand {
            Some(_) => (millis(random.below(9_000) + 100), millis(random.below(9_000) + 1)),
            None => (hours(1), hours(1)),
        };
        let claim = Claim { name: &name, owner, ttl, queue: (random.below(3) > 0).then_some(patience) };
        let context =
            format!("seed {seed}, step {number}, {}", owners.iter().position(|o| *o == owner).unwrap());
        let engine = bay.engine();
        let now = bay.clock().monotonic();
        model.expire(now);
        match random.below(10) {
            0..5 => {
                let claimed = engine.lock_claim(claim).await.unwrap();
                // In real time a turn may pass between the model's look and the engine's.
                let stalled =
                    hand.is_none() && bay.clock().monotonic() > model.free_since + HANDOFF_WINDOW / 2;
                model.claim(claim, &claimed, now, stalled, &context);
            }
            5 => {
                let renewed = engine.lock_renew(&name, owner, None).await.unwrap();
                assert_eq!(renewed, model.renew(owner, now), "{context} renews");
            }
            6 | 7 => {
                let released = engine.lock_release(&name, owner).await.unwrap();
                let is_owner = |other| other == owner;
                assert_eq!(released, model.release(is_owner, is_owner, now), "{context} releases");
            }
            8 if random.below(4) == 0 => {
                let released = engine.lock_force_release(&name).await.unwrap();
                assert_eq!(released, model.release(|_| true, |_| false, now), "{context} forces");
            }
            _ => {
                if let Some(hand) = hand {
                    hand.advance(millis(random.below(2_500)));
                }
            }
        }
        model.expire(bay.clock().monotonic());
        let state = engine.lock_state(&name).await.unwrap();
        let seen = state.holding.map(|holding| (holding.holder, holding.fence));
        let expected = model.holder.map(|hold| (Holder::from_owner(hold.owner), model.fence));
        assert_eq!(seen, expected, "{context}: holder");
        assert_eq!(state.waiters, model.queue.len() as u64, "{context}: waiters");
    }
}

#[derive(Debug, Default)]
struct Model {
    holder: Option<Hold>,
    free_since: Duration,
    /// Owners, and by when each has to be heard of.
    queue: Vec<(Uuid, Duration)>,
    fence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    owner: Uuid,
    ttl: Duration,
    until: Duration,
}

impl Model {
    fn expire(&mut self, now: Duration) {
        if let Some(hold) = self.holder.filter(|hold| hold.until <= now) {
            (self.holder, self.free_since) = (None, hold.until);
        }
        self.queue.retain(|(_, until)| *until > now);
    }

    fn claim(&mut self, claim: Claim<'_>, claimed: &Claimed, now: Duration, stalled: bool, context: &str) {
        let Claim { owner, ttl, queue, .. } = claim;
        let place = self.queue.iter().position(|(o, _)| *o == owner).unwrap_or(self.queue.len());
        let turn = self.free_since + HANDOFF_WINDOW * u32::try_from(place).unwrap();
        let again = self.holder.is_some_and(|hold| hold.owner == owner);
        let free = self.holder.is_none();
        let granted = match claimed {
            Claimed::Granted { fence } => {
                assert!(again && *fence == self.fence || !again && *fence > self.fence, "{context}: fence");
                self.fence = *fence;
                true
            }
            Claimed::Held { holder, ahead, .. } => {
                let first = self.holder.map(|hold| hold.owner).or(self.queue.first().map(|(o, _)| *o));
                assert_eq!((Some(*holder), *ahead), (first, place as u64), "{context}: held");
                false
            }
        };
        let expected = again || free && (self.queue.is_empty() || turn <= now);
        assert!(granted == expected || free && stalled, "{context}: granted {granted}");
        if granted {
            self.queue.retain(|(o, _)| *o != owner);
            self.holder = Some(Hold { owner, ttl, until: now + ttl });
        } else if let Some(patience) = queue {
            if place == self.queue.len() {
                self.queue.push((owner, Duration::ZERO));
            }
            self.queue[place].1 = now + patience;
        }
    }

    fn renew(&mut self, owner: Uuid, now: Duration) -> Option<Duration> {
        let hold = self.holder.as_mut().filter(|hold| hold.owner == owner)?;
        hold.until = now + hold.ttl;
        Some(hold.ttl)
    }

    fn release(&mut self, holds: impl Fn(Uuid) -> bool, waits: impl Fn(Uuid) -> bool, now: Duration) -> bool {
        let held = self.holder.take_if(|hold| holds(hold.owner)).is_some();
        if held {
            self.free_since = now;
        }
        let waiting = self.queue.len();
        self.queue.retain(|(owner, _)| !waits(*owner));
        held || self.queue.len() < waiting
    }
}

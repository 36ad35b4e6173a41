//! Locks with the mistakes of locks that people write: the checker of histories finds each of them.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use forebay::{Clock, time::millis};
use forebay_testkit::{Hold, LockHistory, Random, Redis, Reply, Violation};

use crate::history::{Subject, TTL, call, stay};

/// A lock of one key, whose answers come late.
#[derive(Debug)]
pub(crate) struct Planted {
    server: Redis,
    mistake: Option<Mistake>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// A release deletes the key, whoever holds the lock by then.
    ReleasesOthers,
    /// The fence is counted in a key beside the lock, and goes when the store is emptied.
    CountsFences,
    /// The deadline is a ttl after the answer, not after the question.
    TrustsTheAnswer,
}

const TAKE: &str = "if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
    if ARGV[3] == 'count' then return redis.call('INCR', KEYS[1] .. ':fence') end
    local time = redis.call('TIME') return time[1] * 1000000 + time[2]";

const GIVE: &str =
    "if ARGV[2] == 'any' or redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

impl Planted {
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Holds the lock for a while, if it is free soon.
    pub(crate) async fn hold(&self, clock: &Clock, random: &mut Random) -> Option<Hold> {
        let (owner, ttl) = (random.below(u64::MAX).to_string(), TTL.as_millis().to_string());
        let fences = if self.makes(Mistake::CountsFences) { "count" } else { "time" };
        for _ in 0..20 {
            let asked = clock.monotonic();
            let reply = self.server.command(["EVAL", TAKE, "1", "section", &owner, &ttl, fences]);
            clock.sleep(millis(random.below(200))).await;
            let Reply::Integer(fence) = reply else { panic!("not a fence: {reply:?}") };
            if fence == 0 {
                continue;
            }
            let from = clock.monotonic();
            let sent = if self.makes(Mistake::TrustsTheAnswer) { from } else { asked };
            let until = stay(clock, random, sent + TTL.mul_f64(0.98)).await;
            let whose = if self.makes(Mistake::ReleasesOthers) { "any" } else { "own" };
            self.server.command(["EVAL", GIVE, "1", "section", &owner, whose]);
            let fence = u64::try_from(fence).expect("positive");
            return Some(Hold { fence, asked, from, until }).filter(|hold| hold.until > hold.from);
        }
        None
    }
}

/// A round in which the store is emptied once.
async fn round(mistake: Option<Mistake>, seed: u64) -> LockHistory {
    let server = tokio::task::block_in_place(Redis::start);
    let (planted, clock) = (Arc::new(Planted { server, mistake }), Clock::system());
    let over = Arc::new(AtomicBool::new(true));
    let callers: Vec<_> = (0..6_u64)
        .map(|number| {
            let subject = Subject::Planted(planted.clone());
            tokio::spawn(call(subject, clock.clone(), Random::new(seed * 100 + number), over.clone()))
        })
        .collect();
    clock.sleep(Duration::from_secs(2)).await;
    let begun = clock.monotonic();
    planted.server.command(["FLUSHALL"]);
    let mut history = LockHistory::default();
    history.losses.push(begun..clock.monotonic());
    for caller in callers {
        history.extend(caller.await.expect("no panic"));
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_of_locks_are_found_and_none_where_none_is() {
    for seed in 1..=20 {
        let mistakes = [Mistake::ReleasesOthers, Mistake::CountsFences, Mistake::TrustsTheAnswer];
        let all = [None, Some(mistakes[0]), Some(mistakes[1]), Some(mistakes[2])];
        let rounds = all.map(|mistake| tokio::spawn(round(mistake, seed)));
        let mut found = vec![];
        for task in rounds {
            found.push(task.await.expect("no panic").violations());
        }
        assert_eq!(found[0], [], "a lock without a mistake");
        let has = |violations: &[Violation], wanted: fn(&Violation) -> bool| violations.iter().any(wanted);
        let are_found = [
            has(&found[1], |violation| matches!(violation, Violation::TwoHolders(..))),
            has(&found[2], |violation| matches!(violation, Violation::Fence(..))),
            has(&found[3], |violation| matches!(violation, Violation::TwoHolders(..))),
        ];
        if are_found == [true; 3] {
            return;
        }
    }
    panic!("a mistake was not found in twenty rounds");
}

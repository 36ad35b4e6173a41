//! Plain commands, many in one go.

use super::fresh;
use crate::{
    bay::Forebay,
    cluster::{Fate, Map, Ticket},
    error::{ErrorKind, Retry},
    time::{days, mins, secs},
};

/// A map that waits for a busy machine.
fn a_map(bay: &Forebay) -> Map {
    bay.cluster().map().deadline(mins(1))
}

/// Nydus files answers under a hash of the command: three times `incr a` in one map all answer 3.
pub(super) async fn the_same_command_twice_is_two_commands(bay: Forebay) {
    let key = fresh("map").to_string();
    let mut map = a_map(&bay);
    let tickets = [(); 3].map(|()| map.incr(&key, 1));
    let answers = map.run().await;
    assert_eq!(tickets.map(|ticket| answers.get(ticket).unwrap()), [1, 2, 3]);
}

/// Nydus sends a map as one transaction and fails all of a host's commands for one that is refused, though the
/// server executed them; rb leaves every later answer unread.
pub(super) async fn one_bad_command_costs_only_its_own_ticket(bay: Forebay) {
    let name = fresh("map");
    let key = |what: &str| format!("{{{name}}}:{what}");
    let mut map = a_map(&bay);
    let before = map.incr(key("a"), 1);
    let set = map.set(key("text"), "not a number");
    let bad = map.incr(key("text"), 1);
    let odd = map.get::<Option<i64>>(key("text"));
    let long = map.expire(key("a"), days(40_000));
    let after = map.incr(key("b"), 1);
    let answers = map.run().await;

    assert_eq!((answers.get(before).unwrap(), answers.get(after).unwrap()), (1, 1));
    answers.get(set).unwrap();
    let refused = answers.get(bad).unwrap_err();
    assert_eq!((refused.fate(), refused.retry()), (Fate::Rejected, Retry::Never));
    assert!(refused.to_string().starts_with("incr \""), "{refused}");
    assert_eq!(answers.get(odd).unwrap_err().fate(), Fate::Unreadable);
    let refused = answers.get(long).unwrap_err();
    assert_eq!((refused.fate(), refused.cause().kind()), (Fate::NotSent, ErrorKind::OutOfRange));
    assert!(!answers.is_complete());
    assert_eq!(answers.failed().count(), 2);
    let (commands, failed) =
        answers.hosts().fold((0, 0), |sum, host| (sum.0 + host.commands, sum.1 + host.failed));
    assert_eq!((commands, failed), (6, 2));
}

pub(super) async fn tickets_keep_their_order(bay: Forebay) {
    let name = fresh("map");
    let keys: Vec<String> = (0..2_000).map(|i| format!("{name}:{i}")).collect();
    let mut map = a_map(&bay);
    for (i, key) in keys.iter().enumerate() {
        map.set(key, i);
    }
    assert!(map.run().await.is_complete());
    let mut map = a_map(&bay);
    let gets: Vec<Ticket<Option<usize>>> = keys.iter().map(|key| map.get(key)).collect();
    let answers = map.run().await;
    for (i, get) in gets.into_iter().enumerate() {
        assert_eq!(answers.get(get).unwrap(), Some(i));
        assert_eq!(answers.host(get).unwrap(), &*bay.cluster().route(&keys[i]).host);
    }
}

pub(super) async fn values_come_back_as_they_went(bay: Forebay) {
    let every_byte: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    for value in [&b""[..], b"0", b"\r\n$-1\r\n", &every_byte] {
        let key = [fresh("map").as_str().as_bytes(), value.get(..9).unwrap_or_default()].concat();
        let mut map = a_map(&bay);
        let nothing = map.get::<Option<Vec<u8>>>(&key);
        map.set(&key, value);
        let set = map.get::<Vec<u8>>(&key);
        let there = map.del(&key);
        let gone = map.del(&key);
        let answers = map.run().await;
        assert_eq!(answers.get(nothing).unwrap(), None);
        assert_eq!(answers.get(set).unwrap(), value);
        assert_eq!((answers.get(there).unwrap(), answers.get(gone).unwrap()), (true, false));
    }
}

pub(super) async fn an_integer_counts_to_its_bounds(bay: Forebay) {
    let key = fresh("map").to_string();
    let mut map = a_map(&bay);
    let most = map.incr(&key, i64::MAX);
    let beyond = map.incr(&key, 1);
    let back = map.incr(&key, i64::MIN);
    let least = map.incr(&key, i64::MIN + 1);
    let answers = map.run().await;
    assert_eq!(answers.get(most).unwrap(), i64::MAX);
    assert_eq!(answers.get(beyond).unwrap_err().fate(), Fate::Rejected);
    assert_eq!(answers.get(back).unwrap(), -1);
    assert_eq!(answers.get(least).unwrap(), i64::MIN);
}

pub(super) async fn a_ttl_of_zero_removes_at_once(bay: Forebay) {
    let key = fresh("map").to_string();
    let mut map = a_map(&bay);
    let missing = map.expire(&key, secs(10));
    map.set(&key, "x");
    let kept = map.expire(&key, days(36_500));
    let there = map.get::<Option<String>>(&key);
    let removed = map.expire(&key, secs(0));
    let gone = map.get::<Option<String>>(&key);
    let answers = map.run().await;
    assert_eq!([missing, kept, removed].map(|ticket| answers.get(ticket).unwrap()), [false, true, true]);
    assert_eq!(answers.get(there).unwrap().as_deref(), Some("x"));
    assert_eq!(answers.get(gone).unwrap(), None);
}

pub(super) async fn a_ticket_of_another_map_has_no_answer(bay: Forebay) {
    let key = fresh("map").to_string();
    let (mut one, mut two) = (a_map(&bay), a_map(&bay));
    let ticket = one.incr(&key, 1);
    let _ = two.incr(&key, 1);
    let answers = two.run().await;
    assert_eq!(answers.get(ticket).unwrap_err().fate(), Fate::NotSent);
    assert_eq!(answers.host(ticket), None);
}

pub(super) async fn many_values_are_written_and_read_in_order(bay: Forebay) {
    let name = fresh("map");
    let keys: Vec<String> = (0..100).map(|i| format!("{name}:{i}")).collect();
    let mut map = a_map(&bay);
    let set = map.mset(keys.iter().zip(0..99));
    let read = map.mget::<Option<i64>>(&keys);
    let answers = map.run().await;
    assert_eq!(set.len(), 99);
    for ticket in set {
        answers.get(ticket).unwrap();
    }
    let read: Vec<_> = read.into_iter().map(|ticket| answers.get(ticket).unwrap()).collect();
    assert_eq!(read, (0..99).map(Some).chain([None]).collect::<Vec<_>>());
}

//! Hosts join and leave while two servers take hits. The process that moves slots dies at each of its steps, and is stopped while
//! another one takes over. A server is stopped in each phase. Every part counts each accepted hit once.

use forebay_testkit::{wait_until, without};

use super::{
    parts::{Hosts, Run, Tally, World, wanted},
    process::Process,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The steps at which the process dies, each for the first time and later.
const POINTS: [&str; 9] = [
    "reshard_after_arbiter",
    "reshard_after_store:2",
    "reshard_after_store:4",
    "reshard_after_store:5",
    "reshard_before_copy",
    "reshard_after_copy:4",
    "reshard_before_purge",
    "reshard_after_purge:2",
    "reshard_after_arbiter:6",
];

struct Mover<'a> {
    run: &'a Run<'a>,
    world: &'a World,
    hosts: &'a Hosts,
}

impl Mover<'_> {
    /// Begins to move slots to the hosts of these names.
    fn start(&self, names: &str, failpoint: Option<&str>) -> Process {
        let listed = NAMES.iter().zip(&self.hosts.redis).filter(|(name, _)| names.contains(**name));
        let to: Vec<String> = listed.map(|(name, redis)| format!("{name}={}", redis.url())).collect();
        let mut args = vec!["cluster", "reshard", "--take-over", "--to"];
        args.extend(to.iter().map(String::as_str));
        Process::start_with(self.world.dir.path(), failpoint, &args)
    }

    /// Moves all slots.
    fn finish(&self, names: &str) {
        let (code, log) = self.start(names, None).end();
        assert_eq!(code, 0, "{log}");
    }

    /// Sends a signal to a server.
    fn signal(&self, nth: usize, signal: &str) {
        let server = self.run.servers[nth % 2].lock().expect("no caller panics");
        server.0.as_ref().expect("it runs").signal(signal);
    }
}

#[test]
fn hits_count_once_while_hosts_join_and_leave() {
    if without("redis") {
        return;
    }
    let hosts = Hosts::new(4);
    let world = World::new(None, &hosts.config());
    let run = Run::new(&world, &hosts, wanted());
    let (tally, _) = run.during(|run| {
        let mover = Mover { run, world: &world, hosts: &hosts };
        let more = |hits: u64| {
            let wanted = run.done() + hits;
            wait_until("more hits", || run.done() >= wanted);
        };
        more(50);
        for (nth, point) in POINTS.iter().enumerate() {
            // To four hosts, and back to three.
            let names = if nth % 4 < 2 { "abcd" } else { "acd" };
            mover.signal(nth, "STOP");
            let (code, log) = mover.start(names, Some(point)).end();
            mover.signal(nth, "CONT");
            assert!(code != 2, "{point}: {log}");
            more(10);
        }
        mover.finish("abcd");
        more(20);

        // Stopped in the middle, and displaced.
        let stopped = mover.start("acd", None);
        more(5);
        stopped.signal("STOP");
        mover.finish("acd");
        more(20);
        stopped.signal("CONT");
        let (code, log) = stopped.end();
        assert!(code == 2 || code == 0, "{log}");
        more(20);
    });
    assert_eq!(Tally::total(&tally.unknown), 0, "{:#?}", tally.lines);
    tally.check(&world);
}

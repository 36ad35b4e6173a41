//! The processes of a command.

use std::{fs, num::NonZeroI32};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};

/// A command and the processes that it started.
///
/// These are the members of its process group, if it has its own, and the descendants of its first process, also those that
/// left the group, as `timeout` does. A process that left the group and whose parent ended before it was seen, such as a
/// daemon, no longer belongs to the command.
///
/// The first process must not be reaped while this is in use, so that no other process can get its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tree {
    /// The first process.
    leader: NonZeroI32,
    /// Whether the leader has its own process group, with its pid.
    has_group: bool,
    /// When the leader started, in clock ticks since boot. `None` on a system without `/proc`.
    since: Option<u64>,
    /// The running descendants that were seen by this process.
    #[serde(skip)]
    known: Vec<Process>,
}

/// A process in `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    since: u64,
    has_ended: bool,
}

/// How often to search for descendants that started during the previous search.
const MAX_ROUNDS: usize = 32;

impl Tree {
    /// A command whose first process runs, or has ended and is not reaped.
    pub(super) fn of(leader: Pid, has_group: bool) -> Self {
        let since = Process::read(leader.as_raw_pid()).map(|process| process.since);
        Self { leader: leader.as_raw_nonzero(), has_group, since, known: vec![] }
    }

    fn leader(&self) -> Pid {
        Pid::from_raw(self.leader.get()).expect("it is not zero")
    }

    /// Sends a signal to the group, or to the first process if there is no group.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.is_mine() {
            return;
        }
        // A process that has ended needs no signal.
        let _ = if self.has_group {
            kill_process_group(self.leader(), signal)
        } else {
            kill_process(self.leader(), signal)
        };
    }

    /// Terminates all its processes.
    pub(super) fn terminate(&mut self) {
        let all = self.scan();
        let group = self.group(&all);
        self.signal(Signal::TERM);
        for process in &self.known {
            let is_member = process.group == group;
            // A process that left the group forwards the signal to its own children.
            let has_left = || all.iter().any(|of| of.pid == process.parent && of.group == group);
            if if is_member { !self.has_group } else { has_left() } {
                process.signal(Signal::TERM);
            }
        }
    }

    /// Kills all its processes.
    pub(super) fn kill(&mut self) {
        // A process whose parent was killed cannot be found. So they are stopped first, and start no others.
        self.signal(Signal::STOP);
        let mut stopped: Vec<Process> = vec![];
        for _ in 0..MAX_ROUNDS {
            self.scan();
            let is_new = |process: &&Process| !stopped.iter().any(|one| one.is(process));
            let new: Vec<Process> = self.known.iter().filter(is_new).copied().collect();
            if new.is_empty() {
                break;
            }
            for process in &new {
                process.signal(Signal::STOP);
            }
            stopped.extend(new);
        }
        self.signal(Signal::KILL);
        for process in &self.known {
            process.signal(Signal::KILL);
        }
    }

    /// Whether none of its processes runs any more.
    pub(super) fn has_ended(&mut self) -> bool {
        let all = self.scan();
        if all.is_empty() {
            return !self.has_group || test_kill_process_group(self.leader()).is_err();
        }
        let (pid, is_mine) = (self.leader.get(), self.is_mine());
        let is_of_group = |process: &Process| self.has_group && is_mine && process.group == pid;
        let is_leader = |process: &Process| process.pid == pid && Some(process.since) == self.since;
        let runs = |process: &Process| !process.has_ended && (is_leader(process) || is_of_group(process));
        self.known.is_empty() && !all.iter().any(runs)
    }

    /// Whether the leader's pid still belongs to the command, and not to another process.
    fn is_mine(&self) -> bool {
        let found = Process::read(self.leader.get());
        found.is_none_or(|process| Some(process.since) == self.since)
    }

    /// The process group of the command.
    fn group(&self, all: &[Process]) -> i32 {
        let pid = self.leader.get();
        let leader = all.iter().find(|process| process.pid == pid);
        leader.map_or(pid, |leader| leader.group)
    }

    /// Finds the descendants of the leader; returns all processes.
    fn scan(&mut self) -> Vec<Process> {
        let all = processes();
        self.known.retain(|known| all.iter().any(|now| now.is(known) && !now.has_ended));
        let leader = self.is_mine().then(|| self.leader.get());
        let mut parents: Vec<i32> = self.known.iter().map(|known| known.pid).chain(leader).collect();
        while let Some(parent) = parents.pop() {
            for child in all.iter().filter(|process| process.parent == parent && !process.has_ended) {
                if !self.known.iter().any(|known| known.is(child)) {
                    self.known.push(*child);
                    parents.push(child.pid);
                }
            }
        }
        all
    }
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Reads a line of `/proc/PID/stat`. The name in brackets may contain any character.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
        let number = |place: usize| fields.get(place)?.parse().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            parent: number(1)?,
            group: number(2)?,
            since: fields.get(19)?.parse().ok()?,
        })
    }

    fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.since == other.since
    }

    /// Sends a signal, unless another process has the pid now.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid)
            && Self::read(self.pid).is_some_and(|now| now.is(self))
        {
            let _ = kill_process(pid, signal);
        }
    }
}

/// All visible processes; none on a system without `/proc`.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "17 (a) S 1 (b)) Z 4 5 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876 1 2";
        let process = Process { pid: 17, parent: 4, group: 5, since: 9876, has_ended: true };
        assert_eq!(Process::parse(stat), Some(process));
        for bad in ["", "17", "17 (a", "17 (a) S 1", "x (a) S 1 2 3"] {
            assert_eq!(Process::parse(bad), None, "{bad}");
        }
        let me = Process::read(std::process::id().cast_signed());
        assert!(me.is_some_and(|me| !me.has_ended), "{me:?}");
    }

    #[test]
    fn a_tree_is_told_to_another_process() {
        let leader = NonZeroI32::new(17).expect("not zero");
        for (has_group, since) in [(true, Some(9)), (false, Some(1)), (true, None)] {
            let tree = Tree { leader, has_group, since, known: vec![] };
            let text = serde_json::to_string(&tree).expect("a tree is plain data");
            assert_eq!(serde_json::from_str::<Tree>(&text).expect(&text), tree);
        }
        for bad in
            [r#"{"leader":0,"has_group":true,"since":1}"#, r#"{"leader":17,"has_group":true,"since":"x"}"#]
        {
            assert!(serde_json::from_str::<Tree>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_that_another_process_has_now_is_left_alone() {
        let me = NonZeroI32::new(std::process::id().cast_signed()).expect("not zero");
        let mut tree = Tree { leader: me, has_group: false, since: Some(1), known: vec![] };
        tree.signal(Signal::KILL);
        tree.kill();
        assert!(tree.has_ended());
    }
}

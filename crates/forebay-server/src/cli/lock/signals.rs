//! The signals that go to the command.

use std::{fs, future::poll_fn, task::Poll};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// The signals that end a process unless it handles them.
///
/// Not those that tell of a fault of this very process (SEGV, BUS, ILL, FPE), nor KILL and the real-time ones: they end
/// the wrapper, and the watchdog ends the command. Not PIPE, which this process ignores and causes itself.
const FORWARDED: &[Signal] = &[
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TRAP,
    Signal::ABORT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::SYS,
    #[cfg(target_os = "linux")]
    Signal::POWER,
    #[cfg(all(target_os = "linux", not(any(target_arch = "mips64", target_arch = "sparc64"))))]
    Signal::STKFLT,
];

/// Those that a terminal sends to all of its foreground group.
pub(super) const OF_TERMINAL: &[Signal] = &[Signal::HUP, Signal::INT, Signal::QUIT];

/// Listens for signals, which no longer end this process then.
#[derive(Debug)]
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Listens for all that would end this process.
    ///
    /// One that is ignored, as `nohup` has it for HUP, stays so, here and in the command. Not INT and QUIT: shells without
    /// job control ignore them in the background, which nobody asked for who sends one.
    pub(super) fn listen() -> Result<Self> {
        let ignored = ignored();
        let is_ignored = |signal: Signal| ignored >> (signal.as_raw() - 1) & 1 == 1;
        let is_wanted =
            |signal: &&Signal| matches!(**signal, Signal::INT | Signal::QUIT) || !is_ignored(**signal);
        let wanted = FORWARDED.iter().filter(is_wanted);
        let listen = |wanted: &Signal| {
            let listener = signal(SignalKind::from_raw(wanted.as_raw()));
            listener.map(|listener| (*wanted, listener)).context("listening for signals")
        };
        wanted.map(listen).collect::<Result<_>>().map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, listener) in &mut self.0 {
                if let Poll::Ready(Some(())) = listener.poll_recv(context) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The exit status of what a signal ended, as a shell has it.
pub(super) fn exit_status(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

/// The signals that this process was started with as ignored, the first as the lowest bit.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

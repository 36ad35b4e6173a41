//! The signals that are forwarded to the command.

use std::{fs, future::poll_fn, task::Poll};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// The signals that end a process unless it handles them.
///
/// Without those for a fault of this process (SEGV, BUS, ILL, FPE), KILL and the real-time signals: they end the wrapper, and
/// the watchdog ends the command. Without PIPE, which this process ignores and causes itself.
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

/// The signals that a terminal sends to its foreground group.
pub(super) const OF_TERMINAL: &[Signal] = &[Signal::HUP, Signal::INT, Signal::QUIT];

/// Handles signals, so that they do not end this process.
#[derive(Debug)]
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Handles all signals that would end this process.
    ///
    /// An ignored signal, such as HUP under `nohup`, stays ignored, here and in the command. INT and QUIT are handled even so:
    /// shells without job control ignore them in the background, but a user who sends one wants an effect.
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

    /// The next signal.
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

/// The exit status of a shell for a process that a signal ended.
pub(super) fn exit_status(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

/// The mask of the signals that were ignored when this process started.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

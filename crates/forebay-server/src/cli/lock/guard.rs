//! The watchdog: ends the command when the process that holds the lock does not.
//!
//! It is a process of its own, in a session of its own: what ends or stops the wrapper does not reach it. It reads
//! orders from a pipe. When the pipe ends without [`Order::Done`], the wrapper is gone; when the deadline passes,
//! the wrapper does not run. Either way the command is asked to end, and killed before somebody else may hold the lock.

use std::{
    fmt,
    io::{BufRead, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Result;
use forebay::{
    Clock,
    time::{millis, secs},
};
use rustix::process::setsid;
use tokio::sync::mpsc;

use super::{boot, signals::Signals, tree::Tree};

/// The name of the command that this is.
pub(super) const NAME: &str = "lock-watchdog";

/// What it says when it begins to end the command.
pub(super) const ENDING: &str = "ending";

/// How long the command may take to end once the wrapper is gone, if its lease lasts that long.
const HURRY: Duration = secs(5);

/// How long it waits at once. The machine may sleep meanwhile, and the lease goes on.
const LOOK: Duration = secs(1);

/// How often it looks whether the command has ended: that reads all of `/proc`.
const PAUSE: Duration = millis(30);

/// How long it makes sure that what it killed is gone.
const AFTER: Duration = secs(2);

/// End COMMAND if the process that holds the lock does not
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {}

/// What the wrapper tells its watchdog: a line of text each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Which command to watch.
    Watch(Tree),
    /// When to ask it to end, and when to kill it, on the boot clock.
    Until { ask: Duration, kill: Duration },
    /// The wrapper has asked it to end.
    Asked,
    /// There is nothing to watch any more.
    Done,
}

pub(in crate::cli) fn run(_: &Args) -> Result<ExitCode> {
    // Fails only for the leader of a group, which is out of the wrapper's reach as well.
    let _ = setsid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // It ends with the wrapper. What is sent to all of a service's processes must not end it before.
        let _signals = Signals::listen()?;
        let (send, orders) = mpsc::unbounded_channel();
        thread::Builder::new().name("orders".to_owned()).spawn(move || read(&send))?;
        tell("ready");
        Watch::new(orders).run().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Hands on the orders, until there are no more.
fn read(send: &mpsc::UnboundedSender<Order>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if let Some(order) = Order::parse(&line)
            && send.send(order).is_err()
        {
            return;
        }
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The wrapper may be gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What is known of the command.
struct Watch {
    orders: mpsc::UnboundedReceiver<Order>,
    clock: Clock,
    tree: Option<Tree>,
    ask: Duration,
    kill: Duration,
    is_asked: bool,
}

/// What ends a wait for orders.
enum Next {
    Again,
    /// There is nothing to do any more.
    Done,
    /// The wrapper is gone.
    Gone,
    Late,
}

impl Watch {
    fn new(orders: mpsc::UnboundedReceiver<Order>) -> Self {
        let (ask, kill) = (Duration::MAX, Duration::MAX);
        Self { orders, clock: Clock::system(), tree: None, ask, kill, is_asked: false }
    }

    async fn run(mut self) {
        loop {
            let until = match (&self.tree, self.is_asked) {
                (None, _) => Duration::MAX,
                (_, true) => self.kill,
                (_, false) => self.ask,
            };
            match self.next(until).await {
                Next::Again => {}
                Next::Done => return,
                Next::Gone | Next::Late => break,
            }
        }
        if let Some(tree) = self.tree.take() {
            tell(ENDING);
            self.end(tree).await;
        }
    }

    /// Takes the next order, or waits until then.
    async fn next(&mut self, until: Duration) -> Next {
        let left = until.saturating_sub(boot::now());
        tokio::select! {
            // An order that has come counts, also if it is read late.
            biased;
            order = self.orders.recv() => match order {
                None => Next::Gone,
                Some(Order::Done) => Next::Done,
                Some(order) => {
                    self.take(order);
                    Next::Again
                }
            },
            () = self.clock.sleep(left.min(LOOK)) => {
                if boot::now() < until { Next::Again } else { Next::Late }
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Watch(tree) => self.tree = Some(tree),
            Order::Until { ask, kill } => {
                (self.ask, self.kill) = (ask, kill);
                tell("ok");
            }
            Order::Asked => self.is_asked = true,
            Order::Done => {}
        }
    }

    /// Asks the command to end if there is time for it, and kills what is left.
    async fn end(&mut self, mut tree: Tree) {
        let kill = self.kill.min(boot::now() + HURRY);
        if !self.is_asked && boot::now() < kill {
            tree.terminate();
        }
        while boot::now() < kill && !tree.has_ended() {
            // The wrapper may be back, and be done with it.
            if self.orders.try_recv() == Ok(Order::Done) {
                return;
            }
            self.clock.sleep(PAUSE.min(kill.saturating_sub(boot::now()))).await;
        }
        let until = boot::now() + AFTER;
        loop {
            tree.kill();
            if tree.has_ended() || boot::now() > until {
                return;
            }
            self.clock.sleep(PAUSE).await;
        }
    }
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let first = words.next()?;
        let mut time = || words.next()?.parse().ok().map(Duration::from_micros);
        Some(match first {
            "until" => Self::Until { ask: time()?, kill: time()? },
            "asked" => Self::Asked,
            "done" => Self::Done,
            "watch" => Self::Watch(Tree::from_words(words)?),
            _ => return None,
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch(tree) => write!(f, "watch {}", tree.to_words()),
            Self::Until { ask, kill } => write!(f, "until {} {}", ask.as_micros(), kill.as_micros()),
            Self::Asked => f.write_str("asked"),
            Self::Done => f.write_str("done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        let tree = Tree::from_words("17 group 9".split(' ')).expect("a tree");
        let until = Order::Until { ask: millis(1_500), kill: millis(2_000) };
        for order in [Order::Watch(tree), until, Order::Asked, Order::Done] {
            assert_eq!(Order::parse(&order.to_string()), Some(order));
        }
        for bad in ["", "watch", "watch 0 group", "until 1", "until 1 x", "end"] {
            assert_eq!(Order::parse(bad), None, "{bad}");
        }
    }
}

//! Locks with leases and fencing tokens: one holder at a time, and a number that orders the holders.
//!
//! The store grants a lock for a *ttl*. A background task renews it while its [`Guard`] lives. After a holder is killed, or
//! loses its connection to the store, the lock stays held for at most one ttl.
//!
//! # Guarantees
//!
//! While the store keeps the key and its clock does not jump forward, the holder's own deadline passes before anybody else
//! can acquire the lock. [`Guard::remaining`], [`Guard::is_held`] and [`Guard::lost`] follow that deadline. It counts from
//! the instant *before* the claim or renewal was sent, less 1 % of the ttl and 2 ms for clocks that run at different rates.
//! So a slow network makes it earlier, never later.
//!
//! Each acquisition has a [fence](Guard::fence) that is larger than all earlier ones of that lock. It is at least the store's
//! time in microseconds, so it still grows after the store lost all data, unless the store's clock is then behind the last
//! grant.
//!
//! # What a lock cannot do
//!
//! A process may be stopped (SIGSTOP, a virtual machine that is moved, a long page fault) between checking its guard and
//! acting on it. No lease protects from that. The resource does, if it refuses a fence smaller than one it has seen:
//!
//! ```sql
//! UPDATE report SET body = $2, fence = $1 WHERE id = 7 AND fence < $1
//! ```
//!
//! # Waiting
//!
//! The lock is granted in the order in which the waiters' first claims reached the store. A waiter that sends no claim for
//! 5 s loses its place. A free lock is kept for the first waiter for 2 s; then the second may take it as well.

mod acquire;
mod guard;
mod handle;
mod lease;
mod manager;
mod outcome;

pub use guard::Guard;
pub use handle::{DEFAULT_TTL, LockHandle, MAX_TTL, MIN_TTL};
pub use lease::{Lease, Renewal, Token};
pub(crate) use manager::LockManager;
pub use outcome::{Attempt, Release};

pub use crate::{
    held_lease::Loss,
    model::{Holder, Holding, LockState},
};

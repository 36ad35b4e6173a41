//! Leases with fencing tokens: one holder at a time, and a number that proves who came later.
//!
//! A lock is held for a *ttl* and renewed in the background for as long as its [`Guard`] lives. A holder that is
//! killed, or cut off from the store, holds it for one ttl more and no longer.
//!
//! # Guarantees
//!
//! While the store keeps the key and its clock does not jump forward, a holder's own deadline, which is what
//! [`Guard::remaining`], [`Guard::is_held`] and [`Guard::lost`] go by, comes before anybody else's start. The deadline
//! counts from the instant *before* the claim or renewal was sent, less 1 % of the ttl and 2 ms for clocks that do not
//! run equally fast, so a slow network makes it earlier, never later.
//!
//! Every hold has a [fence](Guard::fence) larger than those of all holds of that lock before it. It is at least the
//! store's time in microseconds, so it is larger also after the store lost everything, unless the store's clock is
//! then behind the last grant.
//!
//! # What a lock cannot do
//!
//! A process may be stopped (SIGSTOP, a virtual machine that is moved, a long page fault) between looking at its
//! guard and acting on it. No lease protects from that. What does is the resource refusing a fence smaller than one it
//! has seen:
//!
//! ```sql
//! UPDATE report SET body = $2, fence = $1 WHERE id = 7 AND fence < $1
//! ```
//!
//! # Waiting
//!
//! Those who wait are served in the order in which their first claim reached the store. A waiter that is not heard of
//! for 5 s loses its place; a free lock waits 2 s for who is first before the second may take it as well.

mod acquire;
mod guard;
mod handle;
mod held;
mod lease;
mod manager;
mod outcome;
mod renew;

pub use guard::Guard;
pub use handle::{DEFAULT_TTL, LockHandle, MAX_TTL, MIN_TTL};
pub use lease::{Lease, Renewal, Token};
pub(crate) use manager::LockManager;
pub use outcome::{Attempt, Holder, Holding, LockState, Loss, Release};

//! The engines, and the seam between them and the primitives.
//!
//! A step (`seam.rs`) is atomic on one hash tag, and nothing correct may depend on two steps. What spans tags is put
//! together in the primitives (`limit/decide/take_all.rs`), which state what that costs.
//!
//! # Contract
//!
//! - **Atomicity.** A step happens as a whole at one moment, or not at all, also when the process dies.
//!   `take_all` is the exception in reach: on hosts that do not share a slot see [`Engine::together`].
//! - **Failure.** [`Retry::Now`](crate::Retry) and `Later`: certainly not applied.
//!   `Unknown`: perhaps applied. Buffer and series writes are sequenced: they are re-sent until their
//!   fate is known, so that `Unknown` from them is rare and final. Lock steps are idempotent by owner.
//!   No other mutation is ever sent twice.
//! - **Time.** [`When`](crate::When) decides what a limit sees; a key's own time never goes back. Leases follow the
//!   engine's clock. What a store forgets by itself (a TTL) no longer counts by then: expiry only
//!   collects garbage, to within a second.
//! - **Order.** Calls that overlap may be applied in any order; a call made after another one answered
//!   comes after it.
//! - **Keys.** 1 to 512 bytes of UTF-8, checked before they get here.
//! - **Cost.** One round trip a step, many steps to a round trip; none on the embedded engine.
//! - **Cancellation.** A dropped future may have applied its step; it never applies half of it, and
//!   never takes an answer away from another caller.

#[cfg(feature = "redis")]
pub(crate) mod cluster;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dispatch;
pub(crate) mod elsewhere;
pub(crate) mod embedded;
#[cfg(feature = "test-util")]
pub mod fault;
#[cfg(feature = "redis")]
pub(crate) mod grids;
#[cfg(feature = "redis")]
mod key_move;
pub(crate) mod notifier;
mod open;
mod options;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "redis")]
mod remote;
pub(crate) mod request;
#[cfg(feature = "redis")]
mod sealer;
mod seam;
#[cfg(feature = "redis")]
pub(crate) mod sequence;
#[cfg(feature = "redis")]
mod shared_outcome;
#[cfg(feature = "redis")]
mod standing;
pub(crate) mod step;

pub(crate) use self::{
    dispatch::{BatchedTake, Engine, Joined},
    open::Location,
    options::Options,
};

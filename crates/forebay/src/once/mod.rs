//! Requests that are carried out once.
//!
//! A client that gets no answer cannot know whether its request was carried out. It sends the request again under the same
//! key. The store keeps the outcome of the request and of each of its parts for 24 hours. The next attempt completes one
//! that died half-way, and no part is applied twice.
//!
//! A request has items, such as the lines of a body. An item has parts, one for each series and buffer it is written to.

mod attempt;
mod item;
mod request;

pub use self::{
    attempt::{DEFAULT_BYTES, InProgress, Once},
    item::RequestItem,
};
pub(crate) use self::{
    attempt::{begin, draw_request},
    item::{Place, State},
};

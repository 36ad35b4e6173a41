//! What an operator looks at: a page at `/`, and the stream that it draws.
//!
//! ```text
//! /  /assets/*   page.rs       the page and its parts, the same for everybody, without data
//! /v1/live       live.rs       a line a second, for those who may read: sample.rs, and at first declared.rs
//! ```
//!
//! The page uses nothing but the HTTP interface and files of this program, so that it works without any network
//! beyond this server, and shows each caller what the caller's token may see.

mod declared;
mod live;
mod page;
mod sample;

pub(crate) use declared::Declared;
pub use live::Live;
pub(crate) use live::routes;
pub(crate) use page::pages;

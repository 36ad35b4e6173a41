//! The dashboard of operators: a page at `/`, and the stream that it draws.
//!
//! ```text
//! /  /assets/*   page.rs       the page and its parts, the same for all callers, without data
//! /v1/live       stream.rs     a line a second, for callers with the scope `read`
//! ```
//!
//! The page uses only the HTTP interface and files of this program. So it works without any network beyond this server, and
//! shows each caller what the caller's token may read.

mod page;
mod stream;

pub(crate) use page::pages;
pub(crate) use stream::routes;

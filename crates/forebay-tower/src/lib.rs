//! Forebay's limits in front of a [`tower`] service, such as one of axum or tonic.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
//! use axum::{Router, routing::get};
//! use forebay::{Forebay, Limit};
//! use forebay_tower::{Key, LimitLayer};
//!
//! let bay = Forebay::open("memory:").await?;
//! let hits = bay.limit(Limit::per_minute("hits", 20))?;
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(LimitLayer::new(&bay, hits, Key::header("x-api-key")));
//! # Ok(()) }
//! ```
//!
//! A denied request is answered at once: 429, or for gRPC `RESOURCE_EXHAUSTED`, with `Retry-After`. Every answer has
//! the headers `RateLimit-Policy` and `RateLimit`, and the older `X-RateLimit-*`. The decision is an extension of the
//! request that is served, and of the response to a denied one: [`Decided`].

mod decided;
mod key;
mod layer;
mod respond;
mod service;

pub use decided::Decided;
pub use key::{Key, Network};
pub use layer::LimitLayer;
pub use service::Limited;

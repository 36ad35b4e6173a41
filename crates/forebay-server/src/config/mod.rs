//! The configuration: a TOML file, the environment, and flags.
//!
//! A flag takes precedence over the environment, the environment over the file, and the file over the default. Without a
//! file the server runs the built-in example, which `forebay init` writes. Reading does not stop at the first mistake: all
//! of them are reported, each with its line.

mod buffers;
mod canary;
mod cluster;
mod dialect;
mod environment;
mod events;
mod fields;
mod file;
mod limits;
mod load;
mod mistake;
mod model;
mod network;
mod secret;
mod section;
mod series;
mod statsd;
mod tokens;

pub(crate) use canary::{BEATS, LAST};
pub use dialect::Dialect;
pub use environment::{Environment, process_variable};
pub(crate) use file::read_file;
pub(crate) use load::load_text;
pub use load::{EXAMPLE, Options, load};
pub use mistake::{Mistake, Mistakes};
pub use model::{
    BufferConfig, BufferUse, CANARY, Config, EventConfig, LimitUse, Origin, Scope, Store, Token,
};
pub use network::Network;
pub use secret::{Secret, Url};
pub use series::SummaryConfig;
pub use statsd::{StatsdConfig, StatsdMetric, Subject};

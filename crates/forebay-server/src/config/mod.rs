//! What the server is told: a TOML file, the environment, and flags.
//!
//! Flag wins over environment, environment over file, file over default. Without a file the server runs the
//! built-in example, which is what `forebay init` writes. Reading never stops at the first mistake: whoever
//! corrects a file sees all of them, each with its line.

mod canary;
mod cluster;
mod events;
mod fields;
mod file;
mod limits;
mod load;
mod mistake;
mod model;
mod primitives;
mod secret;
mod tokens;

pub(crate) use file::read_file;
pub(crate) use load::load_text;
pub use load::{EXAMPLE, Environment, Options, load};
pub use mistake::{Mistake, Mistakes};
pub use model::{
    BufferConfig, BufferUse, Config, EventConfig, LimitUse, Origin, Scope, Scopes, Store, Token,
};
pub use secret::{Secret, Url};

//! Reading the configuration again while the server runs: on SIGHUP, and when the file changes.

mod status;
mod watch;

pub use status::ReloadStatus;
pub use watch::watch;

//! TLS on the connection to a host: never without checking the server's certificate, and never replaced by plain text.

#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;
mod files;

#[cfg(not(feature = "tls"))]
pub(super) use self::disabled::{Tls, is_spoken};
#[cfg(feature = "tls")]
pub(super) use self::enabled::{Tls, is_spoken};
pub(super) use self::files::{Fault, Files};

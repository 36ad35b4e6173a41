//! limitador on Redis. It needs the feature of that name, because it needs OpenSSL's headers and a third more crates.

#[cfg(not(feature = "limitador"))]
mod disabled;
#[cfg(feature = "limitador")]
mod enabled;

#[cfg(not(feature = "limitador"))]
pub(crate) use disabled::takes;
#[cfg(feature = "limitador")]
pub(crate) use enabled::takes;

/// The subject that needs the feature.
pub(crate) const LIMITADOR: &str = "limitador, async Redis";

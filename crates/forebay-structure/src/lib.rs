//! Proves from the code who depends on whom: no circle between the files of a crate, no arrow up between layers, and
//! pure files that are pure.
//!
//! `source` reads the modules of a crate and resolves paths to the files that define what they name. `arrows`
//! collects what each file uses. [`check`] compares that with the table in [`rules`].
//!
//! A method called on a value names no file, so such a call is not seen. Code under `#[cfg(test)]` or
//! `#[cfg(doc)]` is left out.

mod arrows;
pub mod check;
pub mod rules;
mod source;

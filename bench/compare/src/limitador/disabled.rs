//! A replacement for builds without limitador.

use anyhow::{Result, bail};
use forebay_bench::Load;

/// Always fails. It is never called, because `main` leaves the cell out.
pub(crate) async fn takes(_load: Load, _keys: usize, _names: &'static [&'static str]) -> Result<f64> {
    bail!("built without limitador")
}

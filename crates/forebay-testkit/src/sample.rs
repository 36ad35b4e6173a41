//! Real input.

use std::path::{Path, PathBuf};

/// An access log of a public web site, gzip: 10 000 requests of four days, in Apache's combined format, not
/// strictly in time order.
///
/// It is not part of the project. It is looked for in `FOREBAY_TEST_DATA`, by default `../shared/data`, both seen
/// from the project's root. `None` if it is not there: the test then makes a log of its own, and `scripts/test`
/// says that the real one was not tested.
pub fn sample_log() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let data = std::env::var_os("FOREBAY_TEST_DATA").unwrap_or_else(|| "../shared/data".into());
    Some(root.join(data).join("apache-access.log.gz")).filter(|log| log.is_file())
}

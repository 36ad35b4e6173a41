//! Records of what a fail-over lost.

/// The lengths of the runs that are missing, in order. A new primary has the beginning of what the old one did, so that a fail-over
/// leaves one run at most.
///
/// ```
/// assert_eq!(forebay_testkit::missing_runs(&[true, false, false, true, false]), [2, 1]);
/// ```
pub fn missing_runs(is_there: &[bool]) -> Vec<usize> {
    is_there.chunk_by(|one, next| one == next).filter(|run| !run[0]).map(<[bool]>::len).collect()
}

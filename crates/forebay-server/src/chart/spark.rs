//! A series in one line of a terminal.

/// From an eighth of the height to all of it.
pub(super) const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws counts as a line of blocks, at most `width` of them.
///
/// Only zero is drawn as the lowest block, so that one hit differs from none. The largest count is a full block. If there
/// are more counts than `width`, neighbours are added up.
///
/// ```
/// use forebay_server::chart::spark;
/// assert_eq!(spark(&[0, 1, 2, 4, 7], 80), "▁▂▃▅█");
/// assert_eq!(spark(&[0, 1, 4, 4], 2), "▂█");
/// ```
pub fn spark(values: &[u64], width: usize) -> String {
    let per_block = values.len().div_ceil(width.max(1)).max(1);
    let sum = |chunk: &[u64]| chunk.iter().map(|&n| u128::from(n)).sum::<u128>();
    let sums: Vec<u128> = values.chunks(per_block).map(sum).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let block = |&sum: &u128| {
        let height = usize::try_from((sum * 7).div_ceil(most));
        BLOCKS[height.expect("a part of seven")]
    };
    sums.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_hit_among_millions_is_not_nothing() {
        assert_eq!(spark(&[0, 1, 1_000_000], 80), "▁▂█");
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        assert_eq!(spark(&[], 80), "");
        assert_eq!(spark(&[0, 0, 0], 80), "▁▁▁");
        assert_eq!(spark(&[7], 0), "█");
    }

    proptest! {
        #[test]
        fn any_counts_fit_into_any_width(values in prop::collection::vec(any::<u64>(), 0..300), width in 0..100_usize) {
            prop_assert!(spark(&values, width).chars().count() <= width.max(1));
        }
    }
}

//! Where a write goes whose host is down: to a few other hosts, one after the other.

use crate::error::{Error, ErrorKind, Retry};

/// The most hosts that are tried beside a write's own.
const MAX_ALTERNATIVES: usize = 2;

/// Of each host other than `home` the first of some places that is on it, with the number of that host, in the order of the
/// places. A few are enough.
pub(crate) fn on_other_hosts<T>(
    home: usize,
    places: impl IntoIterator<Item = T>,
    host: impl Fn(&T) -> usize,
) -> Vec<(T, usize)> {
    let mut found: Vec<(T, usize)> = vec![];
    for place in places {
        let number = host(&place);
        if number == home || found.iter().any(|(_, known)| *known == number) {
            continue;
        }
        found.push((place, number));
        if found.len() == MAX_ALTERNATIVES {
            break;
        }
    }
    found
}

/// Whether a write certainly did nothing because its host is away. A host that has no room, or too many calls that wait, is
/// there: its writes are its own.
pub(crate) fn was_not_sent(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && matches!(error.retry(), Retry::Now | Retry::Later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_other_host_has_one_place_and_few_are_enough() {
        let host_of = |place: &usize| [0, 1, 1, 0, 2, 3][*place];
        assert_eq!(on_other_hosts(0, 0..6, host_of), [(1, 1), (4, 2)]);
        assert_eq!(on_other_hosts(1, 0..4, host_of), [(0, 0)]);
        assert_eq!(on_other_hosts(0, [0, 3], host_of), []);
    }

    #[test]
    fn only_what_was_certainly_not_sent_goes_elsewhere() {
        let of = |kind| was_not_sent(&Error::new(kind, "no answer"));
        assert!(of(ErrorKind::Unavailable));
        for kind in [ErrorKind::Timeout, ErrorKind::Ambiguous, ErrorKind::Overloaded, ErrorKind::Corrupt] {
            assert!(!of(kind), "{kind:?}");
        }
        assert!(!was_not_sent(&Error::new(ErrorKind::Unavailable, "lost").with_retry(Retry::Unknown)));
    }
}

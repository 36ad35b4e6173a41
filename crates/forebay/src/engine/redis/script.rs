//! All scripts: loaded on connecting, named here only.

/// A script that every connection has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    TakeWindow,
    TakeTokens,
    TakeAll,
    Refund,
}

impl Script {
    pub(super) const ALL: [Self; 4] = [Self::TakeWindow, Self::TakeTokens, Self::TakeAll, Self::Refund];

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn source(self) -> &'static str {
        match self {
            Self::TakeWindow => include_str!("lua/take_window.lua"),
            Self::TakeTokens => include_str!("lua/take_tokens.lua"),
            Self::TakeAll => include_str!("lua/take_all.lua"),
            Self::Refund => include_str!("lua/refund.lua"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_script_is_listed_once_and_says_what_it_takes() {
        for (place, script) in Script::ALL.into_iter().enumerate() {
            assert_eq!(script.index(), place);
            for part in ["-- KEYS", "-- ARGV", "-- Example", "-- Reply", "assert(#KEYS"] {
                assert!(script.source().contains(part), "{script:?} has no {part:?}");
            }
        }
    }
}

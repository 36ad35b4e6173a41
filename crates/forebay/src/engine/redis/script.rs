//! All scripts: loaded on connecting, named here only.

use crate::limit::rule::Rule;

/// A script that every connection has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    TakeWindow,
    TakeSliding,
    TakeTokens,
    TakeAll,
    Refund,
    Slice,
    Reset,
    Lease,
    OverrideSet,
    BufferAdd,
    BufferRotate,
    BufferAck,
    LockClaim,
    LockRenew,
    LockRelease,
    LockState,
    SeriesAdd,
}

impl Script {
    pub(super) const ALL: [Self; 17] = [
        Self::TakeWindow,
        Self::TakeSliding,
        Self::TakeTokens,
        Self::TakeAll,
        Self::Refund,
        Self::Slice,
        Self::Reset,
        Self::Lease,
        Self::OverrideSet,
        Self::BufferAdd,
        Self::BufferRotate,
        Self::BufferAck,
        Self::LockClaim,
        Self::LockRenew,
        Self::LockRelease,
        Self::LockState,
        Self::SeriesAdd,
    ];

    /// The one that charges single keys under such a rule.
    pub(super) fn take(rule: &Rule) -> Self {
        match rule {
            Rule::FixedWindow(_) => Self::TakeWindow,
            Rule::SlidingWindow(_) => Self::TakeSliding,
            Rule::TokenBucket(_) => Self::TakeTokens,
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn source(self) -> &'static str {
        match self {
            Self::TakeWindow => include_str!("lua/take_window.lua"),
            Self::TakeSliding => {
                concat!(include_str!("lua/slices.lua"), include_str!("lua/take_sliding.lua"))
            }
            Self::TakeTokens => concat!(include_str!("lua/slices.lua"), include_str!("lua/take_tokens.lua")),
            Self::TakeAll => concat!(include_str!("lua/slices.lua"), include_str!("lua/take_all.lua")),
            Self::Refund => concat!(include_str!("lua/slices.lua"), include_str!("lua/refund.lua")),
            Self::Slice => concat!(include_str!("lua/slices.lua"), include_str!("lua/slice.lua")),
            Self::Reset => concat!(include_str!("lua/slices.lua"), include_str!("lua/reset.lua")),
            Self::Lease => include_str!("lua/lease.lua"),
            Self::OverrideSet => include_str!("lua/override_set.lua"),
            Self::BufferAdd => concat!(include_str!("lua/guard.lua"), include_str!("lua/buffer_add.lua")),
            Self::BufferRotate => include_str!("lua/buffer_rotate.lua"),
            Self::BufferAck => include_str!("lua/buffer_ack.lua"),
            Self::LockClaim => include_str!("lua/lock_claim.lua"),
            Self::LockRenew => include_str!("lua/lock_renew.lua"),
            Self::LockRelease => include_str!("lua/lock_release.lua"),
            Self::LockState => include_str!("lua/lock_state.lua"),
            Self::SeriesAdd => concat!(include_str!("lua/guard.lua"), include_str!("lua/series_add.lua")),
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

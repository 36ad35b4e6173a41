//! What a key is allowed.

use super::{decision::Decision, lease::LeaseQuota};
use crate::model::rate::rule::Rule;

/// What a key of a limit is allowed: the limit's own, or an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// What passes in a time.
    Rate(Rule),
    /// What goes on at a time.
    Leases(LeaseQuota),
    /// Everything; nothing is counted.
    Unlimited,
    /// Nothing, ever.
    Nothing,
}

impl Allowance {
    /// The largest cost that is ever admitted, and how many leases.
    pub(super) fn quota(&self) -> u64 {
        match self {
            Self::Rate(rule) => rule.quota(),
            Self::Leases(slots) => slots.most,
            Self::Unlimited => Decision::UNLIMITED,
            Self::Nothing => 0,
        }
    }
}

//! The allowance of a key.

use super::{decision::Decision, lease::LeaseQuota};
use crate::model::rate::rule::Rule;

/// The allowance of a key: the limit's own, or an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// A rate.
    Rate(Rule),
    /// A number of leases at a time.
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

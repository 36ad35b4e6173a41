//! One suite that every engine passes: what the seam's contract says, as cases.
//!
//! ```no_run
//! # #[tokio::main] async fn main() -> forebay::Result<()> {
//! let bay = forebay::Forebay::open("memory:").await?;
//! for case in forebay::conformance::cases() {
//!     println!("{}", case.name);
//!     (case.run)(bay.clone()).await;
//! }
//! # Ok(()) }
//! ```

#![expect(clippy::unwrap_used, reason = "the cases of a test suite: a panic is how they fail")]

mod buffer;
mod limit;
mod lock;
mod lock_model;
mod map;
mod once;
mod overrides;
mod random;
mod series;
mod splitmix;
mod summary;

use std::time::Duration;

use uuid::Uuid;

pub use lock_model::locks_follow_the_model;
pub use random::differential;

use crate::{bay::Forebay, key::Name, sink::BoxFuture, time::Timestamp};

/// A claim about an engine; panics if it does not hold.
#[derive(Debug)]
pub struct Case {
    /// The claim, after what it is about: `limit::a_zero_cost_only_looks`.
    pub name: &'static str,
    /// Tries it on a store. Names are drawn afresh, so that cases can share a store and run side by side.
    pub run: fn(Forebay) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($($module:ident { $($name:ident,)* })*) => {
        /// Every claim.
        pub fn cases() -> Vec<Case> {
            vec![$($(Case { name: concat!(stringify!($module), "::", stringify!($name)), run: |bay| Box::pin($module::$name(bay)) },)*)*]
        }
    };
}

cases! {
    limit {
        a_window_admits_its_quota_and_no_more,
        a_bucket_admits_its_burst_and_refills,
        a_day_of_the_calendar_ends_at_midnight_of_its_zone,
        a_sliding_window_counts_what_still_overlaps,
        a_denied_cost_is_admitted_at_the_time_it_was_told_and_not_before,
        a_retry_is_exact_over_a_million_seconds,
        a_rule_of_another_period_counts_anew_and_one_of_another_quota_goes_on,
        a_cost_is_taken_whole_or_not_at_all,
        many_tasks_never_exceed_a_limit,
        take_all_charges_all_or_none,
        refund_and_reset_give_back,
        a_late_refund_gives_back_what_still_counts,
        a_zero_cost_only_looks,
        a_take_of_up_to_some_gets_what_is_left,
        leases_are_lent_up_to_the_most,
        a_lease_may_be_asked_for_again_and_extended,
        a_lease_that_is_not_extended_ends,
        many_tasks_never_hold_more_leases_than_there_are,
    }
    buffer {
        rows_merge_and_are_read_once_frozen,
        a_row_that_overflows_changes_nothing_and_stops_nobody,
        rotation_follows_age_rows_and_bound,
        generations_come_oldest_first_and_go_once,
        pending_tells_what_is_not_acknowledged,
        hostile_texts_come_back_as_they_went,
        the_version_decides_in_whatever_order_writes_come,
        of_one_version_the_value_decides_and_not_the_order,
    }
    overrides {
        an_override_stays_until_it_is_removed_and_each_change_has_a_mark,
    }
    once {
        a_request_is_the_first_once_and_then_known_by_its_answer,
        a_request_that_came_to_nothing_may_be_repeated,
        many_at_once_have_one_first,
        an_attempt_that_left_is_followed_by_one_with_its_note,
        the_parts_of_a_line_are_applied_once_by_whichever_attempt,
        keyed_and_other_writes_to_one_row_all_count,
        a_hit_under_a_key_is_taken_once,
    }
    map {
        the_same_command_twice_is_two_commands,
        one_bad_command_costs_only_its_own_ticket,
        tickets_keep_their_order,
        values_come_back_as_they_went,
        an_integer_counts_to_its_bounds,
        a_ttl_of_zero_removes_at_once,
        a_ticket_of_another_map_has_no_answer,
        many_values_are_written_and_read_in_order,
    }
    series {
        points_are_counted_in_every_resolution,
        a_chunk_fills_and_grows,
        counts_beyond_32_bits_are_kept,
        keys_and_series_do_not_mix,
        a_deleted_key_is_gone,
        keys_are_listed_page_by_page,
        a_key_is_merged_into_another_and_renamed,
    }
    summary {
        buckets_are_those_of_the_model,
        a_deleted_key_is_gone_and_keys_are_listed,
        different_elements_are_counted_once_over_spans_and_keys,
        a_bound_on_keys_holds_for_summaries,
    }
    lock {
        a_lock_has_one_holder_and_its_fences_increase,
        a_claim_may_be_repeated,
        another_ttl_never_ends_a_lease_sooner,
        a_lease_runs_out_unless_it_is_renewed,
        only_the_holder_renews_and_releases,
        waiters_are_served_in_order_and_told_by_a_bell,
        a_dead_waiter_loses_its_place,
        a_free_lock_waits_a_turn_for_the_first,
        a_lock_may_have_any_name,
    }
}

/// A name nobody has used.
fn fresh(what: &str) -> Name {
    Name::new(&format!("{what}-{}", Uuid::now_v7().simple())).unwrap()
}

/// A deadline that no case is about.
const PATIENCE: Duration = Duration::from_mins(1);

/// A time in the window's middle, so that no case depends on the minute it runs in.
const NOON: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 86_400 + 43_200);

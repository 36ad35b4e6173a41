//! The HTTP headers that tell clients about limits.
//!
//! Numbers in, texts out: no clock, no engine, no HTTP library.

use std::{fmt::Write as _, time::Duration};

use crate::limit::{Decision, Kind, Policy};

/// The largest integer of a structured field.
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// A header: its name, in lower case, and its value.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::headers};
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// let (policy, decision) = (hits.policy("user:42"), hits.take("user:42").await?);
/// for (name, value) in headers([(&policy, Some(&decision))]) {
///     println!("{name}: {value}");
/// }
/// # Ok(()) }
/// ```
pub type Header = (&'static str, String);

/// The headers of an answer that some limits decided about.
///
/// - `RateLimit-Policy` with all limits, also those that were not asked, and `RateLimit` with those that were.
/// - The older `X-RateLimit-Limit`, `-Remaining` and `-Reset` with the limit that leaves least.
/// - For a denial `Retry-After`: whole seconds, rounded up, at least 1.
///
/// Limits that allow everything are left out, and without any other there are no headers. A shadow is left out as well: a
/// client that heeded it would be limited by it.
///
/// # Source
/// draft-ietf-httpapi-ratelimit-headers-11; RFC 9110, section 10.2.3.
pub fn headers<'a>(answers: impl IntoIterator<Item = (&'a Policy, Option<&'a Decision>)>) -> Vec<Header> {
    let all: Vec<_> = answers.into_iter().collect();
    let tells = |decision: &Decision| decision.limit() < Decision::UNLIMITED && !decision.is_degraded();
    let limiting = all.iter().filter(|(policy, _)| !policy.shadow);
    let limiting = limiting.filter(|(_, decision)| decision.is_none_or(tells));
    let limiting: Vec<_> = limiting.collect();
    let decided = || limiting.iter().filter_map(|(policy, decision)| Some((*policy, (*decision)?)));
    let mut headers = vec![];
    if let Some((_, least)) = decided().min_by_key(|(_, decision)| tightness(decision)) {
        let policies = limiting.iter().map(|(policy, decision)| policy_item(policy, *decision));
        let limits = decided().map(|(policy, decision)| limit_item(policy, decision));
        headers.push(("ratelimit-policy", policies.collect::<Vec<_>>().join(", ")));
        headers.push(("ratelimit", limits.collect::<Vec<_>>().join(", ")));
        headers.push(("x-ratelimit-limit", least.limit().to_string()));
        headers.push(("x-ratelimit-remaining", remaining(least).to_string()));
        if !least.is_blocked() {
            headers.push(("x-ratelimit-reset", seconds(renews_after(least)).to_string()));
        }
    }
    // A client that waits for a blocked key would ask for ever.
    let denied =
        || all.iter().filter_map(|(_, decision)| *decision).filter(|decision| !decision.is_allowed());
    let wait = denied().map(|decision| decision.retry_after().unwrap_or_default()).max();
    if let Some(wait) = wait.filter(|_| !denied().any(Decision::is_blocked)) {
        headers.push(("retry-after", seconds(wait).max(1).to_string()));
    }
    headers
}

/// The tighter of two answers is the smaller: denials first, those that last longest before others, for ever before all.
fn tightness(decision: &Decision) -> (bool, bool, std::cmp::Reverse<Option<Duration>>, u64) {
    let wait = std::cmp::Reverse(decision.retry_after());
    (decision.is_allowed(), !decision.is_blocked(), wait, decision.remaining())
}

/// A client that was denied has nothing left, whatever a smaller cost would find.
fn remaining(decision: &Decision) -> u64 {
    if decision.is_allowed() { decision.remaining() } else { 0 }
}

fn renews_after(decision: &Decision) -> Duration {
    decision.retry_after().unwrap_or(decision.reset_after())
}

/// `"hits";q=20;w=60`
fn policy_item(policy: &Policy, decision: Option<&Decision>) -> String {
    let quota = decision.map_or(policy.quota, Decision::limit);
    let mut item = format!("\"{}\";q={}", policy.name, quota.min(MAX_INTEGER));
    match policy.kind {
        // A blocked key is never admitted.
        _ if quota == 0 => {}
        Kind::Concurrency => item.push_str(";qu=\"concurrent-requests\""),
        // Writing to a string does not fail.
        _ => drop(write!(item, ";w={}", seconds(policy.window).max(1))),
    }
    item
}

/// `"hits";r=19;t=37`
fn limit_item(policy: &Policy, decision: &Decision) -> String {
    let (remaining, renews) = (remaining(decision).min(MAX_INTEGER), seconds(renews_after(decision)));
    if decision.limit() == 0 {
        return format!("\"{}\";r=0", policy.name);
    }
    format!("\"{}\";r={remaining};t={renews}", policy.name)
}

/// Whole seconds, rounded up: who comes back then is not too early.
fn seconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros().div_ceil(1_000_000)).unwrap_or(MAX_INTEGER).min(MAX_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::rate::rule::{Rule, State},
        time::{millis, mins, secs},
    };

    fn policy(name: &str, kind: Kind, window: Duration) -> Policy {
        Policy { name: name.into(), kind, window, shadow: false, quota: 20 }
    }

    fn decision(limit: u64, used: u64, window: Duration, denied: Option<u64>) -> Decision {
        let rule = Rule::fixed_window(limit, window, secs(0)).expect("in range");
        let window = u64::try_from(window.as_micros()).expect("short");
        // A tenth of the window has passed.
        Decision::from_state(&rule, State(9, used), 9 * window + window / 10, denied)
    }

    fn text(headers: &[Header]) -> String {
        headers.iter().flat_map(|(name, value)| [name, ": ", value, "\n"]).collect()
    }

    #[test]
    fn an_answer_tells_all_policies_and_the_tightest_in_the_old_way() {
        let minute = policy("minute", Kind::FixedWindow, mins(1));
        let day = policy("day", Kind::SlidingWindow, secs(86_400));
        let (ample, tight) = (decision(20, 1, mins(1), None), decision(1_000, 995, secs(86_400), None));
        let told = headers([(&minute, Some(&ample)), (&day, Some(&tight))]);
        assert_eq!(
            text(&told),
            "ratelimit-policy: \"minute\";q=20;w=60, \"day\";q=1000;w=86400\n\
             ratelimit: \"minute\";r=19;t=54, \"day\";r=5;t=77760\n\
             x-ratelimit-limit: 1000\nx-ratelimit-remaining: 5\nx-ratelimit-reset: 77760\n"
        );
    }

    #[test]
    fn a_limit_that_was_not_asked_tells_its_policy_only() {
        let (minute, all) =
            (policy("minute", Kind::FixedWindow, mins(1)), policy("all", Kind::FixedWindow, secs(1)));
        let full = decision(3, 3, mins(1), Some(1));
        let told = headers([(&all, None), (&minute, Some(&full))]);
        let expected =
            "ratelimit-policy: \"all\";q=20;w=1, \"minute\";q=3;w=60\nratelimit: \"minute\";r=0;t=54\n";
        assert!(text(&told).starts_with(expected), "{told:?}");
        assert_eq!(headers([(&all, None)]), []);
    }

    #[test]
    fn a_denial_says_when_to_come_back_rounded_up_and_never_zero() {
        let short = policy("short", Kind::FixedWindow, millis(500));
        let told = headers([(&short, Some(&decision(3, 2, millis(500), Some(2))))]);
        assert_eq!(
            text(&told),
            "ratelimit-policy: \"short\";q=3;w=1\nratelimit: \"short\";r=0;t=1\n\
             x-ratelimit-limit: 3\nx-ratelimit-remaining: 0\nx-ratelimit-reset: 1\nretry-after: 1\n"
        );
        let leases = policy("jobs", Kind::Concurrency, secs(30));
        let full = Decision::from_leases(2, 2, Some(secs(29)), false);
        let told = headers([(&leases, Some(&full))]);
        assert!(text(&told).contains("\"jobs\";q=2;qu=\"concurrent-requests\"\n"), "{told:?}");
        assert!(text(&told).ends_with("retry-after: 1\n"), "{told:?}");
    }

    #[test]
    fn a_blocked_key_gets_no_retry_after() {
        let hits = policy("hits", Kind::FixedWindow, mins(1));
        let blocked = Decision::by_definition(false);
        let told = text(&headers([(&hits, Some(&blocked))]));
        assert_eq!(
            told,
            "ratelimit-policy: \"hits\";q=0\nratelimit: \"hits\";r=0\nx-ratelimit-limit: 0\nx-ratelimit-remaining: 0\n"
        );
        // Beside a limit that has a time: it would not help.
        let denied = decision(1, 1, mins(1), Some(1));
        let (blocked, denied) = (Some(&blocked), Some(&denied));
        for told in [[(&hits, blocked), (&hits, denied)], [(&hits, denied), (&hits, blocked)]] {
            let told = text(&headers(told));
            assert!(!told.contains("retry-after") && !told.contains("x-ratelimit-reset"), "{told}");
            assert!(told.contains("x-ratelimit-limit: 0\n"), "{told}");
        }
        let leases = Decision::from_leases(0, 0, None, false);
        let told = text(&headers([(&policy("jobs", Kind::Concurrency, mins(1)), Some(&leases))]));
        assert!(
            told.starts_with("ratelimit-policy: \"jobs\";q=0\n") && !told.contains("retry-after"),
            "{told}"
        );
    }

    #[test]
    fn what_does_not_limit_is_not_told() {
        let hits = policy("hits", Kind::FixedWindow, mins(1));
        assert_eq!(headers([(&hits, Some(&Decision::by_definition(true)))]), []);
        assert_eq!(headers([(&hits, Some(&Decision::without_store(20, true)))]), [], "a guess is no promise");
        let denied = Decision::without_store(20, false);
        assert_eq!(headers([(&hits, Some(&denied))]), [("retry-after", "1".to_owned())]);
        let shadow = Policy { shadow: true, ..hits };
        assert_eq!(headers([(&shadow, Some(&decision(1, 1, mins(1), Some(1)).shadowed()))]), []);
    }
}

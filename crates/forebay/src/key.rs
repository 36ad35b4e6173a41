//! Names and keys: which are valid, and how a store writes them.

#[cfg(any(test, feature = "redis"))]
use std::borrow::Cow;
use std::{fmt, sync::Arc};

use crate::error::{Error, Result, invalid};

/// The longest name of a limit, series, buffer or event, in bytes.
pub const MAX_NAME: usize = 64;

/// The longest key or lock name, in bytes.
pub const MAX_KEY: usize = 512;

/// The largest count or cost of one call.
pub const MAX_COUNT: u64 = 1 << 31;

/// The name of a limit, series, buffer or event: `[a-z][a-z0-9_-]{0,63}`.
///
/// Names come from code and configuration, never from a request.
///
/// # Examples
/// ```
/// use forebay::Name;
/// assert_eq!(Name::new("per-user_2")?.as_str(), "per-user_2");
/// assert!(Name::new("Per User").is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    text: Arc<str>,
    /// The hash of the text, so that a look-up of a key does not compute it again.
    hash: u64,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it does not match the pattern.
    pub fn new(text: &str) -> Result<Self> {
        let tail_ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
        let bytes = text.as_bytes();
        let ok = bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.len() <= MAX_NAME
            && bytes.iter().all(|&c| tail_ok(c));
        if ok {
            Ok(Self::from_store(text))
        } else {
            Err(invalid(format!(
                "name {text:?}: a name has 1 to {MAX_NAME} of a-z, 0-9, _ and -, and begins with a letter"
            )))
        }
    }

    /// The name of the series that counts what a limit denied. A dot makes it different from every other name.
    pub(crate) fn limited(&self) -> Self {
        Self::from_store(&format!("{self}.limited"))
    }

    /// Accepts a name that a store returned, without a check: it may be a derived one.
    pub(crate) fn from_store(text: &str) -> Self {
        Self { text: text.into(), hash: hash(text.as_bytes()) }
    }

    /// The hash of a key of this name. It needs no buffer to join them in, and (a, bc) differs from (ab, c).
    #[inline]
    pub(crate) fn hash_of(&self, key: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(key, self.hash)
    }

    /// Whether the two names are equal. Fast for clones.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self == other
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl TryFrom<&str> for Name {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Whether a key is valid: any UTF-8 of 1 to 512 bytes.
#[inline]
pub(crate) fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len())
}

/// Checks a key.
#[inline]
pub(crate) fn check_key(key: &str) -> Result<&str> {
    if !is_key(key) {
        return Err(invalid(format!("key of {} bytes: a key has 1 to {MAX_KEY} bytes", key.len())));
    }
    Ok(key)
}

/// Escapes a key for a hash tag: `{`, `}` and `%` become `%7B`, `%7D` and `%25`.
///
/// Otherwise a brace in the key would end the tag early, and the keys of one object could be in different slots. The escaping
/// is injective, so no two keys share a counter.
#[cfg(any(test, feature = "redis"))]
pub(crate) fn tag_text(key: &str) -> Cow<'_, str> {
    if !key.contains(['{', '}', '%']) {
        return Cow::Borrowed(key);
    }
    let mut text = String::with_capacity(key.len() + 8);
    for c in key.chars() {
        match c {
            '{' => text.push_str("%7B"),
            '}' => text.push_str("%7D"),
            '%' => text.push_str("%25"),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

/// The hash for partitions and shards: XXH3, which is the same on every machine and in every version.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_lower_case_and_short() {
        for good in ["a", "hits", "per-user_2"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Hits", "2hits", "-a", "a b", "é", &"a".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn tag_text_has_no_brace_and_is_injective(a in ".{0,20}", b in ".{0,20}") {
            let braces = tag_text(&a).contains(['{', '}']);
            prop_assert!(!braces);
            prop_assert_eq!(a == b, tag_text(&a) == tag_text(&b));
        }
    }
}

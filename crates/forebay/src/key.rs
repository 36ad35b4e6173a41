//! Names, keys and counts: their bounds, and the form of a key in a store.

#[cfg(any(test, feature = "redis"))]
use std::borrow::Cow;
use std::{fmt, sync::Arc};

use crate::error::{Error, Result, invalid, out_of_range};

/// The longest name of a limit, series, buffer or event, in bytes.
pub const MAX_NAME: usize = 64;

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

/// The key of a limit or a series, or the name of a lock: any UTF-8 of 1 to 512 bytes.
///
/// Every call that takes a key checks it. A program that wants to check one earlier makes this of it.
///
/// # Examples
/// ```
/// use forebay::key::Key;
/// assert_eq!(Key::new("user:42")?.as_str(), "user:42");
/// assert!(Key::new("").is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a>(&'a str);

impl<'a> Key<'a> {
    /// The length of the longest key, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Checks a key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is empty or too long.
    #[inline]
    pub fn new(text: &'a str) -> Result<Self> {
        if (1..=Self::MAX_BYTES).contains(&text.len()) {
            return Ok(Self(text));
        }
        let (got, most) = (text.len(), Self::MAX_BYTES);
        Err(invalid(format!("key of {got} bytes: a key has 1 to {most} bytes")))
    }

    /// The key as text.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl AsRef<str> for Key<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// The number of hits or points of one call, or its cost: 1 to 2^31.
///
/// # Examples
/// ```
/// use forebay::key::Count;
/// assert_eq!(Count::new(3)?.get(), 3);
/// assert!(Count::new(0).is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(u64);

impl Count {
    /// The largest count.
    pub const MAX: u64 = 1 << 31;

    /// Checks a count.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if it is 0 or too large.
    #[inline]
    pub fn new(n: u64) -> Result<Self> {
        Self::named("n", n)
    }

    /// Checks a count; the error calls it `name`.
    #[inline]
    pub(crate) fn named(name: &str, n: u64) -> Result<Self> {
        if (1..=Self::MAX).contains(&n) {
            return Ok(Self(n));
        }
        Err(out_of_range(format!("{name} {n}: 1 to {}", Self::MAX)))
    }

    /// The count as a number.
    #[inline]
    pub fn get(self) -> u64 {
        self.0
    }
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

/// The key of a [`tag_text`]; `None` for a text that is none.
#[cfg(feature = "redis")]
pub(crate) fn untagged(text: &str) -> Option<Cow<'_, str>> {
    let mut parts = text.split('%');
    let first = parts.next()?;
    if first.len() == text.len() {
        return Some(Cow::Borrowed(text));
    }
    let mut key = first.to_owned();
    for part in parts {
        let escaped = [("7B", '{'), ("7D", '}'), ("25", '%')];
        let (rest, c) = escaped.iter().find_map(|(code, c)| Some((part.strip_prefix(code)?, *c)))?;
        key.push(c);
        key.push_str(rest);
    }
    Some(Cow::Owned(key))
}

/// The hash for partitions and shards: XXH3, which is the same on every machine and in every version.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// As [`hash`], another function for each seed.
pub(crate) fn hash_with_seed(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
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
            #[cfg(feature = "redis")]
            prop_assert_eq!(untagged(&tag_text(&a)).map(Cow::into_owned), Some(a));
        }
    }
}

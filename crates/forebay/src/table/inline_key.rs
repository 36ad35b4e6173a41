//! A key inside its entry.

use std::fmt;

/// The longest inline key: with its length and the variant's tag it takes three words of memory.
const INLINE: usize = 22;

/// A key of any length. A short one is read without going to another place in memory, which is the main cost of a look-up in
/// a large table. `CompactString` takes 4 % more of a decision.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum InlineKey {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl InlineKey {
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("made of a str")
    }
}

impl From<&str> for InlineKey {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(start)) => {
                start.copy_from_slice(text.as_bytes());
                Self::Inline(length, bytes)
            }
            _ => Self::Heap(text.as_bytes().into()),
        }
    }
}

impl AsRef<str> for InlineKey {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for InlineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_length_is_read_back_in_three_words() {
        assert_eq!(size_of::<InlineKey>(), 24);
        for length in (0..40).chain([255, 256, 512]) {
            let text = "\u{e9}".repeat(length);
            assert_eq!(InlineKey::from(&*text).as_str(), text);
            let text = "k".repeat(length);
            let key = InlineKey::from(&*text);
            assert_eq!((key.as_str(), key.as_bytes()), (&*text, text.as_bytes()));
            assert_eq!(matches!(key, InlineKey::Inline(..)), length <= INLINE);
        }
    }
}

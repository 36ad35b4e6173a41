//! A key that is kept where its entry is.

use std::fmt;

/// What fits: with its length, and a word for which form it is, three words.
const INLINE: usize = 22;

/// A key of any length. Most are short, and are found without going to another place in memory for them, which is what a
/// look-up in a large table costs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ShortKey {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl ShortKey {
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Self::Heap(bytes) => bytes,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("it was made of a text")
    }
}

impl From<&str> for ShortKey {
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

impl fmt::Debug for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_length_is_read_back_in_three_words() {
        assert_eq!(size_of::<ShortKey>(), 24);
        for length in (0..40).chain([255, 256, 512]) {
            let text = "\u{e9}".repeat(length);
            assert_eq!(ShortKey::from(&*text).as_str(), text);
            let text = "k".repeat(length);
            let key = ShortKey::from(&*text);
            assert_eq!((key.as_str(), key.as_bytes()), (&*text, text.as_bytes()));
            assert_eq!(matches!(key, ShortKey::Inline(..)), length <= INLINE);
        }
    }
}

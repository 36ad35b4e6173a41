//! Keys to slots, exactly as Redis Cluster does it.
//!
//! # Source
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>

use std::fmt;

/// How many slots there are.
pub(crate) const SLOTS: u16 = 16_384;

/// One of the 16384 parts into which keys fall, and the unit that moves between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u16);

impl Slot {
    /// The slot of a whole key: by its hash tag if it has one, else by all of it.
    ///
    /// `CLUSTER KEYSLOT` answers the same for the same bytes, so keys stay in their slots when a fleet of independent hosts
    /// becomes a Redis Cluster.
    pub(crate) fn of_key(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key)) % SLOTS)
    }

    /// The slot of every key whose hash tag is `tag`, the text between the braces.
    ///
    /// A tag is not empty and has no `}`: else Redis Cluster would not take it for the tag.
    pub(crate) fn of_tag(tag: &[u8]) -> Self {
        debug_assert!(
            !tag.is_empty() && !tag.contains(&b'}'),
            "a hash tag is not empty and has no closing brace"
        );
        Self(crc16(tag) % SLOTS)
    }

    /// The middle of one of so many equal ranges.
    pub(crate) fn in_middle(range: u16, ranges: u16) -> Self {
        let width = SLOTS / ranges;
        Self((range * width + width / 2) % SLOTS)
    }

    /// The slot of a partition of a buffer or a series.
    ///
    /// The partitions of one name lie evenly, wherever the first one is: each halves a gap between those before it.
    pub(crate) fn of_partition(name: &str, index: u16) -> Self {
        let bits = SLOTS.trailing_zeros();
        let distance = index.reverse_bits() >> (u16::BITS - bits);
        Self((crc16(name.as_bytes()) % SLOTS + distance) % SLOTS)
    }

    /// Letters that make a text which begins with `before` one of this slot.
    ///
    /// The checksum is linear: each bit of the letters changes bits of it that do not depend on the others.
    pub(crate) fn letters(self, before: &str) -> Letters {
        let mut letters = [b'@'; LETTERS];
        let start = letters.iter().fold(before.bytes().fold(0, step), |crc, &letter| step(crc, letter));
        let differs = (start ^ self.0) % SLOTS;
        let change = (0..SOLUTION.len()).filter(|bit| differs >> bit & 1 == 1);
        let change = change.fold(0_u16, |change, bit| change ^ SOLUTION[bit]);
        for (place, letter) in letters.iter_mut().rev().enumerate() {
            *letter |= (change >> (4 * place) & 15) as u8;
        }
        Letters(letters)
    }

    /// The slot of a number below [`SLOTS`].
    pub(crate) fn numbered(number: u16) -> Self {
        debug_assert!(number < SLOTS, "slots are below 16384");
        Self(number)
    }

    /// Its number, 0 to 16383.
    pub(crate) fn number(self) -> u16 {
        self.0
    }
}

/// How many letters decide a slot: of each the low four bits can be chosen.
const LETTERS: usize = 4;

/// The letters that end a hash tag, each from `@` to `O`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letters([u8; LETTERS]);

impl Letters {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("letters are ASCII")
    }
}

/// For each bit of a slot the bits of the letters that change it and no other.
const SOLUTION: [u16; 14] =
    [6906, 1773, 10107, 4364, 10897, 14784, 8035, 10111, 4356, 8712, 7146, 1229, 9019, 6540];

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that is hashed: between the first `{` and the first `}` after it, unless that is
/// empty or missing; then all of it.
fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_brace(key) {
        return key;
    }
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(close) => &inside[..close],
    }
}

/// Whether a key has a `{`, eight bytes at a time: most have none.
fn has_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let (eights, rest) = key.as_chunks::<8>();
    let any = eights.iter().fold(0, |any, eight| {
        // Zero where the brace is. Taking one away from a zero sets its highest bit, which was not set before.
        let differs = u64::from_le_bytes(*eight) ^ (ONES * u64::from(b'{'));
        any | differs.wrapping_sub(ONES) & !differs & ONES << 7
    });
    any != 0 || rest.contains(&b'{')
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, most significant bit first, nothing inverted.
fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    // Eight look-ups that do not wait for each other cost about as much as two that do.
    let eight = |crc: u16, eight: &[u8; 8]| {
        let [high, low] = crc.to_be_bytes();
        let mut bytes = *eight;
        bytes[0] ^= high;
        bytes[1] ^= low;
        CRC16.iter().rev().zip(bytes).fold(0, |crc, (table, byte)| crc ^ table[usize::from(byte)])
    };
    rest.iter().copied().fold(eights.iter().fold(0, eight), step)
}

/// The checksum with one byte more.
fn step(crc: u16, byte: u8) -> u16 {
    (crc << 8) ^ CRC16[0][usize::from((crc >> 8) ^ u16::from(byte))]
}

/// The remainder of each byte that so many others follow.
static CRC16: [[u16; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = (byte as u16) << 8;
        let mut after = 0;
        while after < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                bit += 1;
            }
            tables[after][byte] = crc;
            after += 1;
        }
        byte += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_lead_to_every_slot() {
        for before in ["", "hits.3.", "p"] {
            for slot in 0..SLOTS {
                let text = format!("{before}{}", Slot(slot).letters(before).as_str());
                assert_eq!(Slot::of_tag(text.as_bytes()), Slot(slot), "{text}");
                assert!(text[before.len()..].bytes().all(|letter| (b'@'..=b'O').contains(&letter)), "{text}");
            }
        }
    }

    #[test]
    fn crc16_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    /// The answers of `CLUSTER KEYSLOT` of Redis 7.0.15.
    #[test]
    fn of_key_agrees_with_redis() {
        let vectors: &[(&[u8], u16)] = &[
            (b"", 0),
            (b"foo", 12_182),
            (b"bar", 5_061),
            (b"hello", 866),
            (b"123456789", 12_739),
            (b"user1000", 3_443),
            (b"{user1000}.following", 3_443),
            (b"{user1000}.followers", 3_443),
            (b"foo{}{bar}", 8_363),
            (b"foo{{bar}}zap", 4_015),
            (b"{bar", 4_015),
            (b"foo{bar}{zap}", 5_061),
            (b"{}", 15_257),
            (b"{", 4_092),
            (b"}{", 12_793),
            (b"a}b{c}d", 7_365),
            (b"\x00\xff\x80", 4_727),
            (b"{\x00}x", 0),
            ("été".as_bytes(), 10_087),
            (b"forebay:{buf.projects.3}:live", 1_967),
            (&[b'x'; 512], 3_103),
        ];
        for &(key, slot) in vectors {
            assert_eq!(Slot::of_key(key).number(), slot, "{}", key.escape_ascii());
        }
    }

    /// The same server's answers for `key:0` to `key:99999`, folded into one number.
    #[test]
    fn of_key_agrees_with_redis_on_a_hundred_thousand_keys() {
        let folded = (0..100_000).fold(0_u32, |sum, i| {
            let slot = Slot::of_key(format!("key:{i}").as_bytes());
            sum.wrapping_mul(31).wrapping_add(slot.number().into())
        });
        assert_eq!(folded, 1_408_849_450);
    }

    #[test]
    fn a_brace_is_found_wherever_it_is() {
        for length in 0..20 {
            // Bytes that differ from a brace by one or by one bit.
            for other in [0, b'z', b'|', b'{' ^ 0x80, b'{' ^ 1, 0xff] {
                let mut key = vec![other; length];
                assert!(!has_brace(&key), "{key:?}");
                for place in 0..length {
                    key[place] = b'{';
                    assert!(has_brace(&key), "{key:?}");
                    key[place] = other;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_tag_decides_alone(
            before in "[^{]{0,9}",
            tag in "[^}]{1,9}",
            after in ".{0,9}",
        ) {
            let key = format!("{before}{{{tag}}}{after}");
            prop_assert_eq!(Slot::of_key(key.as_bytes()), Slot::of_tag(tag.as_bytes()));
        }

        #[test]
        fn eight_bytes_at_a_time_are_as_each_alone(key: Vec<u8>) {
            prop_assert_eq!(crc16(&key), key.iter().copied().fold(0, step));
        }

        #[test]
        fn every_key_has_a_slot(key: Vec<u8>) {
            prop_assert!(Slot::of_key(&key).number() < SLOTS);
        }
    }
}

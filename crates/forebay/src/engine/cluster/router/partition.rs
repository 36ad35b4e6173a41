//! The partition router of Nydus and rb: CRC-32 modulo the number of hosts.
//!
//! # Source
//! <https://github.com/disqus/nydus>, `nydus/db/routers/keyvalue.py`; <https://github.com/getsentry/rb>,
//! `rb/utils.py`.

/// The host of `key` among `hosts`, which is not 0.
///
/// Python 2, where this was first written, has a *signed* CRC-32 and a modulo that is never negative, and
/// rb kept both on Python 3. With the unsigned value half of the keys are looked for on the wrong host,
/// unless the number of hosts is a power of two.
///
/// Hosts count in the order of their integer ids.
pub(super) fn host(key: &[u8], hosts: u16) -> usize {
    let signed = i64::from(crc32fast::hash(key).cast_signed());
    let host = signed.rem_euclid(i64::from(hosts));
    usize::try_from(host).expect("the Euclidean remainder is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of Nydus under Python 2.7 for 2, 3, 4, 5, 6, 7, 8, 12 and 64 hosts.
    #[test]
    fn agrees_with_nydus() {
        let vectors: &[(&[u8], [usize; 9])] = &[
            (b"foo", [1, 1, 1, 3, 1, 5, 1, 1, 33]),
            (b"bar", [0, 2, 2, 3, 2, 0, 2, 2, 42]),
            (b"baz", [0, 0, 0, 2, 0, 3, 0, 0, 24]),
            (b"a", [1, 2, 3, 1, 5, 0, 3, 11, 3]),
            (b"hello", [0, 1, 2, 0, 4, 2, 6, 10, 6]),
            // The integer 1: both libraries hash its decimal text.
            (b"1", [1, 1, 3, 2, 1, 5, 7, 7, 55]),
            (b"user:42", [0, 1, 2, 3, 4, 4, 6, 10, 6]),
            ("été".as_bytes(), [0, 0, 0, 2, 0, 3, 4, 0, 20]),
            (b"\x00\xff", [0, 1, 2, 4, 4, 6, 2, 10, 50]),
        ];
        for (key, hosts) in vectors {
            let ours = [2, 3, 4, 5, 6, 7, 8, 12, 64].map(|count| host(key, count));
            assert_eq!(ours, *hosts, "{}", key.escape_ascii());
        }
    }

    /// Nydus again: `key:0` to `key:9999` on 3 hosts.
    #[test]
    fn spreads_as_nydus_does() {
        let mut counts = [0; 3];
        for i in 0..10_000 {
            counts[host(format!("key:{i}").as_bytes(), 3)] += 1;
        }
        assert_eq!(counts, [3_387, 3_373, 3_240]);
    }

    /// The mistake that powers of two hide, and the reason for the sign.
    #[test]
    fn the_unsigned_value_is_wrong_for_half_of_the_keys() {
        let wrong = |hosts: u16| {
            let keys = (0..10_000).map(|i| format!("key:{i}"));
            keys.filter(|key| {
                let unsigned = crc32fast::hash(key.as_bytes()) % u32::from(hosts);
                usize::try_from(unsigned) != Ok(host(key.as_bytes(), hosts))
            })
            .count()
        };
        assert_eq!(wrong(8), 0);
        assert!((4_900..5_100).contains(&wrong(3)), "{}", wrong(3));
    }
}

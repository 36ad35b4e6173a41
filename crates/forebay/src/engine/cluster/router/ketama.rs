//! The two ketama rings: that of Nydus and rb, and that of twemproxy.
//!
//! Both put the words of MD5 digests of a numbered host name on a circle of 2^32 points, about 160 a
//! host, and both give a key to the host of the next point. They differ in what they digest, in how
//! they hash a key, in what happens on a point itself, and in how they round weights: no key is found
//! through the other's ring but by chance.
//!
//! # Source
//! <https://github.com/disqus/nydus>, `nydus/contrib/ketama.py`; <https://github.com/getsentry/rb>,
//! `rb/ketama.py`; <https://github.com/twitter/twemproxy>, `src/hashkit/nc_ketama.c` and `nc_fnv.c`.

use md5::{Digest, Md5};

use super::super::Host;

/// Words of 4 bytes in an MD5 digest, each of them a point.
const WORDS: usize = 4;

/// Digests of a host of average weight, hence 160 points.
const DIGESTS: u32 = 40;

/// Points on the circle, each with its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    flavour: Flavour,
    /// Ascending, not empty, no point twice.
    points: Box<[(u32, u16)]>,
}

/// Which library's ring it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    Nydus,
    Twemproxy,
}

impl Ring {
    /// The ring of Nydus and rb.
    ///
    /// A host's name is what Nydus calls its identifier, by default `redis://HOST:PORT/DB`.
    pub(super) fn nydus(hosts: &[Host]) -> Self {
        let (count, total) = sizes(hosts);
        Self::build(Flavour::Nydus, hosts, |host| {
            let digests = u64::from(DIGESTS) * count * u64::from(host.weight()) / total;
            (digests, "-salt")
        })
    }

    /// The ring of twemproxy with `distribution: ketama` and `hash: fnv1a_64`, its defaults.
    ///
    /// A host's name is the one that twemproxy's configuration gives the server, else `HOST:PORT`, or
    /// `HOST` alone if the port is 11211.
    pub(super) fn twemproxy(hosts: &[Host]) -> Self {
        let (count, total) = sizes(hosts);
        Self::build(Flavour::Twemproxy, hosts, |host| {
            // In single precision and in this order, as it is there: 25 equal hosts get 156 points each,
            // since a 25th times 160 / 4 times 25 is a little below 40. Exact arithmetic would say 160.
            let share = host.weight() as f32 / total as f32;
            let digests = f64::from(share * 160.0 / 4.0 * count as f32) + 0.000_000_000_1;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 40 a host, floored"
            )]
            let digests = (digests as f32).floor() as u64;
            (digests, "")
        })
    }

    /// Puts the points of all hosts on the circle; `plan` says how many digests a host gets, and what
    /// ends the text of each.
    fn build(flavour: Flavour, hosts: &[Host], plan: impl Fn(&Host) -> (u64, &'static str)) -> Self {
        let mut points = Vec::with_capacity(hosts.len() * DIGESTS as usize * WORDS);
        for (index, host) in (0_u16..).zip(hosts) {
            let (digests, suffix) = plan(host);
            for number in 0..digests {
                let digest = Md5::digest(format!("{}-{number}{suffix}", host.name()));
                points.extend((0..WORDS).map(|word| (little_endian(&digest, word), index)));
            }
        }
        // Of two hosts on one point twemproxy finds the one that it lists first, and it lists shorter names
        // first. Nydus leaves it to the order of a Python set; one rule serves both.
        let rank = |index: u16| {
            let name = hosts[usize::from(index)].name();
            (name.len(), name)
        };
        points.sort_unstable_by_key(|&(point, index)| (point, rank(index)));
        points.dedup_by_key(|(point, _)| *point);
        Self { flavour, points: points.into() }
    }

    /// The host of a key or tag.
    pub(super) fn host(&self, key: &[u8]) -> usize {
        match self.flavour {
            Flavour::Nydus => {
                let point = little_endian(&Md5::digest(key), 0);
                self.owner(self.points.partition_point(|&(next, _)| next <= point))
            }
            Flavour::Twemproxy => {
                let point = fnv1a(key);
                self.owner(self.points.partition_point(|&(next, _)| next < point))
            }
        }
    }

    /// The host at this position, or at the first one beyond the last: it is a circle.
    fn owner(&self, position: usize) -> usize {
        let (_, host) = self.points.get(position).unwrap_or(&self.points[0]);
        usize::from(*host)
    }
}

/// How many hosts there are, and their weight together.
fn sizes(hosts: &[Host]) -> (u64, u64) {
    (hosts.len() as u64, hosts.iter().map(|host| u64::from(host.weight())).sum())
}

/// One of the 4 words of a digest.
fn little_endian(digest: &[u8], word: usize) -> u32 {
    let bytes = &digest[word * 4..][..4];
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// The function that twemproxy calls `fnv1a_64`: the 64-bit constants cut to 32 bits, and bytes from 0x80 on counted as
/// negative, since C's `char` is signed on x86. The empty key is 0.
fn fnv1a(key: &[u8]) -> u32 {
    if key.is_empty() {
        return 0;
    }
    key.iter().fold(0x8422_2325, |hash: u32, &byte| {
        let signed = i32::from(byte.cast_signed());
        (hash ^ signed.cast_unsigned()).wrapping_mul(0x0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the vectors.
    const KEYS: [&[u8]; 11] = [
        b"foo",
        b"bar",
        b"baz",
        b"a",
        b"hello",
        b"1",
        b"user:42",
        "été".as_bytes(),
        b"{tag}x",
        b"0",
        b"Apple",
    ];

    fn hosts(names: &[&str], weights: &[u32]) -> Vec<Host> {
        let weighted = names.iter().zip(weights);
        weighted
            .map(|(name, weight)| {
                Host::new(name).and_then(|host| host.with_weight(*weight)).expect("a good host")
            })
            .collect()
    }

    fn numbered(count: usize) -> Vec<Host> {
        let names = (0..count).map(|i| format!("10.0.{}.{}:6379", i / 250, i % 250));
        names.map(|name| Host::new(&name).expect("a good name")).collect()
    }

    fn routed(ring: &Ring) -> [usize; 11] {
        KEYS.map(|key| ring.host(key))
    }

    /// How many of `key:0` to `key:9999` each host has.
    fn counts(ring: &Ring, hosts: usize) -> Vec<usize> {
        let mut counts = vec![0; hosts];
        for i in 0..10_000 {
            counts[ring.host(format!("key:{i}").as_bytes())] += 1;
        }
        counts
    }

    const NYDUS: [&str; 3] =
        ["redis://127.0.0.1:7701/0", "redis://127.0.0.1:7702/0", "redis://127.0.0.1:7703/0"];
    const TWEMPROXY: [&str; 3] = ["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"];

    /// Answers of Nydus under Python 2.7.
    #[test]
    fn nydus_agrees_with_nydus() {
        let ring = Ring::nydus(&hosts(&NYDUS, &[1, 1, 1]));
        assert_eq!(routed(&ring), [2, 2, 1, 2, 2, 2, 1, 0, 0, 2, 2]);
        assert_eq!(counts(&ring, 3), [3_375, 3_610, 3_015]);

        let ring = Ring::nydus(&hosts(&NYDUS, &[1, 2, 5]));
        assert_eq!(routed(&ring), [2, 2, 1, 2, 2, 2, 2, 0, 2, 2, 2]);
        assert_eq!(counts(&ring, 3), [1_061, 2_627, 6_312]);

        let ring = Ring::nydus(&hosts(&NYDUS, &[3, 1, 1]));
        assert_eq!(routed(&ring), [2, 2, 1, 0, 0, 2, 0, 0, 0, 0, 0]);

        let names: Vec<_> = (1..=8).map(|i| format!("redis://10.0.0.{i}:6379/0")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let ring = Ring::nydus(&hosts(&names, &[1; 8]));
        assert_eq!(routed(&ring), [0, 1, 2, 5, 5, 7, 1, 0, 6, 5, 5]);
        assert_eq!(counts(&ring, 8), [1_345, 1_330, 1_203, 1_064, 1_214, 1_258, 1_206, 1_380]);
    }

    /// The cases that rb tests its own ring with.
    #[test]
    fn nydus_agrees_with_rb() {
        let names: Vec<_> = (0..9).map(|i| format!("192.168.0.1:600{i}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let place = |names: &[&str]| {
            let ring = Ring::nydus(&hosts(names, &[1; 9]));
            [&b"Apple"[..], b"Hello", b"Data", b"Computer"].map(|key| names[ring.host(key)].to_owned())
        };
        assert_eq!(
            place(&names),
            ["192.168.0.1:6002", "192.168.0.1:6007", "192.168.0.1:6004", "192.168.0.1:6004"]
        );
        let without: Vec<_> = names.iter().copied().filter(|name| !name.ends_with('7')).collect();
        assert_eq!(
            place(&without),
            ["192.168.0.1:6002", "192.168.0.1:6000", "192.168.0.1:6004", "192.168.0.1:6004"]
        );
    }

    /// Answers of twemproxy's own code, compiled for x86-64.
    #[test]
    fn twemproxy_agrees_with_twemproxy() {
        let ring = Ring::twemproxy(&hosts(&TWEMPROXY, &[1, 1, 1]));
        assert_eq!(routed(&ring), [1, 2, 2, 1, 1, 1, 1, 0, 1, 1, 0]);
        assert_eq!(ring.host(b""), 1);
        assert_eq!(counts(&ring, 3), [2_692, 3_543, 3_765]);

        let ring = Ring::twemproxy(&hosts(&TWEMPROXY, &[1, 2, 5]));
        assert_eq!(routed(&ring), [1, 2, 2, 2, 2, 2, 1, 2, 1, 2, 2]);
        assert_eq!(counts(&ring, 3), [1_272, 2_943, 5_785]);

        let ring = Ring::twemproxy(&hosts(&TWEMPROXY, &[3, 1, 1]));
        assert_eq!(routed(&ring), [1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0]);
        assert_eq!(counts(&ring, 3), [5_512, 2_043, 2_445]);
    }

    /// As above: 10 000 keys on more hosts, folded into one number.
    #[test]
    fn twemproxy_agrees_with_twemproxy_on_many_hosts() {
        for (count, expected) in
            [(8, 2_318_188_258), (41, 1_774_749_354), (49, 1_530_284_211), (64, 1_084_287_073)]
        {
            let ring = Ring::twemproxy(&numbered(count));
            let folded = (0..10_000).fold(0_u32, |sum, i| {
                let host = ring.host(format!("key:{i}").as_bytes());
                sum.wrapping_mul(31).wrapping_add(u32::try_from(host).expect("few hosts"))
            });
            assert_eq!(folded, expected, "{count} hosts");
        }
    }

    /// Single precision loses one digest of each host for some numbers of hosts; so says twemproxy's own code.
    #[test]
    fn twemproxy_rounds_in_single_precision() {
        for (count, each) in [(1, 160), (24, 160), (25, 156), (26, 160), (47, 156), (50, 156), (64, 160)] {
            assert_eq!(Ring::twemproxy(&numbered(count)).points.len(), each * count, "{count} hosts");
        }
        let points = |weights: &[u32]| {
            let ring = Ring::twemproxy(&hosts(&["a", "b", "c", "d", "e", "f"], weights));
            (0..weights.len())
                .map(|i| ring.points.iter().filter(|(_, host)| usize::from(*host) == i).count())
                .collect()
        };
        let cases: [(&[u32], &[usize]); 5] = [
            (&[1, 3], &[80, 240]),
            (&[1, 1, 5], &[68, 68, 340]),
            (&[1, 2, 3, 4], &[64, 128, 192, 256]),
            (&[7, 7, 7, 7, 9], &[148, 148, 148, 148, 192]),
            (&[1, 100, 3, 7, 11, 13], &[4, 708, 20, 48, 76, 92]),
        ];
        for (weights, expected) in cases {
            let points: Vec<usize> = points(weights);
            assert_eq!(points, expected, "{weights:?}");
        }
    }

    #[test]
    fn fnv1a_is_that_of_twemproxy() {
        let vectors: [(&[u8], u32); 6] = [
            (b"foo", 0xfed9_d577),
            (b"hello", 0x80aa_bd0b),
            (b"user:42", 0xdcd2_21c2),
            // Signed bytes: the published FNV gives other numbers for these two.
            ("été".as_bytes(), 0xea76_9c57),
            (b"\x01\xff", 0x4b17_7189),
            (b"", 0),
        ];
        for (key, hash) in vectors {
            assert_eq!(fnv1a(key), hash, "{}", key.escape_ascii());
        }
    }

    /// Both hosts have a point at 0xfff43204. The shorter name wins, in whatever order they are listed.
    #[test]
    fn a_point_of_two_hosts_is_that_of_the_shorter_name() {
        let names = ["10.0.0.73:6379", "10.0.0.118:6379"];
        for names in [names, [names[1], names[0]]] {
            let ring = Ring::twemproxy(&hosts(&names, &[1, 1]));
            let at = ring
                .points
                .binary_search_by_key(&0xfff4_3204, |&(point, _)| point)
                .expect("the point is there");
            assert_eq!(names[usize::from(ring.points[at].1)], "10.0.0.73:6379");
            assert_eq!(ring.points.len(), 2 * 160 - 1);
        }
    }

    /// On a point itself twemproxy stays and Nydus goes on; beyond the last one both start over.
    #[test]
    fn rings_differ_on_a_point_and_close_alike() {
        let points: Box<[_]> = [(fnv1a(b"k"), 0), (u32::MAX - 1, 1)].into();
        assert_eq!(Ring { flavour: Flavour::Twemproxy, points }.host(b"k"), 0);
        let md5 = little_endian(&Md5::digest(b"k"), 0);
        let points: Box<[_]> = [(md5, 0), (u32::MAX - 1, 1)].into();
        assert_eq!(Ring { flavour: Flavour::Nydus, points }.host(b"k"), 1);
        for flavour in [Flavour::Nydus, Flavour::Twemproxy] {
            let points: Box<[_]> = [(0, 7), (1, 8)].into();
            assert_eq!(Ring { flavour, points }.host(b"k"), 7);
        }
    }
}

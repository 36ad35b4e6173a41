//! Gzip data of several members, with padding, or truncated.

use std::{
    io::{self, BufRead, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::GzDecoder;

/// Decompresses gzip data of any number of members.
///
/// Bytes after the last member are counted and skipped: zeros, which tapes and block devices add, or anything else.
/// `gzip` does the same.
pub(super) struct Gunzip<R> {
    /// `None` after the last member.
    member: Option<GzDecoder<R>>,
    padding: Arc<AtomicU64>,
}

/// The first byte of a member.
const MAGIC: u8 = 0x1f;

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(stored: R, padding: Arc<AtomicU64>) -> Self {
        Self { member: Some(GzDecoder::new(stored)), padding }
    }

    /// Starts the next member.
    fn next_member(&mut self, mut stored: R) -> io::Result<()> {
        let mut zeros = 0;
        loop {
            let read = stored.fill_buf()?;
            match read.iter().position(|&byte| byte != 0) {
                Some(0) if read[0] == MAGIC => {
                    self.member = Some(GzDecoder::new(stored));
                    return Ok(());
                }
                Some(0) => {
                    let rest = io::copy(&mut stored, &mut io::sink())?;
                    self.padding.fetch_add(zeros + rest, Ordering::Relaxed);
                    return Ok(());
                }
                None if read.is_empty() => {
                    self.padding.fetch_add(zeros, Ordering::Relaxed);
                    return Ok(());
                }
                found => {
                    let length = found.unwrap_or(read.len());
                    stored.consume(length);
                    zeros += length as u64;
                }
            }
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(space).map_err(explained)?;
            if read > 0 || space.is_empty() {
                return Ok(read);
            }
            if let Some(ended) = self.member.take() {
                self.next_member(ended.into_inner())?;
            }
        }
        Ok(0)
    }
}

/// Explains an unexpected end.
fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "the gzip data was cut: it ends too early")
        }
        _ => error,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// A text as one member.
    pub(in super::super) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text).expect("a vector takes all");
        gzip.finish().expect("a vector takes all")
    }

    /// The text, the padding, and how it ended.
    fn read(stored: &[u8]) -> (Vec<u8>, u64, io::Result<()>) {
        let padding = Arc::new(AtomicU64::new(0));
        let mut text = Vec::new();
        let mut input = Gunzip::new(io::BufReader::with_capacity(7, stored), Arc::clone(&padding));
        let ended = input.read_to_end(&mut text).map(drop);
        (text, padding.load(Ordering::Relaxed), ended)
    }

    #[test]
    fn several_members_are_one_text() {
        for zeros in [0, 1, 1_000] {
            let stored = [gzip(b"a"), gzip(b""), vec![0; zeros], gzip(b"b")].concat();
            let (text, padding, ended) = read(&stored);
            assert!(ended.is_ok());
            assert_eq!((&*text, padding), (&b"ab"[..], 0), "zeros between members are none after them");
        }
    }

    #[test]
    fn bytes_after_the_last_member_are_skipped_and_counted() {
        for (rest, length) in
            [(&b"\0\0\0"[..], 3), (b"garbage", 7), (b"\0\0a\x1f\x8b", 5), (&[0; 5_000], 5_000)]
        {
            let (text, padding, ended) = read(&[&gzip(b"a"), rest].concat());
            assert!(ended.is_ok());
            assert_eq!((&*text, padding), (&b"a"[..], length));
        }
    }

    #[test]
    fn cut_data_is_read_as_far_as_possible_and_then_an_error() {
        let long: Vec<u8> = (0..20_000).flat_map(|n: u32| n.to_string().into_bytes()).collect();
        let whole = gzip(&long);
        for length in [2, 9, 10, 20, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let (text, _, ended) = read(&whole[..length]);
            assert!(long.starts_with(&text));
            assert!(length < 100 || text.len() > long.len() / 4, "{} of {length}", text.len());
            assert!(ended.expect_err("an early end").to_string().contains("was cut"));
        }
        // The data begins like a member but is not one.
        assert!(read(&[gzip(b"a"), vec![0x1f, 0x8b, 0xff, 0, 0, 0, 0, 0, 0, 0]].concat()).2.is_err());
    }
}

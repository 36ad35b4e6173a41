//! The input of a replay: a file or standard input.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Cursor, Read},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use forebay::{Error, ErrorKind, Retry};

use super::gzip::Gunzip;
use crate::text::shown;

/// A file, or standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input, `-` on the command line.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// Opens the input.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the file does not exist or cannot be read.
    pub fn open(&self) -> Result<Input, Error> {
        let opened = match self {
            Self::Stdin => Input::new(self.to_string(), io::stdin(), None),
            Self::File(path) => File::open(path).and_then(|file| {
                let size = file.metadata()?.len();
                Input::new(self.to_string(), file, Some(size))
            }),
        };
        opened.map_err(|cause| failed("opening", &self.to_string(), &cause))
    }
}

/// The error for a log that cannot be read.
fn failed(doing: &str, name: &str, cause: &io::Error) -> Error {
    // The cause is a part of the message, and has no further source.
    Error::new(ErrorKind::Unavailable, format!("{doing} {name}: {cause}")).with_retry(Retry::Never)
}

impl From<&str> for Source {
    fn from(name: &str) -> Self {
        match name {
            "-" => Self::Stdin,
            path => Self::File(path.into()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => f.write_str(&shown(&path.to_string_lossy())),
        }
    }
}

/// An open log, decompressed if it is gzip.
pub struct Input {
    name: String,
    text: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    size: Option<u64>,
    /// Bytes after the end of the gzip data.
    padding: Arc<AtomicU64>,
}

/// The first bytes of every gzip member.
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Input {
    /// Reads from `raw`; `name` is for errors, `size` is the length in bytes, if it is known.
    ///
    /// Gzip is detected by its first two bytes, so that it works on a pipe, too. All members of a file are read, as from
    /// `cat a.gz b.gz`; bytes after the last one are [padding](Self::padding).
    ///
    /// # Errors
    /// If the first two bytes cannot be read.
    pub fn new(name: String, raw: impl Read + Send + 'static, size: Option<u64>) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut raw = Counted { raw, taken: Arc::clone(&taken) };
        let mut head = Vec::with_capacity(GZIP.len());
        raw.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
        let is_gzip = head == GZIP;
        let whole = Cursor::new(head).chain(raw);
        let padding = Arc::new(AtomicU64::new(0));
        let text: Box<dyn Read + Send> = if is_gzip {
            Box::new(Gunzip::new(BufReader::with_capacity(64 * 1024, whole), Arc::clone(&padding)))
        } else {
            Box::new(whole)
        };
        Ok(Self { name, text, taken, size, padding })
    }

    /// The stored length in bytes, if it is a file.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The stored bytes that were read so far, for a progress bar. It can be read after the input has moved.
    pub fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// The bytes after the end of the gzip data. They are no part of the log.
    pub fn padding(&self) -> u64 {
        self.padding.load(Ordering::Relaxed)
    }

    /// The error for a failed read.
    pub(crate) fn failed(&self, cause: &io::Error) -> Error {
        failed("reading", &self.name, cause)
    }
}

impl Read for Input {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.text.read(space)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Counted<R> {
    raw: R,
    /// Only a display reads it: it needs no order with other memory.
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(space)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::gzip::tests::gzip, *};

    fn read(raw: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut input = Input::new("a test".to_owned(), Cursor::new(raw), None)?;
        let mut text = Vec::new();
        input.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn gzip_is_detected_by_its_first_bytes() {
        assert_eq!(read(gzip(b"a\nb\n")).expect("gzip"), b"a\nb\n");
        for plain in [&b""[..], b"a", b"a\nb\n", b"\x1f", b"\x1fa"] {
            assert_eq!(read(plain.to_vec()).expect("plain"), plain);
        }
    }

    #[test]
    fn progress_counts_what_is_stored_not_what_it_unpacks_to() {
        let stored = gzip(&b"a".repeat(100_000));
        let size = stored.len() as u64;
        let mut input = Input::new("a test".to_owned(), Cursor::new(stored), Some(size)).expect("gzip");
        let taken = input.taken();
        io::copy(&mut input, &mut io::sink()).expect("gzip");
        assert_eq!(taken.load(Ordering::Relaxed), size);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::from("no/such.log").open().expect_err("no such file");
        assert!(error.to_string().starts_with("opening no/such.log: "), "{error}");
        assert_eq!(error.retry(), Retry::Never);
        assert_eq!(Source::from("-"), Source::Stdin);
    }
}

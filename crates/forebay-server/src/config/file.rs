//! Reads a file of the configuration.

use std::{fs::File, io::Read as _, path::Path};

/// The largest file in bytes, enough for thousands of definitions. A longer file was probably named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// The text of a file; or why it cannot be read, as a message that follows its name.
///
/// It must be a regular file: to open a pipe may wait for ever, and a device may have no end.
pub(crate) fn read_file(path: &Path) -> Result<String, String> {
    let unreadable = |cause: std::io::Error| format!("cannot be read: {cause}");
    // The check comes before the file is opened.
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        let what = if found.is_dir() { "a directory" } else { "a pipe or a device" };
        return Err(format!("is {what}, where a regular file is accepted"));
    }
    let mut text = vec![];
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes, the most that is accepted"));
    }
    String::from_utf8(text).map_err(|error| {
        format!("is not UTF-8 text: byte {} is invalid", error.utf8_error().valid_up_to() + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_text_in_a_regular_file_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            read_file(&path)
        };
        assert_eq!(read("ä = 1".as_bytes()).as_deref(), Ok("ä = 1"));
        let most = vec![b'#'; 1 << 20];
        assert_eq!(read(&most).map(|text| text.len()), Ok(1 << 20));
        let error = read(&[most, vec![b'#']].concat()).expect_err("a byte too long");
        assert_eq!(error, "is longer than 1048576 bytes, the most that is accepted");
        assert!(read(b"abc\xff").expect_err("no text").contains("byte 4 is invalid"));
        assert!(read_file(dir.path()).expect_err("a directory").starts_with("is a directory"));
        for device in ["/dev/zero", "/dev/null"] {
            assert!(read_file(Path::new(device)).expect_err("a device").starts_with("is a pipe or a device"));
        }
        assert!(
            read_file(Path::new("/no/such")).expect_err("nothing").starts_with("cannot be read: No such")
        );
    }
}

//! Writes files atomically.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

use crate::text::shown;

/// Writes a file in one step: a reader finds the old content or the new one.
///
/// A target that is no regular file, such as `/dev/stdout`, is written directly.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let written = match fs::metadata(path) {
        Ok(there) if !there.is_file() => fs::write(path, contents),
        there => replace(path, there.ok().map(|file| file.permissions()), contents),
    };
    written.with_context(|| doing(path))
}

/// Writes a new file in one step.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it exists.
pub(super) fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = Temporary::new(path, contents)?;
    match fs::hard_link(&temporary.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // The file system has no links.
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(contents).inspect_err(|_| drop(fs::remove_file(path)))
        }
        linked => linked,
    }
}

/// Checks that a file can be written, before the work whose result it gets.
pub(super) fn check(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => Ok(()),
        _ => Temporary::new(&target(path), b"").map(drop).with_context(|| doing(path)),
    }
}

fn doing(path: &Path) -> String {
    format!("writing {}", shown(&path.to_string_lossy()))
}

fn replace(path: &Path, permissions: Option<fs::Permissions>, contents: &[u8]) -> io::Result<()> {
    let path = target(path);
    let temporary = Temporary::new(&path, contents)?;
    if let Some(permissions) = permissions {
        fs::set_permissions(&temporary.0, permissions)?;
    }
    fs::rename(&temporary.0, path)
}

/// The target of a symbolic link, so that the link stays.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A temporary file beside another one, which is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: &Path, contents: &[u8]) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
        let temporary = Self(path.with_file_name(format!(".{name}.{}.tmp", process::id())));
        let mut file = File::create(&temporary.0)?;
        file.write_all(contents)?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It does not exist after a rename.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .expect("a directory")
            .flatten()
            .map(|file| file.file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_atomically_and_keeps_its_mode_and_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a.svg");
        check(&file).expect("it can be written");
        assert!(names(dir.path()).is_empty(), "a check leaves nothing");
        write(&file, b"one").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
        symlink("a.svg", dir.path().join("link")).expect("a link");
        write(&dir.path().join("link"), b"two").expect("written");
        assert_eq!(fs::read(&file).expect("a file"), b"two");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
        assert_eq!(names(dir.path()), ["a.svg", "link"]);
        assert!(fs::symlink_metadata(dir.path().join("link")).expect("a link").is_symlink());

        let nowhere = dir.path().join("no/b.svg");
        assert!(check(&nowhere).is_err() && write(&nowhere, b"x").is_err());
        write(Path::new("/dev/null"), b"x").expect("written");
    }

    #[test]
    fn a_new_file_never_replaces_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a.toml");
        write_new(&file, b"one").expect("written");
        let error = write_new(&file, b"two").expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&file).expect("a file"), names(dir.path())),
            (b"one".to_vec(), vec!["a.toml".to_owned()])
        );
    }
}

//! The files in the URLs of stores and databases.

use std::{fs, path::Path};

use anyhow::{Result, bail};

use crate::{
    config::{Store, Url},
    text::{nearest, shown},
};

/// The most file names that an error lists.
const LISTED: usize = 8;

/// Refuses the URL of a file that does not exist. Opening it would create it, and it is probably misspelt.
pub(super) fn must_exist(what: &str, url: &Url) -> Result<()> {
    let Some(path) = file(url.reveal()).map(Path::new) else { return Ok(()) };
    if path.exists() {
        return Ok(());
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let mut names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    // Files that a server creates beside them.
    names.retain(|name| !["pid", "db-shm", "db-wal"].iter().any(|kind| name.ends_with(kind)));
    names.sort_unstable();
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let meant = nearest(&name, names.iter().map(String::as_str)).map(ToOwned::to_owned);
    names.retain(|other| Path::new(other).extension() == path.extension());
    let hint = match (meant, names.as_slice()) {
        (Some(meant), _) => format!("; did you mean {}?", shown(&meant)),
        (None, []) => String::new(),
        (None, names) => format!("; there is {}", shown(&names[..names.len().min(LISTED)].join(", "))),
    };
    bail!("{what} {}: the file does not exist{hint} (--create creates it)", shown(&url.to_string()))
}

/// Removes the pid file of an embedded store if it names this process: for an exit that does not close the store.
pub(super) fn remove_pid_file(store: &Store) {
    let Store::Url(url) = store else { return };
    let Some(path) = file(url.reveal()) else { return };
    let pid_file = format!("{path}.pid");
    if fs::read_to_string(&pid_file).is_ok_and(|pid| pid.trim() == std::process::id().to_string()) {
        // The file is only a hint.
        let _ = fs::remove_file(pid_file);
    }
}

/// The path in `embedded:PATH?sync=1s` or `sqlite:PATH?mode=rwc`; `None` for a store or database without a file.
fn file(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    let path = match scheme {
        "embedded" => rest.rsplit_once("?sync=").map_or(rest, |(path, _)| path),
        "sqlite" => {
            let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
            let path = path.strip_prefix("//").unwrap_or(path);
            if path == ":memory:" || parameters.contains("mode=memory") { "" } else { path }
        }
        _ => "",
    };
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_have_to_be_there() {
        for (url, path) in [
            ("embedded:a.redb", Some("a.redb")),
            ("embedded:/var/a?b.redb?sync=1s", Some("/var/a?b.redb")),
            ("sqlite:a.db", Some("a.db")),
            ("sqlite:///var/a.db?mode=rwc", Some("/var/a.db")),
            ("sqlite::memory:", None),
            ("sqlite:x?mode=memory", None),
            ("embedded:", None),
            ("memory:", None),
            ("redis://127.0.0.1/0", None),
            ("postgres://localhost/app", None),
        ] {
            assert_eq!(file(url), path, "{url}");
        }
    }
}

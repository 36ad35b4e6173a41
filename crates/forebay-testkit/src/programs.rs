//! Finds the programs of the servers.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// The servers that this run leaves out, separated by commas. `scripts/test --without` sets it.
const WITHOUT: &str = "FOREBAY_TEST_WITHOUT";

/// The directory into which `scripts/servers` unpacks packages that it cannot install.
const UNPACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/testkit");

/// Returns whether this run leaves out `server` (`redis`, `postgres`, `mariadb`, `chromium`, `strace`, `pgbouncer`,
/// `prometheus`).
///
/// A test that needs the server then returns early, and only then. `scripts/test` lists at its end what was not tested.
pub fn without(server: &str) -> bool {
    env::var(WITHOUT).is_ok_and(|names| lists(&names, server))
}

/// The path of `program`, which belongs to `server`.
///
/// Searches `PATH`, Debian's directory for Postgres, the `sbin` directories, which are not on every user's `PATH`, and the
/// directory of `scripts/servers`. Debian's `chromium` is a script that searches for the real program where packages are
/// installed. So for an unpacked one the real program is returned.
#[track_caller]
pub(crate) fn find(server: &str, program: &str) -> PathBuf {
    assert!(
        !without(server),
        "{server} is left out by {WITHOUT}: ask `without(\"{server}\")` before starting it"
    );
    directories().into_iter().map(|directory| directory.join(program)).find(|path| path.is_file()).unwrap_or_else(
        || panic!("{program} not found: `scripts/servers` installs it, `scripts/test --without {server}` does without"),
    )
}

/// The current `LD_LIBRARY_PATH`, and after it the libraries of unpacked programs.
pub(crate) fn library_path() -> OsString {
    let mut all: Vec<PathBuf> =
        env::var_os("LD_LIBRARY_PATH").iter().flat_map(|paths| env::split_paths(paths)).collect();
    for root in ["usr/lib", "lib"].map(|path| Path::new(UNPACKED).join(path)) {
        // Debian's libraries are in a directory that is named after the machine.
        all.extend(below(&root).into_iter().filter(|path| path.to_string_lossy().ends_with("-linux-gnu")));
    }
    env::join_paths(all).unwrap_or_default()
}

fn directories() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    for root in ["/", UNPACKED].map(Path::new) {
        let mut versions = below(&root.join("usr/lib/postgresql"));
        versions.sort();
        all.extend(versions.into_iter().rev().map(|version| version.join("bin")));
        all.extend(["usr/lib/chromium", "usr/bin", "usr/sbin", "usr/local/sbin"].map(|path| root.join(path)));
    }
    all
}

fn below(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn lists(names: &str, server: &str) -> bool {
    names.split(',').any(|name| name.trim() == server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_left_out_by_their_whole_names() {
        assert!(lists("redis,mariadb", "mariadb") && lists("redis, mariadb", "mariadb"));
        assert!(!lists("", "mariadb") && !lists("mariadb-10", "mariadb"));
    }

    #[test]
    #[should_panic(expected = "no-such-program not found: `scripts/servers` installs it")]
    fn a_missing_program_fails_and_says_how_to_get_it() {
        // The program is not `redis`, which may be left out of this run.
        find("server", "no-such-program");
    }
}

//! Where the servers' programs are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Names, separated by commas, of the servers that this run leaves out; set by `scripts/test --without`.
const WITHOUT: &str = "FOREBAY_TEST_WITHOUT";

/// Whether this run was told to leave `server` (`redis`, `postgres`, `mariadb`) out.
///
/// A test that needs it returns early then, and only then; `scripts/test` says at its end what was not tested.
pub fn without(server: &str) -> bool {
    env::var(WITHOUT).is_ok_and(|names| names.split(',').any(|name| name.trim() == server))
}

/// The path of `program`, which belongs to `server`.
///
/// Looked for on `PATH`, where Debian hides its Postgres, and in the `sbin` directories, which are not on every
/// user's `PATH`.
#[track_caller]
pub(crate) fn find(server: &str, program: &str) -> PathBuf {
    assert!(
        !without(server),
        "{server} is left out by {WITHOUT}: the test should have asked `without(\"{server}\")`"
    );
    directories().into_iter().map(|directory| directory.join(program)).find(|path| path.is_file()).unwrap_or_else(
        || panic!("{program} not found: `scripts/test` installs it, `scripts/test --without {server}` does without"),
    )
}

fn directories() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let mut postgres: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    postgres.sort();
    all.extend(postgres.into_iter().rev());
    all.extend(["/usr/sbin", "/usr/local/sbin"].map(|path| Path::new(path).to_owned()));
    all
}

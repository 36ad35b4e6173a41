//! Finds processes, and runs a process that tests kill.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Returns whether the process exists. A process that has ended counts until its parent has waited for it.
pub(crate) fn process_exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The number of established connections to `port` on this machine, from the client's side.
pub(crate) fn connections_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 3 && row[2].ends_with(&port) && row[3] == ESTABLISHED).count()
}

/// A process that has started a server and holds it.
pub(crate) struct Holder {
    process: Child,
    server: u32,
}

impl Holder {
    pub(crate) fn of(server: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_forebay-testkit"))
            .arg(server)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the holder starts");
        let mut url = String::new();
        BufReader::new(process.stdout.as_mut().expect("piped")).read_line(&mut url).expect("a URL");
        let shell = children(process.id());
        let server = children(*shell.first().expect("a supervising shell"));
        Self { process, server: *server.first().expect("a server") }
    }

    pub(crate) fn server(&self) -> u32 {
        self.server
    }

    /// The directory in which the server runs.
    pub(crate) fn dir(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/cwd", self.server)).expect("the server runs")
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }
}

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("Linux has it").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

//! A slow disk.

use std::{
    fs,
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{programs, wait::wait_until};

/// Watches the syncs of a process, and delays them: `strace` attached to it and to all its threads.
///
/// A process that is killed while it waits has not synced. A delayed call ends with its process, or continues when the
/// watcher is dropped.
#[derive(Debug)]
pub struct Strace {
    strace: Child,
    log: tempfile::NamedTempFile,
}

impl Strace {
    /// Attaches to a process; each `fsync` and `fdatasync` waits for `delay` before it begins.
    ///
    /// # Panics
    /// If it cannot attach.
    #[track_caller]
    pub fn attach(pid: u32, delay: Duration) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let micros = delay.as_micros();
        let mut command = Command::new(programs::find("strace", "strace"));
        command.args(["-f", "-y", "-e", "trace=fsync,fdatasync"]);
        if micros > 0 {
            command.args(["-e", &format!("inject=fsync,fdatasync:delay_enter={micros}")]);
        }
        let mut strace = command
            .args(["-p", &pid.to_string(), "-o"])
            .arg(log.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start strace: {error}"));
        let watcher = strace.id();
        wait_until("strace to attach to every thread", || {
            if let Ok(Some(_)) = strace.try_wait() {
                let mut why = String::new();
                let _ = strace.stderr.as_mut().map(|stderr| stderr.read_to_string(&mut why));
                panic!("strace cannot attach to process {pid}: {why}");
            }
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
            tasks.flatten().all(|task| tracer(task.path().join("status")) == Some(watcher))
        });
        Self { strace, log }
    }

    /// The syncs so far, a line each: process, call, and file. A sync that has just begun is included.
    pub fn syncs(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log.path()).expect("a log");
        let is_sync = |line: &&str| line.contains("sync(");
        log.lines().filter(is_sync).map(str::to_owned).collect()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Neither call can fail for a child process, which may have ended with the traced process.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn tracer(status: PathBuf) -> Option<u32> {
    let status = fs::read_to_string(status).ok()?;
    status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
}

//! The process of a server.

use std::{fmt, path::Path};

use crate::{ports::free_port, supervisor::Supervisor};

/// The number of ports on which a server is tried. After that, a taken port is not the cause.
const ATTEMPTS: usize = 5;

/// A server's process.
///
/// [`Redis`](crate::Redis), [`Postgres`](crate::Postgres), [`MariaDb`](crate::MariaDb) and
/// [`Chromium`](crate::Chromium) dereference to it.
pub struct Server {
    name: &'static str,
    port: u16,
    plan: Plan,
}

/// The way to run a server on a certain port.
pub(crate) struct Plan {
    pub(crate) supervisor: Supervisor,
    pub(crate) command: Vec<String>,
    pub(crate) ready: Ready,
}

/// A check whether the server with this process id answers, rather than another one on the same port.
pub(crate) type Ready = Box<dyn Fn(u32) -> bool + Send + Sync>;

impl Server {
    /// Starts the server of `plan`, on `port` or on a free one.
    #[track_caller]
    pub(crate) fn start(name: &'static str, port: Option<u16>, plan: impl Fn(u16) -> Plan) -> Self {
        Self::start_on(name, port, free_port, plan)
    }

    /// Like [`start`](Self::start), with a function that returns a free port.
    #[track_caller]
    pub(crate) fn start_on(
        name: &'static str,
        port: Option<u16>,
        free: fn() -> u16,
        plan: impl Fn(u16) -> Plan,
    ) -> Self {
        for attempt in 1.. {
            let wanted = port.unwrap_or_else(free);
            let server = Self { name, port: wanted, plan: plan(wanted) };
            let Err(log) = server.launch() else { return server };
            let taken = log.contains("Address already in use") && port.is_none();
            assert!(taken && attempt < ATTEMPTS, "{name} did not start on port {wanted}:\n{log}");
        }
        unreachable!("the last attempt has returned or panicked")
    }

    /// Its port on 127.0.0.1. It stays the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory, for tests that replace its files while it is down.
    pub fn dir(&self) -> &Path {
        self.plan.supervisor.dir()
    }

    /// Its process id; `None` after [`kill`](Self::kill).
    pub fn pid(&self) -> Option<u32> {
        self.plan.supervisor.pid()
    }

    /// Ends it and its children with SIGKILL. Does nothing if it is down already.
    pub fn kill(&self) {
        self.plan.supervisor.kill();
    }

    /// Starts it again on the same port and data, killing it first if it runs.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        if let Err(log) = self.launch() {
            panic!("{} did not start again on port {}:\n{log}", self.name, self.port);
        }
    }

    /// Suspends its processes (SIGSTOP): connections stay open, but nothing is answered.
    pub fn pause(&self) {
        self.plan.supervisor.pause();
    }

    /// Resumes it after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.plan.supervisor.resume();
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        self.plan.supervisor.log()
    }

    fn launch(&self) -> Result<(), String> {
        let Plan { supervisor, command, ready } = &self.plan;
        supervisor.start(command);
        supervisor.wait_ready(ready)
    }
}

/// Lets a server be used as its process.
macro_rules! dereferences_to_server {
    ($name:ty) => {
        impl std::ops::Deref for $name {
            type Target = Server;

            fn deref(&self) -> &Server {
                &self.server
            }
        }
    };
}

pub(crate) use dereferences_to_server;

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.name).field("port", &self.port).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

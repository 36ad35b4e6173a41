//! A browser, driven over WebDriver.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use crate::{
    programs,
    server::{Plan, Server, dereferences_to_server},
    supervisor::Supervisor,
};

/// The time in which the driver must say that it is ready, before it is asked again.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A `chromedriver` on a loopback port, ended and removed when dropped, with the browsers that it has started.
///
/// It speaks WebDriver at [`url`](Self::url); a session asks for [`program`](Self::program) with
/// [`arguments`](Self::arguments).
#[derive(Debug)]
pub struct Chromium {
    server: Server,
    program: String,
}

impl Chromium {
    /// Starts a driver; the browser starts with a session.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        let driver = programs::find("chromium", "chromedriver").display().to_string();
        let program = programs::find("chromium", "chromium").display().to_string();
        let server = Server::start("chromedriver", None, |port| {
            // The driver ends its browsers on SIGTERM.
            let supervisor = Supervisor::new("TERM");
            let dir = supervisor.dir().display();
            // Driver and browser put files into these folders.
            let folders = ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"];
            let mut command = vec!["env".to_owned()];
            command.extend(folders.map(|name| format!("{name}={dir}")));
            command.extend([driver.clone(), format!("--port={port}")]);
            Plan { supervisor, command, ready: Box::new(move |_| is_ready(port).unwrap_or(false)) }
        });
        Self { server, program }
    }

    /// The URL of the driver.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The browser.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The arguments of the browser: no window, a temporary profile, and no host but this machine.
    pub fn arguments(&self) -> Vec<String> {
        let plain = [
            "--headless=new",
            // Chromium's sandbox refuses root, and containers mostly refuse the sandbox. The browser shows our own page
            // only.
            "--no-sandbox",
            // `/dev/shm` is small in containers.
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--disable-breakpad",
            // A page that calls another host fails, and reports it on the console.
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ];
        let profile = format!("--user-data-dir={}", self.dir().join("profile").display());
        plain.map(str::to_owned).into_iter().chain([profile]).collect()
    }
}

dereferences_to_server!(Chromium);

/// Returns whether a driver accepts sessions on the port.
fn is_ready(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(stream, "GET /status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    // The driver answers in one piece, but keeps the connection open.
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).contains("\"ready\":true"))
}

//! A browser, driven over WebDriver.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    ops::Deref,
    time::Duration,
};

use crate::{
    programs,
    server::{Plan, Server},
    supervisor::Supervisor,
};

/// How long the driver may take to say that it is ready, before it is asked again.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A `chromedriver` on a loopback port, ended and removed when dropped, with the browsers that it has started.
///
/// It speaks WebDriver at [`url`](Self::url); a session asks for [`program`](Self::program) with
/// [`arguments`](Self::arguments).
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
            // On SIGTERM it ends its browsers.
            let supervisor = Supervisor::new("TERM");
            let dir = supervisor.dir().display();
            // Driver and browser put files where these point.
            let mut command: Vec<String> = vec!["env".into()];
            command.extend(
                ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|name| format!("{name}={dir}")),
            );
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
        let profile = self.dir().join("profile");
        let mut arguments = vec![
            "--headless=new".to_owned(),
            // Its sandbox refuses root, and containers mostly refuse the sandbox. It shows our own page only.
            "--no-sandbox".to_owned(),
            // Small in containers.
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-background-networking".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-breakpad".to_owned(),
            // A page that asks another host fails, and says so on its console.
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1".to_owned(),
        ];
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments
    }
}

impl Deref for Chromium {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl fmt::Debug for Chromium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

/// Whether a driver takes sessions there.
fn is_ready(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(stream, "GET /status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    // It answers in one piece, and keeps the connection open all the same.
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).contains("\"ready\":true"))
}

//! A Prometheus with given samples.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use crate::{
    programs,
    server::{Plan, Server, dereferences_to_server},
    supervisor::Supervisor,
};

/// A Prometheus that collects nothing and answers queries, ended and removed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
}

impl Prometheus {
    /// Starts one with samples: lines of the form `name{label="value"} 1.5 1767225600`, in the order of their times for each
    /// metric. The times may be of any year.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start(samples: &str) -> Self {
        let program = programs::find("prometheus", "prometheus").display().to_string();
        let tool = programs::find("prometheus", "promtool").display().to_string();
        let server = Server::start("prometheus", None, |port| {
            let supervisor = Supervisor::new("KILL");
            for (name, text) in
                [("samples", format!("{samples}# EOF\n")), ("config", "global: {}\n".to_owned())]
            {
                let written = fs::write(supervisor.dir().join(name), text);
                written
                    .unwrap_or_else(|error| panic!("cannot write the file {name} for Prometheus: {error}"));
            }
            let import = [&tool, "tsdb", "create-blocks-from", "--quiet", "openmetrics", "samples", "data"];
            supervisor.run(&import.map(str::to_owned));
            let command = [
                &program,
                "--config.file=config",
                "--storage.tsdb.path=data",
                "--storage.tsdb.retention.time=100y",
                "--log.level=warn",
                &format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            let ready = move |_| request(port, "/-/ready").is_ok_and(|(status, _)| status == 200);
            Plan { supervisor, command: command.map(str::to_owned).to_vec(), ready: Box::new(ready) }
        });
        Self { server }
    }

    /// The status and the body of the answer to a GET.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn get(&self, path: &str) -> io::Result<(u16, String)> {
        request(self.port(), path)
    }
}

dereferences_to_server!(Prometheus);

/// Requests a path by HTTP 1.0, whose answers come in one piece.
fn request(port: u16, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

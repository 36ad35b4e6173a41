//! A PgBouncer in front of a Postgres.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    postgres::Postgres,
    programs,
    proxy::Proxy,
    server::{Plan, Server, dereferences_to_server},
    supervisor::Supervisor,
    user::{is_root, ordinary_user},
};

/// A pooler that reuses a connection for another client after each transaction, ended and removed when dropped.
///
/// It has two connections to the server for each database, and takes any number of clients.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// Starts one in front of the Postgres on a port.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start(postgres: u16) -> Self {
        let program = programs::find("pgbouncer", "pgbouncer").display().to_string();
        let server = Server::start("pgbouncer", None, |port| {
            let supervisor = Supervisor::new("KILL");
            let config = format!(
                "[databases]\n* = host=127.0.0.1 port={postgres}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
                 auth_file = users\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 500\n\
                 server_login_retry = 0.2\n"
            );
            for (name, text) in [("config", config), ("users", "\"postgres\" \"\"\n".to_owned())] {
                let written = fs::write(supervisor.dir().join(name), text);
                written.unwrap_or_else(|error| panic!("cannot write the file {name} for PgBouncer: {error}"));
            }
            if is_root() {
                // The pooler refuses to run as root.
                supervisor.own(ordinary_user());
            }
            let command = vec![program.clone(), "config".to_owned()];
            Plan { supervisor, command, ready: Box::new(move |_| answers(port).unwrap_or(false)) }
        });
        Self { server }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        Postgres::url_at(self.port(), database)
    }

    /// The URL of a database behind it that leads through `proxy`.
    pub fn url_through(&self, proxy: &Proxy, database: &str) -> String {
        Postgres::url_at(proxy.port(), database)
    }
}

dereferences_to_server!(PgBouncer);

/// Returns whether it answers that it has no TLS, like a server of this protocol.
fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"N")
}

//! One MariaDB server.

use std::{
    io::Read,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    programs,
    proxy::Proxy,
    server::{Plan, Server, dereferences_to_server},
    sql,
    supervisor::Supervisor,
    unique::unique_prefix,
    user::is_root,
};

/// A MariaDB server on a loopback port, ended and removed when dropped.
///
/// Commits survive [`kill`](Server::kill). The account is `root`, without a password.
///
/// ```
/// use forebay_testkit::MariaDb;
///
/// # if forebay_testkit::without("mariadb") { return; }
/// let mariadb = MariaDb::shared();
/// let database = mariadb.new_database();
/// mariadb.query(&database, "CREATE TABLE t (id int)");
/// assert_eq!(mariadb.query(&database, "INSERT INTO t VALUES (1), (2); SELECT id FROM t"), "1\n2");
/// ```
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
    client: PathBuf,
}

impl MariaDb {
    /// Starts a server without databases of its own.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        let find = |program| programs::find("mariadb", program);
        let (program, install, client) = (find("mariadbd"), find("mariadb-install-db"), find("mariadb"));
        let server = Server::start("mariadbd", None, |port| plan(&program, &install, port));
        Self { server, client }
    }

    /// The one server that all tests of a binary share; it ends with the process. Each test uses its own
    /// [`new_database`](Self::new_database).
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The URL of `database`, which always exists if it is `mysql`.
    pub fn url(&self, database: &str) -> String {
        url_at(self.port(), database)
    }

    /// The URL of `database` through `proxy`.
    pub fn url_through(&self, proxy: &Proxy, database: &str) -> String {
        url_at(proxy.port(), database)
    }

    /// Creates a new database and returns its name.
    ///
    /// # Panics
    /// If the server does not answer.
    #[track_caller]
    pub fn new_database(&self) -> String {
        let name = unique_prefix();
        self.query("mysql", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"));
        name
    }

    /// Runs `sql` in `database` with the database's own client. Returns the answer: a line per row, with tabs between the
    /// columns.
    ///
    /// # Panics
    /// If it fails, with the reason.
    #[track_caller]
    pub fn query(&self, database: &str, sql: &str) -> String {
        let port = self.port().to_string();
        let options = ["--no-defaults", "-N", "-B", "-h", "127.0.0.1", "-u", "root"];
        sql::ask(Command::new(&self.client).args(options).args(["-P", &port, "-D", database, "-e", sql]))
    }
}

dereferences_to_server!(MariaDb);

fn url_at(port: u16, database: &str) -> String {
    format!("mysql://root@127.0.0.1:{port}/{database}")
}

fn plan(program: &Path, install: &Path, port: u16) -> Plan {
    let supervisor = Supervisor::new("KILL");
    let dir = supervisor.dir().display().to_string();
    // The server searches messages and plugins below this directory. It is /usr, unless the server was unpacked elsewhere.
    let base = program.ancestors().nth(2).unwrap_or(Path::new("/usr")).display();
    let mut common = vec![
        "--no-defaults".to_owned(),
        format!("--basedir={base}"),
        format!("--datadir={dir}/data"),
        format!("--tmpdir={dir}"),
        "--skip-name-resolve".to_owned(),
    ];
    if is_root() {
        // Root may run the server only with this option.
        common.push("--user=root".to_owned());
    }

    let mut installation = vec![install.display().to_string()];
    installation.extend(common.iter().cloned());
    installation.extend(["--auth-root-authentication-method=normal".to_owned(), "--skip-test-db".to_owned()]);
    supervisor.run(&installation);

    let mut command = vec![program.display().to_string()];
    command.extend(common);
    command.extend([
        "--bind-address=127.0.0.1".to_owned(),
        format!("--port={port}"),
        format!("--socket={dir}/socket"),
        format!("--pid-file={dir}/pid"),
    ]);
    let socket = supervisor.dir().join("socket");
    Plan { supervisor, command, ready: Box::new(move |_| greets(&socket)) }
}

/// Returns whether the server behind this socket sends its greeting. The socket is in its own directory.
fn greets(socket: &Path) -> bool {
    UnixStream::connect(socket).and_then(|mut stream| stream.read_exact(&mut [0])).is_ok()
}

//! One Postgres server.

use std::{
    fs,
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
    user::{is_root, ordinary_user},
};

/// A Postgres server on a loopback port, ended and removed when dropped.
///
/// Commits survive [`kill`](Server::kill); they are not forced to disk, so they would not survive the machine, unless it
/// is [`durable`](Self::durable).
/// The only role is the superuser `postgres`, without a password.
///
/// ```
/// use forebay_testkit::Postgres;
///
/// # if forebay_testkit::without("postgres") { return; }
/// let postgres = Postgres::shared();
/// let database = postgres.new_database();
/// postgres.query(&database, "CREATE TABLE t (id int)");
/// assert_eq!(postgres.query(&database, "INSERT INTO t VALUES (1), (2) RETURNING id"), "1\n2");
/// ```
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    psql: PathBuf,
}

impl Postgres {
    /// Starts a server with an empty cluster.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn start() -> Self {
        // The data need not survive the machine. Written data survives the server, even if it is not synced.
        Self::start_with("-c fsync=off -c full_page_writes=off")
    }

    /// Like [`start`](Self::start), with commits that are forced to disk, for measurements.
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn durable() -> Self {
        Self::start_with("")
    }

    #[track_caller]
    fn start_with(options: &str) -> Self {
        // On Debian, the psql on the path uses its own configuration to choose a server.
        let program = programs::find("postgres", "postgres");
        let program = program.canonicalize().unwrap_or(program);
        let [initdb, psql] = ["initdb", "psql"].map(|name| program.with_file_name(name));
        let server = Server::start("postgres", None, |port| plan(&program, &initdb, port, options));
        Self { server, psql }
    }

    /// The one server that all tests of a binary share; it ends with the process. Each test uses its own
    /// [`new_database`](Self::new_database).
    ///
    /// # Panics
    /// If it cannot be started, with the reason.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The URL of `database`, which always exists if it is `postgres`.
    pub fn url(&self, database: &str) -> String {
        Self::url_at(self.port(), database)
    }

    /// The URL of `database` through `proxy`.
    pub fn url_through(&self, proxy: &Proxy, database: &str) -> String {
        Self::url_at(proxy.port(), database)
    }

    pub(crate) fn url_at(port: u16, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{database}")
    }

    /// Creates a new database and returns its name.
    ///
    /// # Panics
    /// If the server does not answer.
    #[track_caller]
    pub fn new_database(&self) -> String {
        let name = unique_prefix();
        self.query("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        name
    }

    /// Runs `sql` in `database` with the database's own client. Returns the answer: a line per row, with tabs between the
    /// columns, and NULL as an empty text.
    ///
    /// # Panics
    /// If it fails, with the reason.
    #[track_caller]
    pub fn query(&self, database: &str, sql: &str) -> String {
        let options = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"];
        sql::ask(Command::new(&self.psql).args(options).args(["-d", &self.url(database), "-c", sql]))
    }
}

dereferences_to_server!(Postgres);

fn plan(program: &Path, initdb: &Path, port: u16, further: &str) -> Plan {
    // SIGQUIT ends the server at once, but removes its shared memory.
    let supervisor = Supervisor::new("QUIT");
    if is_root() {
        supervisor.own(ordinary_user());
    }
    let options = "-D data -U postgres -A trust -E UTF8 --locale=C --no-sync";
    supervisor.run(&command(initdb, options));

    let options = "-D data -c listen_addresses=127.0.0.1 -c dynamic_shared_memory_type=mmap";
    let mut command = command(program, &format!("{options} {further}"));
    let sockets = format!("unix_socket_directories={}", supervisor.dir().display());
    command.extend(["-p".to_owned(), port.to_string(), "-c".to_owned(), sockets]);

    let state = supervisor.dir().join("data/postmaster.pid");
    Plan { supervisor, command, ready: Box::new(move |pid| is_ready(&state, pid)) }
}

fn command(program: &Path, options: &str) -> Vec<String> {
    let mut words = vec![program.display().to_string()];
    words.extend(options.split_whitespace().map(str::to_owned));
    words
}

/// Returns whether the server with this process id accepts connections, according to its status file.
fn is_ready(state: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(state).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    // The first line is the process id, the eighth the state.
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}

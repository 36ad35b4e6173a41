//! Starts a server by hand: `cargo run -p forebay-testkit -- redis` prints its URL and keeps it until stdin ends.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use forebay_testkit::{MariaDb, Postgres, Redis};

fn main() -> ExitCode {
    let name = env::args().nth(1).unwrap_or_default();
    let shown = match name.as_str() {
        "redis" => keep(&Redis::start(), Redis::url),
        "postgres" => keep(&Postgres::start(), |server| server.url("postgres")),
        "mariadb" => keep(&MariaDb::start(), |server| server.url("mysql")),
        _ => Err(io::Error::other(format!("expected redis, postgres or mariadb, got {name:?}"))),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forebay-testkit: {error}");
            ExitCode::from(2)
        }
    }
}

fn keep<S>(server: &S, url: impl Fn(&S) -> String) -> io::Result<()> {
    writeln!(io::stdout(), "{}", url(server))?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

//! `forebay schema`.

use std::{collections::HashSet, process::ExitCode};

use anyhow::Result;

use super::{config::read, terminal::say};
use crate::{
    config::{Config, Dialect, Options},
    registry::find,
};

/// Print the statements that create the tables of the buffers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay schema                               for the database of the configuration
  forebay schema --dialect postgres | psql app
  forebay schema --dialect mysql --buffer projects

For a database in which the server may not create tables (migrate = false). Existing tables are not altered. The ledger, \
the dead letters and the moves must be in the same schema, or database, as the buffer's table.
Exit status: 0 printed, 2 error.")]
pub(super) struct Args {
    /// The SQL dialect [default: that of the configured database]
    #[arg(long, value_enum)]
    dialect: Option<Dialect>,
    /// Only the tables of this buffer
    #[arg(long, value_name = "NAME")]
    buffer: Option<String>,
    #[command(flatten)]
    config: Options,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let config = read(&args.config)?;
    let dialect = args.dialect.unwrap_or_else(|| Dialect::of(&config.database));
    say(script(&config, dialect, args.buffer.as_deref())?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The statements of the buffers, each once, because several buffers may share a ledger.
fn script(config: &Config, dialect: Dialect, only: Option<&str>) -> Result<String> {
    if let Some(name) = only {
        find("buffer", name, &config.buffers)?;
    }
    let wanted = config.buffers.iter().filter(|(name, _)| only.is_none_or(|only| name.as_str() == only));
    let (mut script, mut seen) = (String::new(), HashSet::new());
    for (_, buffer) in wanted {
        for statement in dialect.ddl(&buffer.schema).split_inclusive(";\n") {
            if seen.insert(statement.to_owned()) {
                script.push_str(statement);
            }
        }
    }
    Ok(script)
}

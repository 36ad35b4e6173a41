//! The command line: one file per command.
//!
//! A new command is a file with its `Args` and `run`, and a variant and an arm in `command.rs`.

mod bar;
mod check_config;
mod cluster;
mod command;
mod config;
mod dead;
mod flush;
mod import_state;
mod init;
mod limit;
mod lock;
mod output;
mod paths;
mod plot;
mod remote;
mod replay;
mod runtime;
mod schema;
mod series;
mod series_export;
mod series_import;
mod series_keys;
mod series_ranking;
mod series_text;
mod serve;
mod terminal;
mod watch;

pub use command::main;

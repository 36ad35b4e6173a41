//! The program as its users start it: what it prints, what it exits with, how it stops.

mod client;
mod cluster;
mod config;
mod files;
mod guide;
mod lock;
mod plot;
mod process;
mod redis;
mod reload;
mod replay;
mod serve;
mod statsd;
mod summary;
mod terminal;
mod transfer;
mod watchdog;

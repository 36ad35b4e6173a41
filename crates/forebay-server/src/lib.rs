//! The parts of the `forebay` program.
//!
//! They are a library so that the program, its tests and its fuzz targets share them. The stable interface is that of the
//! program: its command line, configuration and HTTP interface, not these modules.
//!
//! ```text
//! text config api     what people and programs write: notations, the configuration, HTTP bodies
//! promql              the language of queries: numbers in, numbers out
//! app …               the core: what is open while the server runs, its rules, metrics and warnings
//! export              series as text
//! http dashboard      the interfaces; `router` joins their routes
//! import statsd       files and datagrams into series
//! cli                 the commands; `client` calls a server, `replay` and `chart` stand beside
//! ```

mod api;
pub mod app;
mod canary;
pub mod chart;
pub mod cli;
mod client;
pub mod config;
mod dashboard;
mod database;
mod export;
mod host_metrics;
pub mod http;
mod import;
mod live;
mod log;
mod measured_sink;
pub mod metrics;
mod prometheus;
mod promql;
pub mod registry;
pub mod reload;
pub mod replay;
pub mod router;
pub mod rules;
pub mod shutdown;
pub mod statsd;
pub mod summary;
pub mod text;
pub mod warning;

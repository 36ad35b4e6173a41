//! The parts of the `forebay` program.
//!
//! They are a library so that the program, its tests and its fuzz targets share them. What is stable is
//! the program: its command line, configuration and HTTP interface, not these modules.

pub mod app;
pub mod canary;
pub mod chart;
pub mod cli;
pub mod client;
pub mod config;
pub mod dashboard;
pub mod database;
pub mod http;
pub mod log;
pub mod measured;
pub mod metrics;
pub mod range;
pub mod reload;
pub mod replay;
pub mod route;
pub mod rules;
pub mod shutdown;
pub mod text;
pub mod warning;

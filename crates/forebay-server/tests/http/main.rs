//! The server over HTTP, as its callers meet it.

#![expect(clippy::print_stdout, reason = "tests of slots that move print what callers met")]

mod bad_input;
mod buffer;
mod canary;
mod chart;
mod cluster;
mod dashboard;
mod database;
mod dead;
mod encoding;
mod event;
mod explorer;
mod keep_alive;
mod labels;
mod limit;
mod live;
mod lock;
mod map;
mod moves;
mod once;
mod operate;
mod prometheus;
mod ranking;
mod redis;
mod resharding;
mod security;
mod series;
mod series_export;
mod series_query;
mod slow;
mod statsd;
mod strict;
mod summary;
#[path = "../support/mod.rs"]
mod support;

//! The bodies of the HTTP interface, each defined once: the server and the command line share them.
//!
//! One file per primitive. Nothing here knows a web framework, and nothing here asks a store.

pub(crate) mod batch;
pub(crate) mod buffer;
pub(crate) mod cells;
pub(crate) mod chart;
pub(crate) mod cluster;
pub(crate) mod declared;
pub(crate) mod event;
pub(crate) mod fields;
pub(crate) mod host;
pub(crate) mod labels;
pub(crate) mod limit;
pub(crate) mod live;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod prometheus;
pub(crate) mod ranking;
pub(crate) mod series;
pub(crate) mod series_export;
pub(crate) mod series_query;
pub(crate) mod summary;

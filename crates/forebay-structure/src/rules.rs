//! The table of what is allowed: the layers of each crate from the bottom up, and its pure files.
//!
//! A part is a path below `src` without `.rs`, and stands for a file or for a folder with all that is in it. The
//! longest part that fits a file decides its layer.

/// The rules for one crate.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The crate's folder.
    pub folder: &'static str,
    /// From the bottom up: a file uses its own layer and those below.
    pub layers: &'static [Layer],
    /// Numbers in, numbers out: these use only each other, and nothing that waits, reads a clock or does I/O.
    pub pure: &'static [&'static str],
}

/// Parts of the same height.
#[derive(Clone, Copy, Debug)]
pub enum Layer {
    /// Parts that may use each other.
    Together(&'static [&'static str]),
    /// Parts that never use one another.
    Apart(&'static [&'static str]),
}

/// Crates and modules that a pure file must not use.
pub const IMPURE: &[&str] = &[
    "futures",
    "redb",
    "redis",
    "rustix",
    "sqlx",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "tracing",
];

/// The crates of this workspace.
pub const WORKSPACE: &[Rules] = &[
    Rules {
        folder: "crates/forebay",
        layers: &[
            Layer::Together(&["model", "backoff", "error", "failpoint", "key", "lease_margin", "time"]),
            Layer::Together(&["applied", "clock", "held_lease", "sink", "table"]),
            Layer::Together(&["engine"]),
            Layer::Together(&["store", "once"]),
            Layer::Apart(&["buffer", "limit", "series", "lock"]),
            Layer::Apart(&["cluster", "event"]),
            Layer::Together(&["bay", "options", "engine/conformance", "lib"]),
        ],
        pure: &[
            "model",
            "error",
            "key",
            "time",
            "engine/cluster/host",
            "engine/cluster/router/ketama",
            "engine/cluster/router/partition",
            "engine/cluster/router/rendezvous",
            "engine/cluster/slot",
            "engine/embedded/batch",
            "engine/embedded/codec",
            "series/uniform_plan",
            "series/uniform_query",
            "series/cover",
            "series/derive",
            "series/finest",
            "series/plan",
            "series/query",
            "series/query_plan",
            "series/range",
            "series/step",
        ],
    },
    Rules {
        folder: "crates/forebay-sql",
        layers: &[
            Layer::Together(&["common", "options", "totals"]),
            Layer::Apart(&["sqlite", "postgres", "mysql"]),
            Layer::Together(&["lib"]),
        ],
        pure: &[],
    },
    Rules {
        folder: "crates/forebay-server",
        layers: &[
            Layer::Together(&["text"]),
            Layer::Apart(&["config", "chart", "log", "promql", "shutdown"]),
            Layer::Apart(&["api", "client"]),
            Layer::Together(&[
                "app",
                "canary",
                "database",
                "host_metrics",
                "live",
                "measured_sink",
                "metrics",
                "prometheus",
                "registry",
                "reload",
                "rules",
                "summary",
                "warning",
            ]),
            Layer::Apart(&["export", "statsd"]),
            Layer::Apart(&["http", "replay"]),
            Layer::Apart(&["dashboard", "import"]),
            Layer::Together(&["router"]),
            Layer::Together(&["cli"]),
            Layer::Together(&["lib"]),
        ],
        pure: &[
            "chart/bars",
            "chart/graph",
            "chart/spark",
            "chart/ticks",
            "export/openmetrics",
            "export/points",
            "prometheus/names",
            "prometheus/samples",
            "promql",
            "statsd/levels",
            "statsd/line",
            "statsd/observed",
            "statsd/pending",
            "statsd/sampled",
            "statsd/why",
            "text",
        ],
    },
    Rules { folder: "crates/forebay-tower", layers: &[], pure: &[] },
    Rules { folder: "crates/forebay-testkit", layers: &[], pure: &[] },
    Rules { folder: "crates/forebay-structure", layers: &[], pure: &[] },
    Rules { folder: "bench", layers: &[], pure: &[] },
];

//! The configuration: the result of file, environment and flags, and the messages about mistakes.

use std::{collections::HashMap, fs, path::PathBuf};

use forebay_server::config::{Config, EXAMPLE, Mistakes, Options, Origin, Scope, load};
use proptest::prelude::*;

/// A directory with a configuration file, and an environment.
struct Setting {
    dir: tempfile::TempDir,
    options: Options,
    environment: HashMap<String, String>,
}

impl Setting {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("forebay.toml");
        fs::write(&file, text).expect("a file");
        Self {
            dir,
            options: Options { config: Some(file), ..Options::default() },
            environment: HashMap::new(),
        }
    }

    fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.insert(variable.into(), value.into());
        self
    }

    fn load(&self) -> Result<Config, Mistakes> {
        load(&self.options, &|name| self.environment.get(name).cloned())
    }

    /// The mistakes, without the directory's path.
    fn mistakes(&self) -> String {
        let mistakes = self.load().expect_err("a configuration with mistakes");
        mistakes.to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }
}

const STATSD: &str = "[series.hits]\n[statsd]\nlisten = \"127.0.0.1:0\"\nmetrics = []\n";

/// The only mistake in `text`.
fn mistake(text: &str) -> String {
    let mistakes = Setting::new(text).mistakes();
    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    mistakes
}

const LIMIT: &str = "[limits.hits]\nrate = \"20/1m\"\n";
const BUFFER: &str = "[buffers.projects]\nkey = { id = \"text\" }\n\
    columns = { hits = \"sum\", last_seen = { merge = \"max\", type = \"timestamp\" } }\n";

#[test]
fn a_rate_per_day_is_of_the_calendar_and_one_per_1d_of_24_hours() {
    let text = "[limits.a]\nrate = \"10000/month\"\nzone = \"Europe/Berlin\"\noverrides = { vip = \"5/week\" }\n\
        [limits.b]\nrate = \"5/day\"\n[limits.c]\nrate = \"5/1d\"\n[limits.d]\nrate = \"5/d\"\n";
    let config = Setting::new(text).load().expect("no mistakes");
    let shown: Vec<_> = config
        .limits
        .values()
        .map(|limit| {
            let settings = limit.settings();
            (settings.kind.as_str(), settings.allowed.to_string(), settings.zone)
        })
        .collect();
    let row = |kind, allowed: &str, zone: Option<&str>| (kind, allowed.to_owned(), zone.map(str::to_owned));
    assert_eq!(
        shown,
        [
            row("calendar-window", "10000/month", Some("Europe/Berlin")),
            row("calendar-window", "5/day", Some("UTC")),
            row("fixed-window", "5/1d", None),
            row("fixed-window", "5/1d", None),
        ]
    );
}

#[test]
fn the_example_is_without_mistakes() {
    let config = Setting::new(EXAMPLE).load().expect("no mistakes");
    assert_eq!(config.listen.to_string(), "127.0.0.1:7070");
    let names = |all: Vec<&forebay::Name>| all.into_iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(config.limits.keys().collect()), ["hits"]);
    assert_eq!(names(config.series.keys().collect()), ["hits"]);
    assert_eq!(names(config.buffers.keys().collect()), ["projects"]);
    assert_eq!(names(config.events.keys().collect()), ["hit"]);
}

#[test]
fn without_a_file_the_example_runs() {
    // The tests run in the crate's directory, where there is no forebay.toml.
    let config = load(&Options::default(), &|_| None).expect("no mistakes");
    assert_eq!(config.origin, Origin::BuiltIn);
    assert_eq!(config.limits.len(), 1);
}

#[test]
fn the_example_names_every_field_that_is_read() {
    let known = |text: &str| {
        let mistakes = Setting::new(text).mistakes();
        let list = mistakes.rsplit_once("(known: ").expect(&mistakes).1.trim_end_matches(')').to_owned();
        list.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    let token = "[[tokens]]\nname = \"a\"\ntoken = \"b\"\nscopes = [\"read\"]\nzzz = 1\n";
    let sections = [
        "zzz = 1\n".to_owned(),
        format!("{LIMIT}zzz = 1\n"),
        "[series.hits]\nzzz = 1\n".to_owned(),
        "[cluster]\nhosts = { a = \"redis://a\" }\nzzz = 1\n".to_owned(),
        format!("{BUFFER}zzz = 1\n"),
        format!("{LIMIT}[events.hit]\nlimit = \"hits\"\nzzz = 1\n"),
        token.to_owned(),
        format!("{STATSD}zzz = 1\n"),
        format!("{STATSD}[[statsd.metrics]]\npattern = \"a\"\nseries = \"hits\"\nzzz = 1\n")
            .replace("metrics = []\n", ""),
    ];
    for field in sections.iter().flat_map(|section| known(section)) {
        let shown = [
            format!("{field} = "),
            format!("[{field}."),
            format!("[[{field}]]"),
            format!("({field})"),
            format!(".{field}]"),
        ];
        assert!(shown.iter().any(|form| EXAMPLE.contains(form)), "the example does not explain {field:?}");
    }
}

/// The example with its commented fields and sections enabled.
fn uncommented() -> String {
    let is_field = |rest: &str| rest.split_once(" = ").is_some_and(|(field, _)| !field.contains(' '));
    let line = |line: &'static str| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || is_field(rest) => rest,
        _ => line,
    };
    EXAMPLE.lines().flat_map(|text| [line(text), "\n"]).collect()
}

#[test]
fn the_commented_fields_of_the_example_are_accepted() {
    // Some fields exclude each other. Only a bucket has a burst, and only a calendar has a zone. Hosts by name replace a
    // store, and such a store does not count keys.
    let text = uncommented()
        .replace("kind = \"fixed-window\"", "kind = \"token-bucket\"")
        .replace("zone = ", "# ")
        .replace("store = ", "# ")
        .replace("max_keys = ", "# ");
    let config = Setting::new(&text).with("FOREBAY_INGEST_TOKEN", "t0ken").load().expect("no mistakes");
    assert!(
        config.tokens[0].scopes.contains(&Scope::Write) && !config.tokens[0].scopes.contains(&Scope::Read)
    );
    assert_eq!(config.store.to_string(), "2 hosts: 0, 1");
    let calendar = EXAMPLE
        .replace("# zone = ", "zone = ")
        .replace("rate = \"20/1m\"", "rate = \"20/day\"")
        .replace("kind = \"fixed-window\"", "kind = \"calendar-window\"");
    let config = Setting::new(&calendar).load().expect("no mistakes");
    assert!(config.limits.values().all(|limit| limit.settings().zone.as_deref() == Some("UTC")));
    let bounded = EXAMPLE.replace("# max_keys = ", "max_keys = ");
    let config = Setting::new(&bounded).load().expect("no mistakes");
    assert!(config.series.values().all(|series| series.key_bound() == Some(1_000_000)));
}

#[test]
fn statsd_listens_on_this_machine_and_counts_by_patterns() {
    let metric = |fields: &str| {
        format!(
            "[series.plain]\n[series.requests]\nlabels = [\"path\", \"status\"]\n[statsd]\nlisten = \"127.0.0.1:8125\"\n\
             [[statsd.metrics]]\n{fields}"
        )
    };
    let cases = [
        (
            STATSD.replace("127.0.0.1", "0.0.0.0"),
            "statsd.listen: 0.0.0.0:0 can be reached from other machines",
        ),
        (
            STATSD.replace("127.0.0.1:0", "here"),
            "statsd.listen: \"here\" is no address to listen on, such as 127.0.0.1:8125",
        ),
        (STATSD.to_owned(), "statsd: metrics is empty"),
        ("[statsd]\nmetrics = []".to_owned(), "statsd: lacks listen, such as listen = \"127.0.0.1:8125\""),
        (metric("series = \"plain\""), "lacks pattern"),
        (
            metric("pattern = \"a.**.b\"\nseries = \"plain\""),
            "metrics[0].pattern: pattern \"a.**.b\": ** stands for",
        ),
        (metric("pattern = \"a\"\nseries = \"plan\""), "unknown series \"plan\": did you mean \"plain\"?"),
        (
            metric("pattern = \"a.*\"\nseries = \"plain\"\nkey = \"$2\""),
            "key: $2: the pattern a.* has 1 wildcards",
        ),
        (metric("pattern = \"a\"\nseries = \"plain\"\nkey = \"$\""), "key: \"$\": after $: 0 to 9"),
        (
            metric("pattern = \"a\"\nseries = \"plain\"\nlabels = { a = \"b\" }"),
            "labels: series plain has no labels",
        ),
        (
            metric("pattern = \"a\"\nseries = \"requests\"\nkey = \"b\""),
            "key: series requests has labels: write labels = { path",
        ),
        (
            metric("pattern = \"a\"\nseries = \"requests\"\nlabels = { paht = \"b\" }"),
            "labels.paht: the labels of series requests are: path, status",
        ),
        (
            STATSD
                .replace("metrics", "allow = [\"10.0.0.1/8\"]\nmetrics")
                .replace("[]", "[{ pattern = \"a\", series = \"hits\" }]"),
            "allow[0]: \"10.0.0.1/8\": the address has bits",
        ),
    ];
    for (text, expected) in cases {
        let found = Setting::new(&text).mistakes();
        assert!(found.lines().any(|line| line.contains(expected)), "expected {expected}\n   found {found}");
    }
    let text = metric("pattern = \"a.*\"\nseries = \"requests\"\nlabels = { path = \"/$1\" }")
        .replace("127.0.0.1", "0.0.0.0");
    let mut setting = Setting::new(&text);
    setting.options.insecure = true;
    let statsd = setting.load().expect("no mistakes").statsd.expect("a listener");
    assert!(statsd.allow.iter().any(|network| network.contains("192.0.2.1".parse().expect("an address"))));
    let plain = Setting::new(&metric("pattern = \"a\"\nseries = \"plain\"")).load().expect("no mistakes");
    let statsd = plain.statsd.expect("a listener");
    assert!(statsd.allow.iter().all(|network| !network.contains("192.0.2.1".parse().expect("an address"))));
}

#[test]
fn hosts_by_name_have_their_own_mistakes() {
    let cases = [
        ("[cluster]", "cluster: lacks hosts"),
        (
            "[cluster]\nrouter = \"slot\"\n[cluster.hosts]\na = \"redis://a\"",
            "unknown router \"slot\": did you mean \"slots\"?",
        ),
        ("[cluster.hosts]\na = \"http://a\"", "cluster.hosts.a: unknown scheme of a host \"http\""),
        (
            "[cluster.hosts]\na = { url = \"redis://a\", weight = 0 }",
            "cluster.hosts.a.weight: 0 is outside 1 to 1000",
        ),
        ("[cluster.hosts]\na = { weight = 2 }", "cluster.hosts.a: lacks url"),
        ("[cluster]\nhosts = {}", "cluster: no hosts: a store has at least one"),
        (
            "[cluster]\nrouter = \"nydus-partition\"\n[cluster.hosts]\na = \"redis://a\"",
            "name its hosts 0, 1, 2",
        ),
    ];
    for (text, expected) in cases {
        let found = mistake(text);
        assert!(found.contains(expected), "expected {expected}\n   found {found}");
    }
    let both = mistake("store = \"memory:\"\n[cluster.hosts]\na = \"redis://:hunter2@a\"");
    assert!(both.starts_with("forebay.toml:1: store: store and [cluster] both say"), "{both}");

    let mut setting = Setting::new("[cluster.hosts]\nb = \"redis://:hunter2@b\"\na = \"redis://a\"");
    assert!(!format!("{:?}", setting.load().expect("no mistakes")).contains("hunter2"));
    setting.options.store = Some("memory:".into());
    assert_eq!(setting.load().expect("no mistakes").store.to_string(), "memory:");
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let mut setting = Setting::new("listen = \"127.0.0.1:1\"");
    assert_eq!(setting.load().expect("no mistakes").listen.port(), 1);
    setting = setting.with("FOREBAY_LISTEN", "127.0.0.1:2");
    assert_eq!(setting.load().expect("no mistakes").listen.port(), 2);
    setting.options.listen = Some("localhost:3".into());
    assert_eq!(setting.load().expect("no mistakes").listen.port(), 3);
    assert_eq!(Setting::new("").load().expect("no mistakes").listen.port(), 7070);

    let elsewhere = Setting::new("database = \"sqlite:other.db\"");
    let path = elsewhere.options.config.clone().expect("a file");
    let config =
        load(&Options::default(), &|name| (name == "FOREBAY_CONFIG").then(|| path.display().to_string()));
    assert_eq!(config.expect("no mistakes").database.to_string(), "sqlite:other.db");
}

#[test]
fn an_empty_variable_is_not_set_except_for_the_token() {
    let setting = Setting::new("").with("FOREBAY_LISTEN", "").with("FOREBAY_STORE", "");
    assert_eq!(setting.load().expect("no mistakes").listen.port(), 7070);
    let message = Setting::new("").with("FOREBAY_TOKEN", "").mistakes();
    assert!(message.starts_with("FOREBAY_TOKEN: a token is one or more"), "{message}");
}

#[test]
fn a_missing_field_that_is_misspelt_is_named() {
    let message = Setting::new("[limits.hits]\nrat = \"20/1m\"").mistakes();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 2, "{message}");
    assert!(message.contains("limits.hits: lacks rate"), "{message}");
    assert!(message.contains(r#"unknown field "rat": did you mean "rate"?"#), "{message}");
}

/// A file with one mistake, and the beginning of its message.
const MISTAKES: &[(&str, &str)] = &[
    ("lisen = \"127.0.0.1:1\"", r#"forebay.toml:1: unknown field "lisen": did you mean "listen"?"#),
    (
        "\n[limits.hits]\nrat = \"20/1m\"\nrate = \"20/1m\"",
        r#"forebay.toml:3: limits.hits: unknown field "rat": did you mean "rate"?"#,
    ),
    ("[limits.hits]\nrate = \"20/1min\"", r#"forebay.toml:2: limits.hits.rate: rate "20/1min": "#),
    ("[limits.hits]\nrate = 20", "forebay.toml:2: limits.hits.rate: an integer, where a string is accepted"),
    ("[limits.hits]", r#"forebay.toml:1: limits.hits: lacks rate, such as rate = "20/1m""#),
    (
        "[limits.hits]\nrate = \"20/1m\"\noverrides = { a = \"1/1m\", b = \"none\" }",
        "forebay.toml:3: limits.hits.overrides.b: allowance \"none\": a rate such as",
    ),
    (
        "[limits.hits]\nrate = \"20/1m\"\noverrides = { a = 5 }",
        "forebay.toml:3: limits.hits.overrides.a: limit hits: override of \"a\": an override of a fixed-window is a rate",
    ),
    (
        "[limits.hits]\nrate = \"20/1m\"\nkind = \"sliding-window\"\nphase = \"by-key\"",
        "forebay.toml:1: limits.hits: limit hits: a sliding-window has no phase",
    ),
    (
        "[limits.hits]\nrate = \"20/1m\"\nmode = \"lease\"",
        "forebay.toml:3: limits.hits.mode: unknown mode \"lease\": did you mean \"leased\"?",
    ),
    (
        "[limits.jobs]\nkind = \"concurrency\"\nmax = 1\nmode = \"leased\"",
        "forebay.toml:1: limits.jobs: limit jobs: the mode of a concurrency limit is exact",
    ),
    ("[limits.jobs]\nkind = \"concurrency\"", "forebay.toml:1: limits.jobs: lacks max, such as max = 10"),
    (
        "[limits.jobs]\nkind = \"concurrency\"\nmax = 0",
        "forebay.toml:3: limits.jobs.max: 0 is outside 1 to 16384",
    ),
    (
        "[limits.jobs]\nkind = \"concurrency\"\nmax = 1\nttl = \"1ms\"",
        "forebay.toml:1: limits.jobs: limit jobs: ttl 1ms: 100 ms to 24 h",
    ),
    (
        "[limits.jobs]\nkind = \"concurrency\"\nmax = 1\nrate = \"1/1s\"",
        "forebay.toml:4: limits.jobs.rate: a limit with kind = \"concurrency\" has none",
    ),
    (
        "[limits.hits]\nrate = \"20/1m\"\nttl = \"1s\"",
        "forebay.toml:3: limits.hits.ttl: only a limit with kind = \"concurrency\" has one",
    ),
    (
        "[limits.jobs]\nkind = \"concurrency\"\nmax = 1\n[events.hit]\nlimit = \"jobs\"",
        "forebay.toml:5: events.hit.limit: limit jobs grants leases",
    ),
    ("[limits.Hits]\nrate = \"20/1m\"", r#"forebay.toml:1: limits.Hits: name "Hits": "#),
    (
        "[limits.hits]\nrate = \"20/1m\"\nkind = \"fixed\"",
        r#"forebay.toml:3: limits.hits.kind: unknown kind "fixed": did you mean "fixed-window"?"#,
    ),
    (
        "[limits.hits]\nrate = \"20/1m\"\nkind = \"fixed-window\"\nburst = 40",
        "forebay.toml:1: limits.hits: limit hits: a fixed-window has no burst",
    ),
    (
        "[limits.hits]\nrate = \"5/day\"\nzone = \"Europe/Berln\"",
        r#"forebay.toml:3: limits.hits.zone: unknown time zone "Europe/Berln": did you mean "Europe/Berlin"?"#,
    ),
    (
        "[limits.hits]\nrate = \"5/1d\"\nzone = \"Europe/Berlin\"",
        "forebay.toml:1: limits.hits: limit hits: a fixed-window has no zone; only a calendar-window does",
    ),
    (
        "[limits.hits]\nrate = \"5/month\"\nkind = \"token-bucket\"",
        "forebay.toml:1: limits.hits: limit hits: a token-bucket counts over a span such as 1d or 24h",
    ),
    (
        "[limits.hits]\nrate = \"5/1d\"\nkind = \"calendar-window\"",
        "forebay.toml:1: limits.hits: limit hits: a calendar-window counts per day, week or month, such as 5/day",
    ),
    (
        "[limits.hits]\nrate = \"5/month\"\noverrides = { a = \"6/month\", b = \"6/30d\" }",
        "forebay.toml:3: limits.hits.overrides.b: limit hits: override of \"b\": a calendar-window counts per day",
    ),
    (
        "[series.hits]\nresolutions = [\"10s/1d\",\n  \"7s/1d\"]",
        "forebay.toml:3: series.hits.resolutions[1]: resolution of 7s",
    ),
    (
        "[series.hits]\nresolutions = [\"10s\"]",
        "forebay.toml:2: series.hits.resolutions[0]: resolution \"10s\": lacks the /",
    ),
    (
        "[series.hits]\nlabels = \"a\"",
        "forebay.toml:2: series.hits.labels: a string, where a list is accepted",
    ),
    (
        "[series.hits]\nlabels = [\"a\", 1]",
        "forebay.toml:2: series.hits.labels[1]: an integer, where a string is",
    ),
    (
        "[series.hits]\nlabels = [\"a\", \"A\"]",
        "forebay.toml:1: series.hits: series hits: label \"A\": a label has 1",
    ),
    (
        "[series.hits]\nlabels = [\"a\", \"a\"]",
        "forebay.toml:1: series.hits: series hits: label \"a\" is there twice",
    ),
    (
        "[series.v]\nkind = \"distinkt\"",
        "forebay.toml:2: series.v.kind: kind \"distinkt\": one of hits, distinct, gauge, percentiles",
    ),
    (
        "[series.v]\nkind = \"distinct\"\nresolutions = [\"10s/1d\"]",
        "forebay.toml:1: series.v: series v: buckets of 10s: at least 3600s in a series of distinct",
    ),
    (
        "[series.v]\nkind = \"percentiles\"\nresolutions = [\"30s/1d\"]",
        "forebay.toml:1: series.v: series v: buckets of 30s: at least 60s in a series of percentiles",
    ),
    (
        "[series.v]\nkind = \"distinct\"\nresolutions = [\"1h/10y\"]",
        "forebay.toml:1: series.v: series v: 87600 buckets of 3600s: at most 50000 in a series of distinct",
    ),
    (
        "[limits.hits]\nrate = \"5/1m\"\n[series.v]\nkind = \"distinct\"\n[events.e]\nlimit = \"hits\"\nseries = \"v\"",
        "forebay.toml:7: events.e.series: series v: it is of the kind distinct, and an event counts in series of hits",
    ),
    ("[series.hits]\nmax_keys = 0", "forebay.toml:2: series.hits.max_keys: 0 is outside 1 to 1099511627776"),
    (
        "[series.hits]\nranked = 1",
        "forebay.toml:2: series.hits.ranked: an integer, where true or false is accepted",
    ),
    (
        "[series.hits]\nranked = true\nresolutions = [\"10s/1d\"]",
        "forebay.toml:1: series.hits: series hits: ranked: the coarsest resolution needs buckets of 300s or longer",
    ),
    (
        "[buffers.p]\nkey = { id = \"txt\" }\ncolumns = { n = \"sum\" }",
        r#"forebay.toml:2: buffers.p.key.id: unknown column type "txt": did you mean "text"?"#,
    ),
    (
        "[buffers.p]\nkey = { id = \"text\" }\ncolumns = { n = \"som\" }",
        r#"forebay.toml:3: buffers.p.columns.n: unknown merge "som": did you mean "sum"?"#,
    ),
    (
        "[buffers.p]\nkey = { id = \"text\" }\ncolumns = { n = \"max\" }",
        "forebay.toml:3: buffers.p.columns.n: lacks its type",
    ),
    (
        "[buffers.p]\nkey = { id = \"text\" }\ncolumns = { n = \"sum\" }\ntable = \"a b\"",
        "forebay.toml:1: buffers.p: buffer p: table",
    ),
    (
        "[buffers.p]\nkey = { id = \"text\" }\ncolumns = { n = \"sum\" }\nflush_every = \"2d\"",
        "forebay.toml:4: buffers.p.flush_every: 2d is outside 10ms to 1d",
    ),
    (
        "[buffers.p]\nkey = { id = \"text\" }\ncolumns = { n = \"sum\" }\npartitions = 0",
        "forebay.toml:4: buffers.p.partitions: 0 is outside 1 to 1024",
    ),
    (
        "[buffers.p]\nkey = { id = \"text\" }\ncolumns = { n = \"sum\" }\nmigrate = \"yes\"",
        "forebay.toml:4: buffers.p.migrate: a string, where true or false is accepted",
    ),
    ("[events.hit]", "forebay.toml:1: events.hit: an event has at least one of limits, series and buffers"),
    ("prefix = \"a b\"", "forebay.toml:1: prefix: prefix \"a b\": 1 to 64 of letters"),
    (
        "listen = \"7070\"",
        "forebay.toml:1: listen: \"7070\" is no address to listen on, such as 127.0.0.1:7070",
    ),
    (
        "store = \"memry:\"",
        r#"forebay.toml:1: store: unknown scheme of a store "memry": did you mean "memory"?"#,
    ),
    (
        "database = \"forebay.db\"",
        "forebay.toml:1: database: a database is written as a scheme, a colon and an address",
    ),
    ("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"", "forebay.toml:2: not TOML: duplicate key"),
    ("listen = ", "forebay.toml:1: not TOML: "),
];

#[test]
fn mistakes_name_the_line_and_the_nearest_name() {
    for (text, expected) in MISTAKES {
        let found = mistake(text);
        assert!(found.starts_with(expected), "expected {expected}\n   found {found}");
    }
}

#[test]
fn mistakes_in_events_name_what_is_declared() {
    let cases = [
        ("limit = \"hist\"", r#"events.hit.limit: unknown limit "hist": did you mean "hits"? (known: hits)"#),
        (
            "limits = [\"hits\",\n { name = \"golbal\" }]",
            r#"events.hit.limits[1].name: unknown limit "golbal" (known: hits)"#,
        ),
        ("limits = [\"hits\", { name = \"hits\", key = \"*\" }]", "events.hit: limit hits is named twice"),
        (
            "limit = { name = \"hits\", key = \"\" }",
            "events.hit.limit.key: key of 0 bytes: a key has 1 to 512 bytes",
        ),
        ("series = \"hits\"", r#"events.hit.series: unknown series "hits" (none is known)"#),
        (
            "buffer = { name = \"projects\", row = { idd = \"$key\", id = \"$key\" } }",
            r#"events.hit.buffer.row.idd: unknown key column "idd": did you mean "id"?"#,
        ),
        (
            "buffer = { name = \"projects\", row = {} }",
            "events.hit.buffer.row: lacks key column id, such as id = \"$key\"",
        ),
        (
            "buffer = { name = \"projects\", columns = { hit = \"$n\", hits = \"$n\" } }",
            r#"events.hit.buffer.columns.hit: unknown column "hit": did you mean "hits"?"#,
        ),
        ("buffer = { name = \"projects\", columns = {} }", "events.hit.buffer: columns is empty"),
        (
            "buffer = { name = \"projects\", columns = { hits = \"$m\" } }",
            r#"events.hit.buffer.columns.hits: unknown value "$m": did you mean "$n"?"#,
        ),
        (
            "buffer = { name = \"projects\", columns = { hits = \"$at\" } }",
            "events.hit.buffer.columns.hits: $at does not fit a column of type \"integer\"",
        ),
        (
            "buffer = { name = \"projects\", columns = { hits = \"one\" } }",
            "events.hit.buffer.columns.hits: \"one\" is not an integer",
        ),
        (
            "buffer = { name = \"projects\", columns = { last_seen = 5 } }",
            "events.hit.buffer.columns.last_seen: an integer does not fit",
        ),
    ];
    for (field, expected) in cases {
        let mistakes = Setting::new(&format!("{LIMIT}{BUFFER}[events.hit]\n{field}\n")).mistakes();
        assert!(mistakes.contains(expected), "expected {expected}\n   found {mistakes}");
    }
}

#[test]
fn every_mistake_is_listed_in_the_order_of_the_file() {
    let text = "lisen = \"a\"\n[limits.hits]\nrate = \"x\"\nkind = \"y\"\n[events.hit]\nlimit = \"hits\"\nseries = \"s\"\n";
    let mistakes = Setting::new(text).mistakes();
    let lines: Vec<&str> = mistakes.lines().map(|line| line.split(": ").next().expect("a place")).collect();
    // The limit is declared, although wrongly. So the event that names it makes no further mistake.
    assert_eq!(lines, ["forebay.toml:1", "forebay.toml:3", "forebay.toml:4", "forebay.toml:7"], "{mistakes}");
}

#[test]
fn short_forms_mean_the_long_ones() {
    let long = "[events.hit]\nlimits = [{ name = \"hits\" }]\nseries = [\"hits\"]\n\
        buffers = [{ name = \"projects\", row = { id = \"$key\" }, columns = { hits = \"$n\", last_seen = \"$at\" } }]\n";
    let short = "[events.hit]\nlimit = \"hits\"\nseries = \"hits\"\nbuffer = \"projects\"\n";
    let event = |text: &str| {
        let config =
            Setting::new(&format!("{LIMIT}[series.hits]\n{BUFFER}{text}")).load().expect("no mistakes");
        format!("{:?}", config.events)
    };
    assert_eq!(event(long), event(short));
}

#[test]
fn variables_are_replaced_in_any_string() {
    let text = format!(
        "store = \"memory:${{EMPTY}}\"\n[limits.hits]\nrate = \"${{QUOTA}}/1m\"\n{BUFFER}[events.hit]\n\
        buffer = {{ name = \"projects\", row = {{ id = \"x$${{x}}\" }} }}\n"
    );
    let setting = Setting::new(&text).with("QUOTA", "30").with("EMPTY", "");
    let config = setting.load().expect("no mistakes");
    assert!(format!("{:?}", config.limits).contains("30"), "{:?}", config.limits);
    let missing = Setting::new("prefix = \"${NOT_THERE}\"").mistakes();
    assert_eq!(missing, "forebay.toml:1: prefix: environment variable \"NOT_THERE\" is not set");
    let open = Setting::new("prefix = \"${NOT\"").mistakes();
    assert!(open.contains("lacks its }"), "{open}");
}

#[test]
fn the_canary_has_a_buffer_of_its_own() {
    let config = |text: &str| Setting::new(text).load().expect("no mistakes");
    let canary = |config: &Config| {
        config
            .buffers
            .iter()
            .find(|(name, _)| name.as_str() == "forebay_canary")
            .map(|(_, buffer)| buffer.clone())
    };
    assert!(config(BUFFER).canary.is_none() && canary(&config(BUFFER)).is_none());
    let with = config(&format!("canary = \"10s\"\n{BUFFER}"));
    assert_eq!(with.canary, Some(std::time::Duration::from_secs(10)));
    let buffer = canary(&with).expect("a buffer");
    assert_eq!((&*buffer.schema.table, buffer.migrate), ("forebay_canary", None));
    // A configuration that lets one buffer create tables also lets the canary create its table.
    let creating = config(&format!("canary = \"1s\"\n{BUFFER}migrate = true\n"));
    assert_eq!(canary(&creating).expect("a buffer").migrate, Some(forebay_sql::Migrate::Yes));

    assert_eq!(mistake("canary = \"2h\""), "forebay.toml:1: canary: 2h is outside 1s to 1h");
    let taken = BUFFER.replace("projects", "forebay_canary");
    assert!(mistake(&taken).contains("the name is taken by the canary"), "{}", mistake(&taken));
}

#[test]
fn other_machines_are_served_only_with_a_token_or_by_force() {
    let open = "listen = \"0.0.0.0:7070\"";
    let message = mistake(open);
    assert!(
        message.starts_with("forebay.toml:1: listen: 0.0.0.0:7070 can be reached from other machines"),
        "{message}"
    );
    assert!(Setting::new(open).with("FOREBAY_TOKEN", "t0ken").load().is_ok());
    let mut forced = Setting::new(open);
    forced.options.insecure = true;
    assert!(forced.load().is_ok());
    let mut flag = Setting::new("");
    flag.options.listen = Some("[::]:7070".into());
    assert!(flag.mistakes().starts_with("--listen: [::]:7070 can be reached"));
}

#[test]
fn tokens_come_from_variables_and_files_and_are_never_shown() {
    let setting = Setting::new("");
    let file = setting.dir.path().join("token");
    fs::write(&file, "from-file\n").expect("a file");
    let text = format!(
        "[[tokens]]\nname = \"a\"\ntoken_env = \"A\"\nscopes = [\"write\"]\n[[tokens]]\nname = \"b\"\ntoken_file = {:?}\n\
         scopes = [\"read\", \"admin\"]\n",
        file.display()
    );
    let config = Setting::new(&text)
        .with("A", "from-env")
        .with("FOREBAY_TOKEN", "from-main")
        .load()
        .expect("no mistakes");
    let secrets: Vec<&str> = config.tokens.iter().map(|token| token.secret.reveal()).collect();
    assert_eq!(secrets, ["from-env", "from-file", "from-main"]);
    let shown = format!("{config:?}");
    assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");

    let cases = [
        ("name = \"a\"\nscopes = [\"read\"]", "a token has one of token_env"),
        (
            "name = \"a\"\ntoken = \"x\"\ntoken_env = \"A\"\nscopes = [\"read\"]",
            "a token has one of token_env",
        ),
        ("name = \"a\"\ntoken_env = \"NOT_THERE\"\nscopes = [\"read\"]", "\"NOT_THERE\" is not set"),
        ("name = \"a\"\ntoken_file = \"/does/not/exist\"\nscopes = [\"read\"]", "cannot be read"),
        ("name = \"a\"\ntoken = \"a b\"\nscopes = [\"read\"]", "printable ASCII characters without blanks"),
        ("name = \"a\"\ntoken = \"x\"\nscopes = []", "at least one of read, write, admin and map"),
        ("name = \"a\"\ntoken = \"x\"\nscopes = [\"reed\"]", "did you mean \"read\"?"),
    ];
    for (token, expected) in cases {
        let mistakes = Setting::new(&format!("[[tokens]]\n{token}\n")).mistakes();
        assert!(mistakes.contains(expected), "expected {expected}\n   found {mistakes}");
    }
}

#[test]
fn passwords_are_not_in_mistakes() {
    let mut setting = Setting::new("store = \"mysql://u:hunter2@h/\"\ndatabase = \"oracle://u:hunter2@h/\"");
    setting.options.store = Some("u:hunter2@h".into());
    let mistakes = setting.mistakes();
    assert_eq!(mistakes.lines().count(), 3, "{mistakes}");
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let options = Options { config: Some(PathBuf::from("/does/not/exist.toml")), ..Options::default() };
    let message = load(&options, &|_| None).expect_err("no such file").to_string();
    assert!(message.starts_with("/does/not/exist.toml: cannot be read: "), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Reading a mutated example gives a configuration or a list of mistakes, and never panics.
    #[test]
    fn a_mutated_example_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, "[\\[\\]{}\"'=.,$#\n0-9a-z-]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLE.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.chars().chain(['\n'])).collect();
        for (place, length, with) in edits {
            let from = place.index(text.len().max(1)).min(text.len());
            let to = (from + length).min(text.len());
            text.splice(from..to, with.chars());
        }
        let text: String = text.into_iter().collect();
        let setting = Setting::new(&text);
        if let Err(mistakes) = setting.load() {
            prop_assert!(!mistakes.as_slice().is_empty() && !mistakes.to_string().is_empty());
        }
    }
}

#[test]
fn a_column_that_merges_by_a_version_names_it() {
    let columns =
        |columns: &str| format!("[buffers.devices]\nkey = {{ id = \"text\" }}\ncolumns = {{ {columns} }}\n");
    let version = "version = { merge = \"max\", type = \"integer\" }";
    let state = "state = { merge = \"last\", type = \"text\", by = \"version\" }";
    let config = Setting::new(&columns(&format!("{version}, {state}"))).load().expect("no mistakes");
    let buffer = config.buffers.values().next().expect("a buffer");
    assert_eq!(
        buffer.schema.columns.iter().map(|column| column.by).collect::<Vec<_>>(),
        [Some(1), None],
        "in order of name"
    );

    for (text, expected) in [
        ("state = \"last\"", "lacks its type and version"),
        ("state = { merge = \"last\", type = \"text\" }", "by"),
        (state, "has to be a value column that merges by max"),
        ("hits = { merge = \"sum\", by = \"version\" }", "only last and first go by a version"),
    ] {
        let found = mistake(&columns(text));
        assert!(found.contains(expected), "{text}: {found}");
    }
    let event = "[events.hit]\nbuffer = { name = \"devices\", columns = { version = \"$n\" } }\n";
    let found = mistake(&(columns(&format!("{version}, {state}")) + event));
    assert!(found.contains("names \"version\" without \"state\""), "{found}");
}

/// Reading the configuration refuses everything that opening refuses without a connection. It names the line, and it does
/// so before a port is bound or a file is created.
#[test]
fn a_setting_that_serve_would_refuse_is_a_mistake() {
    let hosts =
        |router: &str, hosts: &str| format!("[cluster]\nrouter = \"{router}\"\n[cluster.hosts]\n{hosts}\n");
    let cases = [
        (
            hosts("nydus-partition", "0 = { url = \"redis://a\", weight = 2 }\n1 = \"redis://b\""),
            "cluster: router nydus-partition: host \"1\" has weight 1, others 2",
        ),
        (
            hosts("nydus-partition", "0 = \"redis://a\"\n2 = \"redis://b\""),
            "name its hosts 0, 1, 2, … without a gap",
        ),
        (
            hosts("twemproxy-ketama", "0 = \"redis://a:7000\"\n1 = \"redis://a:7000/1\""),
            "cluster: cluster with two hosts named \"a:7000\"",
        ),
        (
            hosts("nydus-ketama", "0 = \"redis://a:7000/1\"\n1 = \"redis://a:7000/1\""),
            "cluster: cluster with two hosts named \"redis://a:7000/1\"",
        ),
        (hosts("slots", "\"two words\" = \"redis://a\""), "cluster: host name \"two words\""),
        (hosts("slots", "a = \"redis://a:99999\""), "cluster: host \"a\": store URL: redis://[user]"),
        ("store = \"embedded:\"".into(), "store: store URL embedded:: a path is missing"),
        (
            "store = \"embedded:a?sync=1h\"".into(),
            "store: store URL embedded:a: sync \"1h\": 0, or 10ms to 1s",
        ),
        ("store = \"memory:x\"".into(), "store: store URL with scheme \"memory\""),
        ("store = \"redis://a:99999\"".into(), "store: store URL: redis://[user]"),
        ("store = \"redis://a,b:x\"".into(), "store: store URL: between commas"),
        ("store = \"redis://a,a\"".into(), "store: cluster with two hosts named \"redis://a:6379/0\""),
        ("store = \"redis://a,b?router=slot\"".into(), "store: router \"slot\": did you mean \"slots\"?"),
        ("database = \"postgres://me:secret@db:99999/app\"".into(), "database: that is no URL of a Postgres"),
        (
            "database = \"mysql://me:secret@db\"".into(),
            "database: that is no URL of a MySQL database (no database)",
        ),
        ("database = \"sqlite://a?mode=x\"".into(), "is no SQLite database"),
        ("listen = \"0.0.0.0:7070\"".into(), "listen: 0.0.0.0:7070 can be reached from other machines"),
        ("listen = \"0.0.0.0:7070\"\ntokens = []".into(), "can be reached from other machines"),
        ("prefix = \"a:b\"".into(), "prefix: prefix \"a:b\": 1 to 64 of letters"),
    ];
    for (text, expected) in cases {
        let found = mistake(&text);
        assert!(found.contains(expected), "{text}\nexpected {expected}\n   found {found}");
        assert!(!found.contains("secret"), "{found}");
    }
    for (flag, value) in [("--store", "embedded:a?sync=1h"), ("--database", "mysql://db")] {
        let mut setting = Setting::new("");
        let options = &mut setting.options;
        *(if flag == "--store" { &mut options.store } else { &mut options.database }) = Some(value.into());
        assert!(setting.mistakes().starts_with(&format!("{flag}: ")), "{}", setting.mistakes());
    }
}

#[test]
fn a_buffer_that_the_database_would_refuse_is_a_mistake() {
    let buffer = |database: &str, table: &str, key: &str| {
        format!(
            "database = {database:?}\n[buffers.p]\ntable = {table:?}\nkey = {{ {key} = \"text\" }}\n\
             columns = {{ hits = \"sum\" }}"
        )
    };
    let cases: [(String, &str); 9] = [
        (
            "database = \"postgres://me:secret@db/app?sslmod=require\"".into(),
            "unknown parameter \"sslmod\": did you mean \"sslmode\"?",
        ),
        (
            "database = \"mysql://me:secret@db/app?ssl_mode=REQUIRED\"".into(),
            "unknown parameter \"ssl_mode\": did you mean \"ssl-mode\"?",
        ),
        (
            "database = \"postgres://me:secret@db/app?sslmode=foo\"".into(),
            "no URL of a Postgres database (unknown value \"foo\"",
        ),
        (
            buffer("sqlite:a", "other.t", "id"),
            ":2: buffers.p: table other.t is in another file than the ledger",
        ),
        (buffer("sqlite:a", "t", "HITS"), "buffers.p: columns HITS and hits of table t differ only in case"),
        (buffer("mysql://db/a", "t", "HITS"), "columns HITS and hits of table t differ only in case"),
        (buffer("postgres://db/a", "forebay_ledger", "id"), "table forebay_ledger is one of Forebay's own"),
        (buffer("mysql://db/a", "a.forebay_moves", "id"), "table a.forebay_moves is one of Forebay's own"),
        (
            "[buffers.p]\ntable = \"other.t\"\nkey = { id = \"text\" }\ncolumns = { hits = \"sum\" }".into(),
            "table other.t is in another file",
        ),
    ];
    for (text, expected) in cases {
        let found = mistake(&text);
        assert!(found.contains(expected), "{text}\nexpected {expected}\n   found {found}");
        assert!(!found.contains("secret"), "{found}");
    }
    for (database, table, key) in [("postgres://db/a", "other.t", "HITS"), ("mysql://db/a", "other.t", "id")]
    {
        Setting::new(&buffer(database, table, key)).load().expect("no mistakes");
    }
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let text = "listen = \"0.0.0.0:1\"\n\
        [[tokens]]\nname = \"a\"\ntoken = \"two words\"\nscopes = [\"reed\"]\n\
        [limits.Hits]\nrate = \"often\"\nkind = \"fixed\"\nzzz = 1\n\
        [limits.hits]\nrate = \"20/1m\"\noverrides = { a = \"1/1s burst 5\", \"\" = \"5/1m\", b = \"5/1m\" }\n\
        [series.\"2\"]\nresolutions = [\"x/y\", \"10s\"]\npartitions = 0\n\
        [buffers.\"a b\"]\nkey = { id = \"txt\" }\ncolumns = { n = \"som\" }\n\
        [events.Hit]\nlimit = \"hist\"\nyyy = 1\n\
        [events.hit]\nbuffers = [{ name = \"none\", xxx = 1 }]\n\
        [cluster]\nwww = 1\n";
    let mistakes = Setting::new(text).mistakes();
    let expected = [
        "forebay.toml:4: tokens[0].token: ",
        "forebay.toml:5: tokens[0].scopes[0]: unknown scope \"reed\"",
        "forebay.toml:6: limits.Hits: name \"Hits\": ",
        "forebay.toml:7: limits.Hits.rate: rate \"often\"",
        "forebay.toml:8: limits.Hits.kind: unknown kind \"fixed\"",
        "forebay.toml:9: limits.Hits: unknown field \"zzz\"",
        "forebay.toml:12: limits.hits.overrides.a: ",
        "forebay.toml:12: limits.hits.overrides.: ",
        "forebay.toml:13: series.2: name \"2\": ",
        "forebay.toml:14: series.2.resolutions[0]: span \"x\"",
        "forebay.toml:14: series.2.resolutions[0]: span \"y\"",
        "forebay.toml:14: series.2.resolutions[1]: resolution \"10s\": lacks the /",
        "forebay.toml:15: series.2.partitions: 0 is outside",
        "forebay.toml:16: buffers.a b: name \"a b\": ",
        "forebay.toml:17: buffers.a b.key.id: unknown column type \"txt\"",
        "forebay.toml:18: buffers.a b.columns.n: unknown merge \"som\"",
        "forebay.toml:19: events.Hit: name \"Hit\": ",
        "forebay.toml:20: events.Hit.limit: unknown limit \"hist\"",
        "forebay.toml:21: events.Hit: unknown field \"yyy\"",
        "forebay.toml:23: events.hit.buffers[0].name: unknown buffer \"none\"",
        "forebay.toml:23: events.hit.buffers[0]: unknown field \"xxx\"",
        "forebay.toml:24: cluster: lacks hosts",
        "forebay.toml:25: cluster: unknown field \"www\"",
    ];
    for expected in &expected {
        assert!(mistakes.contains(expected), "lacks {expected}:\n{mistakes}");
    }
    assert!(!mistakes.contains("can be reached"), "there is a token, with a mistake of its own:\n{mistakes}");
    assert!(mistakes.lines().count() <= expected.len() + 3, "{mistakes}");
}

#[test]
fn a_path_that_is_not_a_regular_file_is_refused() {
    let setting = Setting::new("");
    let refused = |path: &std::path::Path| {
        let options = Options { config: Some(path.into()), ..Options::default() };
        load(&options, &|_| None).expect_err("refused").to_string()
    };
    assert!(refused(setting.dir.path()).contains("is a directory, where a regular file is accepted"));
    assert!(refused("/dev/zero".as_ref()).contains("is a pipe or a device"));
    let long = setting.dir.path().join("long.toml");
    fs::write(&long, "#".repeat((1 << 20) + 1)).expect("written");
    assert!(refused(&long).contains("is longer than 1048576 bytes"));
    let token = "[[tokens]]\nname = \"a\"\ntoken_file = \"/dev/zero\"\nscopes = [\"read\"]\n";
    assert!(mistake(token).contains("\"/dev/zero\" is a pipe or a device"));
}

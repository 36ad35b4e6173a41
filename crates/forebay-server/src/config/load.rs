//! Reads a configuration from flags, environment and file.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use forebay::{Forebay, Name, once::DEFAULT_BYTES};
use toml::de::{DeTable, DeValue};

use super::{
    buffers::read_buffers,
    canary::read_canary,
    cluster::read_cluster,
    dialect::Dialect,
    environment::Environment,
    events::read_events,
    fields::{Document, Fields},
    file::read_file,
    limits::read_limits,
    mistake::{Mistake, Mistakes},
    model::{Config, Origin, Store},
    network::read_address,
    secret::Url,
    section::Declared,
    series::{read_series, split},
    statsd::read_statsd,
    tokens::{read_tokens, token_of_environment},
};
use crate::text::quoted;

/// The commented example of the talk: `forebay init` writes it, and a server without a file runs it.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The file that is read if neither a flag nor a variable names one.
const DEFAULT_FILE: &str = "forebay.toml";

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
const DEFAULT_PREFIX: &str = "forebay";
const DEFAULT_STORE: &str = "embedded:forebay.redb";
const DEFAULT_DATABASE: &str = "sqlite:forebay.db";

/// The URL schemes of stores.
const STORES: [&str; 9] = [
    "memory",
    "embedded",
    "redis",
    "rediss",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

/// The values of flags. A flag takes precedence over its environment variable, and that over the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The configuration file [env: FOREBAY_CONFIG] [default: ./forebay.toml, else the built-in example]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The listen address [env: FOREBAY_LISTEN] [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The store [env: FOREBAY_STORE]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// The database [env: FOREBAY_DATABASE] [default: sqlite:forebay.db]
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Serve other machines without tokens: every caller that reaches the port may do everything
    #[arg(long)]
    pub insecure: bool,
}

/// Reads the configuration of `options` and `environment`.
///
/// # Errors
/// All mistakes, each with its location. For a file that is not TOML, only its syntax errors.
pub fn load(options: &Options, environment: &Environment<'_>) -> Result<Config, Mistakes> {
    match source(options, environment) {
        Ok((origin, text)) => load_text(options, environment, origin, &text),
        Err(mistake) => Mistakes::unless_empty(vec![mistake], None),
    }
}

/// Like [`load`], with the text that was read from `origin`.
pub(crate) fn load_text(
    options: &Options,
    environment: &Environment<'_>,
    origin: Origin,
    text: &str,
) -> Result<Config, Mistakes> {
    let file = match &origin {
        Origin::BuiltIn => "built-in example".to_owned(),
        Origin::File(path) => path.display().to_string(),
    };
    let document = Document::new(&file, text, environment);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            document.mistake(offset, format!("not TOML: {}", error.message()));
        }
        return Mistakes::unless_empty(document.into_mistakes(), None);
    }
    let root = DeValue::Table(table.into_inner());
    let given = Given { options, environment, mistakes: vec![] };
    let top = document.root(&root).fields().expect("the document is a table");
    let (config, mut mistakes) = read(top, origin, given);
    mistakes.extend(document.into_mistakes());
    Mistakes::unless_empty(mistakes, Some(config))
}

/// The file's text, or the built-in example.
fn source(options: &Options, environment: &Environment<'_>) -> Result<(Origin, String), Mistake> {
    // An empty variable counts as not set, because compose files and unit files write it so.
    let variable = environment("FOREBAY_CONFIG").filter(|value| !value.is_empty());
    let named = options.config.clone().or_else(|| variable.map(PathBuf::from));
    let path = match named {
        Some(path) => path,
        None if Path::new(DEFAULT_FILE).exists() => DEFAULT_FILE.into(),
        None => return Ok((Origin::BuiltIn, EXAMPLE.to_owned())),
    };
    match read_file(&path) {
        Ok(text) => Ok((Origin::File(path), text)),
        Err(message) => Err(Mistake::of(&path.display().to_string(), message)),
    }
}

/// The flags and variables, which take precedence over the file, and the mistakes in them.
struct Given<'a> {
    options: &'a Options,
    environment: &'a Environment<'a>,
    mistakes: Vec<Mistake>,
}

impl Given<'_> {
    /// The value of a flag, else that of its variable, with the name of the source.
    fn value(&self, name: &str) -> Option<(String, String)> {
        let flag = match name {
            "listen" => &self.options.listen,
            "store" => &self.options.store,
            _ => &self.options.database,
        };
        let variable = format!("FOREBAY_{}", name.to_ascii_uppercase());
        match flag {
            Some(value) => Some((format!("--{name}"), value.clone())),
            // An empty variable counts as not set, as for the file.
            None => {
                (self.environment)(&variable).filter(|value| !value.is_empty()).map(|value| (variable, value))
            }
        }
    }

    /// A setting that has a flag, a variable and a field in the file, or its default. `None`: it has a mistake.
    fn setting<T>(
        &mut self,
        name: &'static str,
        top: &mut Fields<'_>,
        default: Option<T>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        // The file's value is checked even if a flag replaces it, so that its mistakes show now.
        let in_file = top.optional(name).map(|node| node.accept(read(&node.text()?)));
        let Some((source, value)) = self.value(name) else { return in_file.unwrap_or(default) };
        read(&value).map_err(|message| self.mistakes.push(Mistake::of(&source, message))).ok()
    }
}

fn read(mut top: Fields<'_>, origin: Origin, mut given: Given<'_>) -> (Config, Vec<Mistake>) {
    let listen =
        given.setting("listen", &mut top, None, |text| read_address(text, 7070)).unwrap_or(DEFAULT_LISTEN);
    let store = given.setting("store", &mut top, None, read_store);
    let cluster = read_cluster(&mut top);
    if let (Some(node), Some(_)) = (top.optional("store"), &cluster) {
        node.mistake("store and [cluster] both say where counters live; write one of them");
    }
    // A flag or variable takes precedence over the file, also over its hosts.
    let store = store.map(Store::Url).or(cluster).unwrap_or_else(|| Store::Url(Url::new(DEFAULT_STORE)));
    let default = Some(Url::new(DEFAULT_DATABASE));
    let database = given.setting("database", &mut top, default, read_database);
    let limits = read_limits(&mut top);
    let series = read_series(&mut top);
    let mut buffers = read_buffers(&mut top, database.as_ref().map(Dialect::of));
    let events = read_events(&mut top, &limits, &series, &buffers);
    let statsd = read_statsd(&mut top, &series, given.options.insecure);
    let canary = read_canary(&mut top, &mut buffers);
    // A token with mistakes counts, too.
    let has_tokens = top.optional("tokens").is_some_and(|node| !node.list().is_empty());
    let mut tokens = read_tokens(&mut top, given.environment);
    tokens.extend(token_of_environment(given.environment, &mut given.mistakes));
    let prefix = top.read("prefix", |node| node.accept(read_prefix(node.text()?)));
    // From a few keys to more than any host has.
    let idempotency_bytes = top.read("idempotency_bytes", |node| node.number(4_096..=1 << 40));
    let (series, summaries) = split(series);
    let config = Config {
        origin,
        listen,
        prefix: prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
        store,
        idempotency_bytes: idempotency_bytes.unwrap_or(DEFAULT_BYTES),
        database: database.unwrap_or_else(|| Url::new(DEFAULT_DATABASE)),
        limits: complete(limits),
        series,
        summaries,
        buffers: complete(buffers),
        events,
        canary,
        statsd,
        tokens,
        insecure: given.options.insecure,
    };
    if let Some(message) = too_open(&config).filter(|_| !has_tokens) {
        match (given.value("listen"), top.optional("listen")) {
            (Some((source, _)), _) => given.mistakes.push(Mistake::of(&source, message)),
            (None, Some(node)) => node.mistake(message),
            (None, None) => top.node.mistake(message),
        }
    }
    top.finish();
    (config, given.mistakes)
}

/// The mistake of serving other machines without tokens.
fn too_open(config: &Config) -> Option<String> {
    let is_safe = config.listen.ip().is_loopback() || !config.tokens.is_empty() || config.insecure;
    (!is_safe).then(|| {
        let listen = config.listen;
        format!("{listen} can be reached from other machines: declare [[tokens]], set FOREBAY_TOKEN, or pass --insecure")
    })
}

/// The definitions without mistakes. If there is any other, the whole configuration is refused.
fn complete<T>(declared: Declared<T>) -> BTreeMap<Name, T> {
    declared.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn read_prefix(text: String) -> Result<String, String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(ok) {
        return Ok(text);
    }
    Err(format!("prefix {}: 1 to 64 of letters, digits, '_', '-' and '.'", quoted(&text)))
}

/// Checks the URL of a store without opening it. The messages do not show a password.
fn read_store(text: &str) -> Result<Url, String> {
    let url = Url::parse("store", text, &STORES)?;
    Forebay::check_url(url.reveal()).map(|()| url).map_err(|error| error.to_string())
}

/// Checks the URL of a database without opening it.
fn read_database(text: &str) -> Result<Url, String> {
    let url = Url::parse("database", text, &Dialect::SCHEMES)?;
    Dialect::check(&url).map(|()| url).map_err(|error| error.to_string())
}

//! Reads a configuration from flags, environment and file.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use forebay::{Forebay, Name, once::DEFAULT_BYTES};
use toml::de::DeTable;

use super::{
    buffers::read_buffers,
    canary::read_canary,
    cluster::read_cluster,
    dialect::Dialect,
    environment::{Environment, non_empty},
    events::read_events,
    fields::{Document, Fields, Node},
    file::read_file,
    limits::read_limits,
    mistake::{Mistake, Mistakes},
    model::{Config, Origin, Store},
    secret::Url,
    section::Declared,
    series::read_series,
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
const STORES: [&str; 4] = ["memory", "embedded", "redis", "redis+unix"];

/// The values of flags. A flag takes precedence over its environment variable, and that over the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config`, else `FOREBAY_CONFIG`, else ./forebay.toml if it is there.
    pub config: Option<PathBuf>,
    /// `--listen`, else `FOREBAY_LISTEN`.
    pub listen: Option<String>,
    /// `--store`, else `FOREBAY_STORE`.
    pub store: Option<String>,
    /// `--database`, else `FOREBAY_DATABASE`.
    pub database: Option<String>,
    /// `--insecure`.
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
            document
                .mistake(error.span().map_or(0, |span| span.start), format!("not TOML: {}", error.message()));
        }
        return Mistakes::unless_empty(document.into_mistakes(), None);
    }
    let given = Given { options, environment };
    let (config, mut mistakes) = read(document.fields(table.get_ref()), origin, &given);
    mistakes.extend(document.into_mistakes());
    Mistakes::unless_empty(mistakes, config)
}

/// The file's text, or the built-in example.
fn source(options: &Options, environment: &Environment<'_>) -> Result<(Origin, String), Mistake> {
    let named =
        options.config.clone().or_else(|| non_empty(environment("FOREBAY_CONFIG")).map(PathBuf::from));
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

/// The flags and variables, which take precedence over the file.
struct Given<'a> {
    options: &'a Options,
    environment: &'a Environment<'a>,
}

impl Given<'_> {
    /// The flag's value, else the variable's, with the name of its source.
    fn value(
        &self,
        flag: &'static str,
        option: Option<&String>,
        variable: &'static str,
    ) -> Option<(&'static str, String)> {
        match option {
            Some(value) => Some((flag, value.clone())),
            None => non_empty((self.environment)(variable)).map(|value| (variable, value)),
        }
    }

    fn setting<T>(
        &self,
        (flag, option, variable): (&'static str, Option<&String>, &'static str),
        read: impl Fn(&str) -> Result<T, String>,
        field: Option<Node<'_>>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        // The file's value is checked even if a flag replaces it, so that its mistakes show now.
        let in_file = field.and_then(|node| node.text().and_then(|text| node.accept(read(&text))));
        let Some((source, value)) = self.value(flag, option, variable) else { return in_file };
        match read(&value) {
            Ok(value) => Some(value),
            Err(message) => {
                mistakes.push(Mistake::of(source, message));
                None
            }
        }
    }
}

fn read(mut top: Fields<'_>, origin: Origin, given: &Given<'_>) -> (Option<Config>, Vec<Mistake>) {
    let mut mistakes = vec![];
    let options = given.options;
    let listen_field = top.optional("listen");
    let listen = given.setting(
        ("--listen", options.listen.as_ref(), "FOREBAY_LISTEN"),
        read_listen,
        listen_field.clone(),
        &mut mistakes,
    );
    let store_field = top.optional("store");
    let store = given.setting(
        ("--store", options.store.as_ref(), "FOREBAY_STORE"),
        read_store,
        store_field.clone(),
        &mut mistakes,
    );
    let cluster = read_cluster(&mut top);
    if let (Some(node), Some(_)) = (&store_field, &cluster) {
        node.mistake("store and [cluster] both say where counters live; write one of them");
    }
    // A flag or variable takes precedence over the file, also over its hosts.
    let store = store.map(Store::Url).or(cluster).unwrap_or_else(|| Store::Url(Url::new(DEFAULT_STORE)));
    let database = database_of(&mut top, given, &mut mistakes);
    let limits = read_limits(&mut top);
    let series = read_series(&mut top, store.is_shared());
    let mut buffers = read_buffers(&mut top, database.as_ref().map(Dialect::of));
    let events = read_events(&mut top, &limits, &series, &buffers);
    let canary = read_canary(&mut top, &mut buffers);
    // A token with mistakes counts, too.
    let has_tokens = top.optional("tokens").is_some_and(|node| !node.list().is_empty());
    let mut tokens = read_tokens(&mut top, given.environment);
    tokens.extend(token_of_environment(given.environment, &mut mistakes));
    let config = Config {
        origin,
        listen: listen.unwrap_or(DEFAULT_LISTEN),
        prefix: prefix_of(&mut top),
        store,
        idempotency_bytes: read_idempotency_bytes(&mut top),
        database: database.unwrap_or_else(|| Url::new(DEFAULT_DATABASE)),
        limits: complete(limits),
        series: complete(series),
        buffers: complete(buffers),
        events,
        canary,
        tokens,
        insecure: options.insecure,
    };
    if let Some(message) = too_open(&config).filter(|_| !has_tokens) {
        match (given.value("--listen", options.listen.as_ref(), "FOREBAY_LISTEN"), listen_field) {
            (Some((source, _)), _) => mistakes.push(Mistake::of(source, message)),
            (None, Some(node)) => node.mistake(message),
            (None, None) => top.mistake(message),
        }
    }
    top.finish();
    (Some(config), mistakes)
}

/// The database; `None` if its URL has a mistake.
fn database_of(top: &mut Fields<'_>, given: &Given<'_>, mistakes: &mut Vec<Mistake>) -> Option<Url> {
    let setting = ("--database", given.options.database.as_ref(), "FOREBAY_DATABASE");
    let field = top.optional("database");
    if field.is_none() && given.value(setting.0, setting.1, setting.2).is_none() {
        return Some(Url::new(DEFAULT_DATABASE));
    }
    given.setting(setting, read_database, field, mistakes)
}

fn prefix_of(top: &mut Fields<'_>) -> String {
    let field = top.optional("prefix");
    let prefix = field.and_then(|node| node.text().and_then(|text| node.accept(read_prefix(text))));
    prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned())
}

/// From a few keys to more than any host has.
fn read_idempotency_bytes(top: &mut Fields<'_>) -> u64 {
    let field = top.optional("idempotency_bytes");
    field.and_then(|node| node.number(4_096..=1 << 40)).unwrap_or(DEFAULT_BYTES)
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

fn read_listen(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    address.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!(
            "{} is no address to listen on, such as 127.0.0.1:7070, [::1]:7070 or localhost:7070",
            quoted(text)
        )
    })
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

//! The arguments of `forebay limit`.

use super::super::remote::Place;
use crate::text::Allowance;

/// Take from a rate limit, look at it, or operate it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay limit hits 42                    take 1, if it fits
  forebay limit hits 42 --cost 5
  forebay limit hits 42 --peek             look, take nothing
  forebay limit hits 42 && ./expensive     do it only if it is allowed
  forebay limit hits 42 --store redis://127.0.0.1/0
  forebay limit hits 42 --reset            forget what was taken
  forebay limit hits 42 --override 100/1m  what the key is allowed; also unlimited, blocked
  forebay limit hits 42 --remove-override
  forebay limit hits --overrides           all keys that are allowed something else
  forebay limit hits --near                who has used 80 % or more
  forebay limit hits --top                 who is denied most

The server is asked with the token in FOREBAY_TOKEN, if there is one.
Exit status: 0 allowed, or done; 1 denied; 2 neither is known.")]
pub(in crate::cli) struct Args {
    /// A declared limit
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) name: String,
    /// Whose: 1 to 512 bytes
    #[arg(required_unless_present = "list")]
    pub(super) key: Option<String>,
    /// How much to take, at most the limit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 31))]
    pub(super) cost: u64,
    /// Look without taking: what would a take of 1 be told?
    #[arg(long, conflicts_with = "cost")]
    pub(super) peek: bool,
    #[command(flatten)]
    pub(super) operation: Operation,
    #[command(flatten)]
    pub(super) place: Place,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What else to do than to take. At most one of them.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct Operation {
    /// Forget what was taken for the key
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) reset: bool,
    /// Let the key be allowed something else, in every server that shares the store
    #[arg(long = "override", value_name = "ALLOWANCE", conflicts_with_all = ["cost", "peek"])]
    pub(super) instead: Option<Allowance>,
    /// Let the key be allowed what the configuration says
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) remove_override: bool,
    #[command(flatten)]
    pub(super) list: List,
}

/// What to list.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "list", multiple = false, conflicts_with = "key")]
pub(super) struct List {
    /// List the keys that are allowed something else
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) overrides: bool,
    /// List the keys that have used most of what they are allowed, as far as the server knows
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) near: bool,
    /// List the keys that the server denied most since it started
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) top: bool,
}

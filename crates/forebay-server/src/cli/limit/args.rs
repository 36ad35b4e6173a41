//! The arguments of `forebay limit`.

use forebay::key::Count;

use super::super::remote::Place;
use crate::text::Allowance;

/// Take from a rate limit, peek at it, or operate it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  forebay limit hits 42                    take 1, if it fits
  forebay limit hits 42 --cost 5
  forebay limit hits 42 --peek             show the decision, charge nothing
  forebay limit hits 42 && ./expensive     run a command only if it is allowed
  forebay limit hits 42 --store redis://127.0.0.1/0
  forebay limit hits 42 --reset            reset the key
  forebay limit hits 42 --override 100/1m  set the key's override; also unlimited, blocked
  forebay limit hits 42 --remove-override
  forebay limit hits --overrides           list all overrides
  forebay limit hits --near                list the keys that have used 80 % or more
  forebay limit hits --top                 list the keys that are denied most

The token for the server is taken from FOREBAY_TOKEN.
Exit status: 0 allowed, or done; 1 denied; 2 error.")]
pub(in crate::cli) struct Args {
    /// A declared limit
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) name: String,
    /// The key: 1 to 512 bytes
    #[arg(required_unless_present = "list")]
    pub(super) key: Option<String>,
    /// How much to take, at most the limit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=Count::MAX))]
    pub(super) cost: u64,
    /// Show the decision that a take of 1 would get, and charge nothing
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

/// An operation instead of a take; at most one.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct Operation {
    /// Reset the key
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) reset: bool,
    /// Set the override of the key, for every server of the store
    #[arg(long = "override", value_name = "ALLOWANCE", conflicts_with_all = ["cost", "peek"])]
    pub(super) instead: Option<Allowance>,
    /// Remove the override of the key
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) remove_override: bool,
    #[command(flatten)]
    pub(super) list: List,
}

/// A list.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "list", multiple = false, conflicts_with = "key")]
pub(super) struct List {
    /// List all overrides
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) overrides: bool,
    /// List the keys nearest to their limit, as far as the server knows
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) near: bool,
    /// List the keys that the server denied most since it started
    #[arg(long, conflicts_with_all = ["cost", "peek"])]
    pub(super) top: bool,
}

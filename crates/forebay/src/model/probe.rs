//! The findings of a probe of servers.

/// The result of a probe of one server: see [`Forebay::options`](crate::Forebay::options).
///
/// # Examples
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, cluster::Outcome};
/// for server in Forebay::options().probe("redis://127.0.0.1:6379").await? {
///     assert!(server.findings.iter().all(|finding| finding.outcome != Outcome::Missing));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerReport {
    /// Its address, never with a password.
    pub name: Box<str>,
    /// One finding for each need, those first without which nothing works.
    pub findings: Vec<Finding>,
}

/// A need, and what a server was found to do about it.
///
/// # Examples
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// let servers = forebay::Forebay::options().probe("redis://127.0.0.1:6379").await?;
/// for finding in &servers[0].findings {
///     println!("{} {}: {}", finding.outcome, finding.need, finding.found);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The need, as one word or two.
    pub need: &'static str,
    /// Whether it is met.
    pub outcome: Outcome,
    /// The server's answer, and what follows from it.
    pub found: Box<str>,
}

/// Whether a need is met.
///
/// # Examples
/// ```
/// assert_eq!(forebay::cluster::Outcome::Limited.to_string(), "limited");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// It is.
    Met,
    /// Forebay works, and loses what the finding says.
    Limited,
    /// Forebay does not work with this server.
    Missing,
}

impl Outcome {
    /// The word for this in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

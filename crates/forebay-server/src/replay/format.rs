//! The formats of logs.

/// The format of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Detect the format of each line
    #[default]
    Auto,
    /// Common or combined, perhaps after a virtual host: Apache, nginx
    Access,
    /// One JSON object a line
    Json,
    /// Caddy's JSON
    Caddy,
    /// Traefik's JSON
    Traefik,
    /// W3C extended: IIS, CloudFront
    W3c,
    /// AWS load balancers, application and classic
    Elb,
}

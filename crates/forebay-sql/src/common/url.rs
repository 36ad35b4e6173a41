//! The parameters in the URL of a database.

/// A name further away than this is not taken for a slip.
const SLIPS: usize = 2;

/// Checks that the driver knows each parameter of `url`. It ignores the others: with a misspelt `sslmode` a connection
/// would be without the TLS that was asked for. `start[NAME]` among the `accepted` is any name in brackets.
///
/// # Errors
/// The first unknown parameter, without its value, and what is accepted.
pub(crate) fn check(url: &str, accepted: &[&str]) -> Result<(), String> {
    let url = url.split('#').next().unwrap_or(url);
    let Some((_, query)) = url.split_once('?') else { return Ok(()) };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or(pair);
        let name = name.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]");
        if !accepted.iter().any(|one| is(one, &name)) {
            return Err(unknown(&name, query, accepted));
        }
    }
    Ok(())
}

fn is(accepted: &str, name: &str) -> bool {
    match accepted.strip_suffix("NAME]") {
        Some(start) => name.starts_with(start) && name.ends_with(']'),
        None => accepted == name,
    }
}

fn unknown(name: &str, query: &str, accepted: &[&str]) -> String {
    let known = accepted.join(", ");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.[]".contains(c);
    // Where an `@` comes later, the `?` may be part of a password.
    if query.contains('@') || name.len() > 64 || !name.chars().all(is_plain) {
        return format!("an unknown parameter after the ?; known: {known}");
    }
    let lower = name.to_lowercase();
    let near = accepted.iter().map(|one| (strsim::osa_distance(&lower, one), *one)).min();
    let hint = near.filter(|(slips, _)| *slips <= SLIPS);
    let hint = hint.map(|(_, one)| format!(": did you mean \"{one}\"?")).unwrap_or_default();
    format!("unknown parameter \"{name}\"{hint}; known: {known}")
}

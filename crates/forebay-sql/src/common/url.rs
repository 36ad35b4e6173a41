//! The parameters in the URL of a database.

/// The most typing errors for which a known name is suggested.
const MAX_TYPOS: usize = 2;

/// Checks that the driver knows each parameter of `url`. It ignores unknown ones, so a misspelt `sslmode` would make a
/// connection without TLS. `start[NAME]` among the `accepted` stands for any name in brackets.
///
/// # Errors
/// The first unknown parameter, without its value, and the accepted ones.
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
    // If an `@` follows, the `?` may be part of a password.
    if query.contains('@') || name.len() > 64 || !name.chars().all(is_plain) {
        return format!("an unknown parameter after the ?; known: {known}");
    }
    let lower = name.to_lowercase();
    let near = accepted.iter().map(|one| (strsim::osa_distance(&lower, one), *one)).min();
    let hint = near.filter(|(typos, _)| *typos <= MAX_TYPOS);
    let hint = hint.map(|(_, one)| format!(": did you mean \"{one}\"?")).unwrap_or_default();
    format!("unknown parameter \"{name}\"{hint}; known: {known}")
}

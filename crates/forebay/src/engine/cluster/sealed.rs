//! Texts that end with their own checksum, so that one that was cut off or edited by hand is noticed.

use crate::key::hash;

/// How many bytes the last line has.
pub(crate) const SEAL: usize = "check 0123456789abcdef\n".len();

/// The text with its last line.
pub(super) fn seal(body: &str) -> String {
    format!("{body}check {:016x}\n", hash(body.as_bytes()))
}

/// The text without its last line; `None` if that does not fit.
pub(super) fn unseal(text: &str) -> Option<&str> {
    let body = text.get(..text.len().checked_sub(SEAL)?)?;
    (seal(body) == text).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_is_unsealed() {
        for body in ["", "a\n", "a\ncheck 0123456789abcdef\n", "é"] {
            let text = seal(body);
            assert_eq!(unseal(&text), Some(body));
            assert_eq!(unseal(&text[..text.len() - 1]), None);
            assert_eq!(unseal(&text.replace("check", "chéck")), None);
        }
        assert_eq!(unseal("check"), None);
    }
}

//! A place in a line of an access log, which moves on field by field.

use forebay::Timestamp;
use memchr::{memchr, memchr2};

use super::{
    Fault,
    access_time::{A_TIME, TIME, access_time},
    address::{address, is_address},
};

/// `None` for an empty text or `-`.
pub(super) fn present(field: &[u8]) -> Option<&[u8]> {
    (!field.is_empty() && field != b"-").then_some(field)
}

/// A line, and how many of its bytes were read.
pub(super) struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of a line.
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    fn fault(&self, expected: &str) -> Fault {
        let found = if self.rest().is_empty() { "the line ends before " } else { "expected " };
        Fault::at(self.at, format!("{found}{expected}"))
    }

    /// Takes the next word, and the blank after it.
    pub(super) fn word(&mut self, expected: &str) -> Result<&'a [u8], Fault> {
        match memchr(b' ', self.rest()) {
            None | Some(0) => Err(self.fault(expected)),
            Some(length) => {
                let word = &self.rest()[..length];
                self.at += length + 1;
                Ok(word)
            }
        }
    }

    /// Takes the client, perhaps after a virtual host.
    pub(super) fn client(&mut self) -> Result<&'a [u8], Fault> {
        let first = self.list("the client's address")?;
        let next = &self.rest()[..memchr(b' ', self.rest()).unwrap_or(0)];
        let is_after_host = is_address(next) || (is_host_and_port(first) && next != b"-");
        if !is_after_host || !self.has_two_words_after(next.len()) {
            return Ok(first);
        }
        self.list("the client's address")
    }

    /// Takes a word, and the next ones while it ends in a comma: a list from proxies. Returns its first address, or its first
    /// word if there is no address.
    fn list(&mut self, expected: &str) -> Result<&'a [u8], Fault> {
        let begin = self.at;
        let first = self.word(expected)?;
        let mut end = begin + first.len();
        while self.line[..end].ends_with(b",") {
            let length = self.word(expected)?.len();
            end = self.at - 1;
            debug_assert!(length > 0);
        }
        if end == begin + first.len() && memchr(b',', first).is_none() {
            return Ok(first);
        }
        let list = &self.line[begin..end];
        let first = list.split(|&c| c == b',').next().unwrap_or(list);
        Ok(address(list).map_or(first, str::as_bytes))
    }

    /// Returns whether identity, user and time follow a word of this length. If not, the word is the identity.
    fn has_two_words_after(&self, length: usize) -> bool {
        let rest = self.rest().get(length + 1..).unwrap_or_default();
        let mut words = rest.split(|&c| c == b' ');
        words.by_ref().take(2).all(|word| !word.is_empty() && !word.starts_with(b"["))
            && words.next().is_some()
    }

    pub(super) fn blank(&mut self, before: &str) -> Result<(), Fault> {
        if self.rest().first() != Some(&b' ') {
            return Err(self.fault(&format!("a blank and {before}")));
        }
        self.at += 1;
        Ok(())
    }

    /// Takes the user and the time, up to the quote of the request.
    ///
    /// The client chooses the user's name, which may contain blanks and brackets. So the time is read from its end, which is
    /// at the first quote; a quote in a name is escaped.
    pub(super) fn user_and_time(&mut self) -> Result<(&'a [u8], Timestamp), Fault> {
        if self.rest().starts_with(b"\"") {
            return self.quoted_user_and_time();
        }
        let quote = unescaped_quote(self.rest())
            .ok_or_else(|| self.fault("the user, the time and the request in quotes"))?;
        let before = &self.rest()[..quote];
        let split = before.len().checked_sub(TIME).and_then(|user| before.split_at_checked(user));
        let Some((user, time)) = split.and_then(|(user, time)| Some((user.strip_suffix(b" ")?, time))) else {
            self.at += memchr(b'[', before).unwrap_or(0);
            return Err(self.fault(&format!("the user and {A_TIME}")));
        };
        let start = self.at + quote - TIME;
        let at = access_time(time).map_err(|(offset, why)| Fault::at(start + offset, why))?;
        self.at += quote;
        Ok((user, at))
    }

    /// Like [`user_and_time`](Self::user_and_time), for a user in quotes. Apache writes an empty user in that way.
    fn quoted_user_and_time(&mut self) -> Result<(&'a [u8], Timestamp), Fault> {
        let user = self.quoted("the user")?;
        self.blank("the time")?;
        let time = self.rest().get(..TIME).ok_or_else(|| self.fault(A_TIME))?;
        let at = access_time(time).map_err(|(offset, why)| Fault::at(self.at + offset, why))?;
        if self.rest().get(TIME) != Some(&b'"') {
            self.at += TIME;
            return Err(self.fault("the request in quotes"));
        }
        self.at += TIME;
        Ok((user, at))
    }

    /// Takes the request line in quotes. A server may not escape quotes within it: then its end is where the status follows.
    pub(super) fn request(&mut self) -> Result<&'a [u8], Fault> {
        let inside = &self.rest()[1..];
        let mut from = 0;
        while let Some(end) = inside.get(from..).and_then(unescaped_quote).map(|end| from + end) {
            let is_end = matches!(
                inside[end + 1..],
                [b' ', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..] | [b' ', b'-', b' ', ..]
            );
            if is_end {
                self.at += end + 2;
                return Ok(&inside[..end]);
            }
            from = end + 1;
        }
        self.quoted("the request line")
    }

    /// Takes a text in quotes.
    fn quoted(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let inside = &self.rest()[1..];
        let end =
            unescaped_quote(inside).ok_or_else(|| self.fault(&format!("{what} to end with a quote")))?;
        self.at += end + 2;
        Ok(&inside[..end])
    }

    pub(super) fn status(&mut self) -> Result<&'a [u8], Fault> {
        let status = self.until_blank();
        if status != b"-" && !(status.len() == 3 && status.iter().all(u8::is_ascii_digit)) {
            return Err(self.fault("a status of three digits, or -"));
        }
        self.at += status.len();
        Ok(status)
    }

    pub(super) fn size(&mut self) -> Result<Option<u64>, Fault> {
        let size = self.until_blank();
        let bytes = std::str::from_utf8(size).ok().and_then(|digits| digits.parse().ok());
        if bytes.is_none() && size != b"-" {
            return Err(self.fault("the size of the answer in bytes, or -"));
        }
        self.at += size.len();
        Ok(bytes)
    }

    /// Takes ` "referer"` or ` "agent"`, if it is there.
    pub(super) fn trailing(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest().strip_prefix(b" \"")?;
        let end = unescaped_quote(inside).unwrap_or(inside.len());
        self.at = (self.at + end + 3).min(self.line.len());
        present(&inside[..end])
    }

    fn until_blank(&self) -> &'a [u8] {
        &self.rest()[..memchr(b' ', self.rest()).unwrap_or(self.rest().len())]
    }
}

/// Returns whether this looks like `example.org:443`.
fn is_host_and_port(word: &[u8]) -> bool {
    let mut parts = word.rsplitn(2, |&c| c == b':');
    let is_port = parts.next().is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
    is_port && parts.next().is_some_and(|host| !host.is_empty()) && address(word).is_none()
}

/// The position of the first quote without a backslash.
fn unescaped_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[found] == b'"' {
            return Some(found);
        }
        from = found + 2;
    }
}

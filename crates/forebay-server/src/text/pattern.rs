//! Patterns of names, such as `api.*.requests`, and templates for what they find, such as `$1`.

use std::{fmt, str::FromStr};

use super::quoted;

/// The most wildcards of a pattern: as many as a template can name.
const MAX_WILDCARDS: usize = 9;

/// The longest pattern or template, in bytes.
const MAX_BYTES: usize = 512;

/// A pattern of names. `*` stands for one or more characters other than a dot; `**`, at the end, for one or more of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// The text before the first wildcard.
    head: String,
    /// The text after each `*`.
    literals: Vec<String>,
    /// Whether it ends with `**`.
    has_rest: bool,
}

impl Pattern {
    /// The number of wildcards.
    pub fn wildcards(&self) -> usize {
        self.literals.len() + usize::from(self.has_rest)
    }

    /// The texts for which the wildcards stand in a name that fits: each as short as can be.
    pub fn captures<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut rest = name.strip_prefix(&*self.head)?;
        let mut found = Vec::with_capacity(self.wildcards());
        for (place, literal) in self.literals.iter().enumerate() {
            let is_last = place + 1 == self.literals.len() && !self.has_rest;
            let first = rest.chars().next()?.len_utf8();
            let end = if is_last {
                rest.len().checked_sub(literal.len()).filter(|end| rest.get(*end..) == Some(literal))?
            } else {
                first + rest.get(first..)?.find(&**literal)?
            };
            let captured = rest.get(..end).filter(|text| !text.is_empty() && !text.contains('.'))?;
            found.push(captured);
            rest = &rest[end + literal.len()..];
        }
        if self.has_rest {
            found.push(Some(rest).filter(|rest| !rest.is_empty())?);
            rest = "";
        }
        rest.is_empty().then_some(found)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("pattern {}: {why}", quoted(text)));
        if text.is_empty() || text.len() > MAX_BYTES {
            return wrong("1 to 512 bytes");
        }
        let (body, has_rest) = text.strip_suffix("**").map_or((text, false), |body| (body, true));
        if body.ends_with('*') && has_rest || body.contains("**") {
            return wrong("** stands for all that follows, and only at the end");
        }
        let mut literals = body.split('*').map(str::to_owned);
        let head = literals.next().unwrap_or_default();
        let pattern = Self { text: text.to_owned(), head, literals: literals.collect(), has_rest };
        if pattern.wildcards() > MAX_WILDCARDS {
            return wrong("at most 9 wildcards");
        }
        Ok(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text with parts of a name and of its tags: `$0` is the name, `$1` what the first wildcard stands for, `$tag` or `$[a tag]`
/// the value of a tag, `$$` a plain `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A wildcard, counted from 1; 0 is the name.
    Wildcard(usize),
    Tag(String),
}

impl Template {
    /// The whole name.
    pub fn name() -> Self {
        Self { parts: vec![Part::Wildcard(0)] }
    }

    /// The value of a tag.
    pub fn tag(name: &str) -> Self {
        Self { parts: vec![Part::Tag(name.to_owned())] }
    }

    /// The last wildcard that it names.
    pub fn last_wildcard(&self) -> usize {
        let wildcard = |part: &Part| match part {
            Part::Wildcard(place) => *place,
            _ => 0,
        };
        self.parts.iter().map(wildcard).max().unwrap_or(0)
    }

    /// The text for a name, with the wildcards' texts and the tags. A tag that is missing is empty.
    pub fn fill<'a>(&self, name: &str, found: &[&str], tag: impl Fn(&str) -> Option<&'a str>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Wildcard(0) => name,
                Part::Wildcard(place) => found.get(place - 1).copied().unwrap_or_default(),
                Part::Tag(name) => tag(name).unwrap_or_default(),
            });
        }
        text
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{}: {why}", quoted(text)));
        if text.len() > MAX_BYTES {
            return wrong("at most 512 bytes");
        }
        let (mut parts, mut rest) = (vec![], text);
        while let Some(at) = rest.find('$') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            parts.push(Part::Text(before.to_owned()));
            let letters = |is: fn(char) -> bool| after.find(|c| !is(c)).unwrap_or(after.len());
            let (part, length) = match after.chars().next() {
                Some('$') => (Part::Text("$".to_owned()), 1),
                Some(digit @ '0'..='9') => (Part::Wildcard(digit as usize - '0' as usize), 1),
                Some('a'..='z' | 'A'..='Z' | '_') => {
                    let length = letters(|c| c.is_ascii_alphanumeric() || c == '_');
                    (Part::Tag(after[..length].to_owned()), length)
                }
                Some('[') => match after.find(']') {
                    Some(end) if end > 1 => (Part::Tag(after[1..end].to_owned()), end + 1),
                    _ => return wrong("$[ needs the name of a tag and a ]"),
                },
                _ => return wrong("after $: 0 to 9, the name of a tag, a name in [], or another $"),
            };
            parts.push(part);
            rest = &after[length..];
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() {
            return wrong("a text, or $0 for the name");
        }
        Ok(Self { parts })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found<'a>(pattern: &str, name: &'a str) -> Option<Vec<&'a str>> {
        pattern.parse::<Pattern>().expect(pattern).captures(name)
    }

    #[test]
    fn a_star_is_a_part_between_dots_and_two_are_the_rest() {
        for (pattern, name, captures) in [
            ("api.*.requests", "api.cart.requests", Some(&["cart"][..])),
            ("api.*.requests", "api.a.b.requests", None),
            ("api.*.requests", "api..requests", None),
            ("api.*.requests", "api.cart.requests.x", None),
            ("api.*.requests", "x.api.cart.requests", None),
            ("api.*.requests", "api.requests", None),
            ("a", "a", Some(&[])),
            ("a", "ab", None),
            ("*", "a", Some(&["a"])),
            ("*", "a.b", None),
            ("**", "a.b", Some(&["a.b"])),
            ("a.**", "a.", None),
            ("a.*.**", "a.b.c.d", Some(&["b", "c.d"])),
            ("*-*.x", "a-b-c.x", Some(&["a", "b-c"])),
            ("*x*x", "xxxx", Some(&["x", "x"])),
            ("*x*", "xx", None),
            ("é*é", "éüé", Some(&["ü"])),
            ("*ü", "éü", Some(&["é"])),
            ("*b", "é", None),
        ] {
            assert_eq!(found(pattern, name).as_deref(), captures, "{pattern} {name}");
        }
        for (text, told) in [
            ("", "1 to 512 bytes"),
            ("a.**.b", "only at the end"),
            ("***", "only at the end"),
            ("a***", "only at the end"),
            ("*.*.*.*.*.*.*.*.*.**", "at most 9"),
        ] {
            assert!(text.parse::<Pattern>().expect_err(text).contains(told), "{text}");
        }
    }

    #[test]
    fn a_template_names_wildcards_and_tags() {
        let tags = |name: &str| match name {
            "env" => Some("live"),
            "http.status" => Some("500"),
            _ => None,
        };
        for (template, told) in [
            ("$0", "api.cart"),
            ("$1", "cart"),
            ("a-$1-$env_b-$env.$$x", "a-cart--live.$x"),
            ("$[http.status]$[none]", "500"),
            ("$10", "cart0"),
            ("plain", "plain"),
            ("$2", ""),
        ] {
            let template: Template = template.parse().expect(template);
            assert_eq!(template.fill("api.cart", &["cart"], tags), told);
        }
        assert_eq!("$1 $3".parse::<Template>().expect("a template").last_wildcard(), 3);
        assert_eq!(Template::tag("env").fill("", &[], tags), "live");
        for text in ["", "$", "a$-", "$[", "$[]", "$[a", "$é"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }

    proptest! {
        /// A name that was made from a pattern fits it, and what is found makes the name again.
        #[test]
        fn what_is_found_makes_the_name_again(pattern in "([ab.]{0,3}\\*){0,4}[ab.]{0,2}(\\*\\*)?", name in "[ab.é]{0,12}") {
            let Ok(pattern) = pattern.parse::<Pattern>() else { return Ok(()) };
            if let Some(found) = pattern.captures(&name) {
                let mut made = pattern.head.clone();
                for (place, text) in found.iter().enumerate() {
                    made.push_str(text);
                    made.push_str(pattern.literals.get(place).map_or("", String::as_str));
                }
                prop_assert_eq!(made, name);
            }
        }

        /// It fits whenever some choice of texts makes the name.
        #[test]
        fn a_name_that_some_texts_make_is_found(texts in prop::collection::vec("[ab]{1,3}", 3), rest in "[ab.]{1,4}") {
            let name = format!("{}.a{}b{}.{rest}", texts[0], texts[1], texts[2]);
            prop_assert!("*.a*b*.**".parse::<Pattern>().expect("a pattern").captures(&name).is_some(), "{}", name);
        }
    }
}

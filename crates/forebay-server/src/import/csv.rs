//! Rows of CSV, and the columns that are read.
//!
//! # Source
//! <https://www.rfc-editor.org/rfc/rfc4180>

use std::borrow::Cow;

use crate::{export::LABELS, text::quoted};

/// The names of the columns with key or labels, time and amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub key: String,
    /// Labels, each with the name of its column. Columns of an export are found without them.
    pub labels: Vec<(String, String)>,
    pub at: String,
    pub n: String,
}

/// The places of the columns that name what a row counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameColumns {
    Key(usize),
    /// The labels, each with its place.
    Labels(Vec<(String, usize)>),
}

/// The places of the columns in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub name: NameColumns,
    pub at: usize,
    /// `None`: each row counts 1.
    pub n: Option<usize>,
    /// The number of columns.
    pub width: usize,
    /// Columns that are not read.
    pub unread: Vec<String>,
}

impl Header {
    /// Finds the columns in the first row. The error says which one is missing or there twice.
    pub(super) fn new(row: &[u8], columns: &Columns) -> Result<Self, String> {
        let names = cells(row)?;
        let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
        let find = |wanted: &str| {
            let mut places =
                names.iter().enumerate().filter(|(_, name)| **name == wanted).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (place, None) => Ok(place),
                _ => Err(format!("the column {} is there twice", quoted(wanted))),
            }
        };
        let missing = |wanted: &str, option: &str| {
            let all = quoted(&names.join(","));
            format!("no column {} in {all}; {option} names another", quoted(wanted))
        };
        let mut labels: Vec<(String, usize)> = vec![];
        for (label, column) in &columns.labels {
            labels.push((label.clone(), find(column)?.ok_or_else(|| missing(column, "--label-column"))?));
        }
        for (place, name) in names.iter().enumerate() {
            let is_named = labels.iter().any(|(_, named)| *named == place);
            if let Some(label) = name.strip_prefix(LABELS).filter(|_| !is_named) {
                labels.push((label.to_owned(), place));
            }
        }
        let key = || find(&columns.key)?.ok_or_else(|| missing(&columns.key, "--key-column"));
        let name = if labels.is_empty() { NameColumns::Key(key()?) } else { NameColumns::Labels(labels) };
        let at = find(&columns.at)?.ok_or_else(|| missing(&columns.at, "--at-column"))?;
        let n = find(&columns.n)?;
        let is_read = |place: usize| name.has(place) || place == at || Some(place) == n;
        let unread = names.iter().enumerate().filter(|(place, _)| !is_read(*place));
        let unread = unread.map(|(_, name)| (*name).to_owned()).collect();
        Ok(Self { name, at, n, width: names.len(), unread })
    }
}

impl NameColumns {
    fn has(&self, place: usize) -> bool {
        match self {
            Self::Key(key) => *key == place,
            Self::Labels(labels) => labels.iter().any(|(_, label)| *label == place),
        }
    }
}

/// The cells of a row. The error says what is wrong with it.
pub(super) fn cells(row: &[u8]) -> Result<Vec<Cow<'_, str>>, String> {
    let row =
        str::from_utf8(row).map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to() + 1))?;
    let (mut rest, mut cells) = (row, vec![]);
    loop {
        let cell = if let Some(inside) = rest.strip_prefix('"') {
            let end = closing_quote(inside).ok_or("a quote is not closed")?;
            rest = &inside[end + 1..];
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err("text follows a closing quote".to_owned());
            }
            unescaped(&inside[..end])
        } else {
            let (cell, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            rest = after;
            Cow::Borrowed(cell)
        };
        cells.push(cell);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(cells),
        }
    }
}

/// The position of the first quote that is not doubled.
fn closing_quote(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + text[from..].find('"')?;
        if !text[quote + 1..].starts_with('"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

fn unescaped(cell: &str) -> Cow<'_, str> {
    if cell.contains('"') { cell.replace("\"\"", "\"").into() } else { cell.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_are_separated_by_commas_outside_of_quotes() {
        for (row, told) in [
            ("a,b", &["a", "b"][..]),
            ("", &[""]),
            (",", &["", ""]),
            ("\"a,\"\"b\"\"\nc\",\"\"", &["a,\"b\"\nc", ""]),
            ("5\" disk, x ", &["5\" disk", " x "]),
            ("é,\u{feff}", &["é", "\u{feff}"]),
        ] {
            assert_eq!(cells(row.as_bytes()).expect(row), told);
        }
        for (row, told) in [("\"a", "not closed"), ("\"a\"b,c", "text follows"), ("\"a\"\"", "not closed")] {
            assert!(cells(row.as_bytes()).expect_err(row).contains(told), "{row}");
        }
        assert_eq!(cells(b"ab\xff"), Err("byte 3 is not UTF-8".to_owned()));
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let columns = |n: &str| Columns { key: "key".into(), labels: vec![], at: "at".into(), n: n.into() };
        let header = Header::new(b"at, n ,step,\"key\"", &columns("n")).expect("all are there");
        let told = Header {
            name: NameColumns::Key(3),
            at: 0,
            n: Some(1),
            width: 4,
            unread: vec!["step".to_owned()],
        };
        assert_eq!(header, told);
        assert_eq!(Header::new(b"key,at", &columns("n")).expect("an amount is not needed").n, None);
        for (row, told) in [
            ("key,n", "no column \"at\" in \"key,n\"; --at-column names another"),
            ("Key,at", "no column \"key\""),
            ("key,at,key", "the column \"key\" is there twice"),
            ("key,at,n,n", "the column \"n\" is there twice"),
        ] {
            let error = Header::new(row.as_bytes(), &columns("n")).expect_err(row);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn columns_of_labels_have_the_place_of_the_key() {
        let pair = |label: &str, column: &str| (label.to_owned(), column.to_owned());
        let columns = |labels| Columns { key: "key".into(), labels, at: "at".into(), n: "n".into() };
        let header = Header::new(b"labels.at,key,at,labels.path", &columns(vec![])).expect("an export");
        let labels = vec![("at".to_owned(), 0), ("path".to_owned(), 3)];
        assert_eq!((header.name, header.unread), (NameColumns::Labels(labels), vec!["key".to_owned()]));
        let given = columns(vec![pair("path", "url"), pair("code", "labels.status")]);
        let header = Header::new(b"url,at,labels.status", &given).expect("all are there");
        let labels = vec![("path".to_owned(), 0), ("code".to_owned(), 2)];
        assert_eq!(header.name, NameColumns::Labels(labels));
        let error = Header::new(b"key,at", &columns(vec![pair("path", "url")])).expect_err("no column");
        assert!(error.contains("no column \"url\" in \"key,at\"; --label-column names another"), "{error}");
    }

    proptest! {
        #[test]
        fn quoted_cells_are_read_as_they_were(texts in prop::collection::vec("[ab,\"\r\né =]{0,9}", 1..5)) {
            let row: Vec<String> = texts.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            let row = row.join(",");
            prop_assert_eq!(cells(row.as_bytes()).expect("a row"), texts);
        }

        #[test]
        fn never_panics(row in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = cells(&row);
        }
    }
}

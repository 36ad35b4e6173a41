//! Reads a file as batches of points.

use anyhow::{Result, anyhow, bail, ensure};
use forebay::{Error, key};
use serde::{Deserialize, Serialize};

use super::{
    csv::{Columns, Header},
    point::{Name, Point, Reason, Refusal, Unit, point_of_line, point_of_row},
    record_end::Ends,
    records::{MAX_RECORD, Record, Records},
};
use crate::{
    api::{
        fields::{At, Count, Key},
        series::PointRequest,
    },
    replay::Input,
};

/// The points and bytes at which a batch ends. A record more is still within the bounds of a request.
const BATCH_POINTS: usize = 1_000;
const BATCH_BYTES: usize = 256 * 1024;

/// The records, and the bytes of the file, at which a batch ends, also if they are refused.
const BATCH_RECORDS: u64 = 5_000;
const BATCH_TEXT: u64 = 1024 * 1024;

/// The form of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Csv,
    Json,
}

/// The form of a file, and its columns.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `None`: JSON if the first character is a brace.
    pub form: Option<Form>,
    pub columns: Columns,
    pub unit: Unit,
}

/// A place between two records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The bytes of the text before it, unpacked.
    pub bytes: u64,
    /// The lines before it.
    pub lines: u64,
    /// The hash of those bytes.
    pub digest: String,
}

/// A record that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedLine {
    /// The number of its first line, counted from 1.
    pub line: u64,
    pub reason: Reason,
    pub detail: String,
    pub text: Box<[u8]>,
}

/// A record that is sent.
#[derive(Clone, Debug)]
pub(super) struct SentLine {
    pub line: u64,
    pub text: Box<[u8]>,
    /// The points that it became.
    pub points: usize,
    pub n: u64,
}

/// Some records, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub start: Position,
    pub end: Position,
    /// The points, as lines of JSON.
    pub(super) body: Vec<u8>,
    pub(super) sent: Vec<SentLine>,
    pub refused: Vec<RefusedLine>,
    pub records: u64,
    /// Records with an amount of zero.
    pub zeros: u64,
    /// The last record has no line end: the file may have been cut.
    pub is_cut: bool,
}

/// Reads batches from an open file.
pub(crate) struct Reader {
    records: Records<Input>,
    /// `None`: lines of JSON.
    header: Option<Header>,
    unit: Unit,
    is_empty: bool,
}

impl Reader {
    /// Reads the header of CSV, and goes to `position`.
    ///
    /// # Errors
    /// If the file cannot be read, has no such header, or has another text before `position`.
    pub(crate) fn open(input: Input, options: &Options, position: Option<&Position>) -> Result<Self> {
        let mut records = Records::new(input, Ends::Line);
        let first = records.peek().map_err(|cause| records.stream().failed(&cause))?;
        let form = options.form.unwrap_or(if first == Some(b'{') { Form::Json } else { Form::Csv });
        let mut reader = Self { records, header: None, unit: options.unit, is_empty: first.is_none() };
        if form == Form::Csv && !reader.is_empty {
            reader.records.set_ends(Ends::UnquotedLine);
            reader.header = Some(reader.read_header(&options.columns)?);
        }
        if let Some(position) = position {
            reader.skip_to(position)?;
        }
        Ok(reader)
    }

    /// Whether the file has nothing but blanks.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The columns that are not read, without `step`, which an export writes.
    pub(crate) fn unread(&self) -> Vec<&str> {
        let unread = self.header.iter().flat_map(|header| &header.unread);
        unread.map(String::as_str).filter(|name| *name != "step").collect()
    }

    fn read_header(&mut self, columns: &Columns) -> Result<Header> {
        loop {
            match self.records.advance() {
                Ok(Some(Record::Whole(row))) if row.trim_ascii().is_empty() => {}
                Ok(Some(Record::Whole(row))) => {
                    return Header::new(row, columns).map_err(|why| anyhow!("the first row: {why}"));
                }
                Ok(_) => bail!("the first row has no names of columns"),
                Err(cause) => return Err(self.records.stream().failed(&cause).into()),
            }
        }
    }

    fn skip_to(&mut self, position: &Position) -> Result<()> {
        let is_there = self.records.skip_to(position.bytes, position.lines);
        let is_there = is_there.map_err(|cause| self.records.stream().failed(&cause))?;
        ensure!(
            is_there && self.position().digest == position.digest,
            "another file, or it was changed: its first {} bytes are not those that were imported",
            position.bytes
        );
        Ok(())
    }

    /// The place before the next record.
    pub(crate) fn position(&self) -> Position {
        let Self { records, .. } = self;
        let digest = format!("{:032x}", records.digest());
        Position { bytes: records.position(), lines: records.lines(), digest }
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        let mut batch = Batch::new(self.position());
        let mut points = 0;
        while points < BATCH_POINTS && batch.body.len() < BATCH_BYTES && batch.records < BATCH_RECORDS {
            if self.records.position() - batch.start.bytes >= BATCH_TEXT {
                break;
            }
            let line = self.records.lines() + 1;
            let record = match self.records.advance() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(cause) => return Err(self.records.stream().failed(&cause)),
            };
            let (text, point) = match record {
                Record::Whole(text) if text.trim_ascii().is_empty() => continue,
                Record::Whole(text) => (text, parse(text, self.header.as_ref(), self.unit)),
                Record::TooLong(head) => (head, Err(malformed(format!("longer than {MAX_RECORD} bytes")))),
                Record::OpenQuote(text) => (text, Err(malformed("a quote is not closed"))),
            };
            let text: Box<[u8]> = text.into();
            batch.records += 1;
            match point {
                Ok(Point { n: 0, .. }) => batch.zeros += 1,
                Ok(point) => points += batch.push(line, text, point),
                Err((reason, detail)) => batch.refused.push(RefusedLine { line, reason, detail, text }),
            }
        }
        batch.end = self.position();
        batch.is_cut = self.records.is_cut();
        Ok((batch.start != batch.end).then_some(batch))
    }
}

impl Batch {
    fn new(start: Position) -> Self {
        Self {
            end: start.clone(),
            start,
            body: vec![],
            sent: vec![],
            refused: vec![],
            records: 0,
            zeros: 0,
            is_cut: false,
        }
    }

    /// Adds a record, as one or more points; returns how many.
    fn push(&mut self, line: u64, text: Box<[u8]>, point: Point) -> usize {
        let Point { name, n, at } = point;
        let (mut left, mut points) = (n, 0);
        let mut request = PointRequest { at: Some(At(at)), ..PointRequest::default() };
        match name {
            Name::Key(key) => request.key = Some(Key(key)),
            Name::Labels(labels) => request.labels = Some(labels),
        }
        while left > 0 {
            let part = left.min(key::Count::MAX);
            request.n = Count(part);
            serde_json::to_writer(&mut self.body, &request).expect("a point is plain data");
            self.body.push(b'\n');
            left -= part;
            points += 1;
        }
        self.sent.push(SentLine { line, text, points, n });
        points
    }
}

fn parse(text: &[u8], header: Option<&Header>, unit: Unit) -> Result<Point, Refusal> {
    match header {
        Some(header) => point_of_row(text, header, unit),
        None => point_of_line(text, unit),
    }
}

fn malformed(why: impl Into<String>) -> Refusal {
    (Reason::Format, why.into())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn open(text: &str, position: Option<&Position>) -> Result<Reader> {
        let columns = Columns { key: "key".into(), labels: vec![], at: "at".into(), n: "n".into() };
        let options = Options { form: None, columns, unit: Unit::Seconds };
        let raw = Cursor::new(text.as_bytes().to_vec());
        Reader::open(Input::new("a test".to_owned(), raw, None).expect("memory"), &options, position)
    }

    fn all(mut reader: Reader) -> Vec<Batch> {
        std::iter::from_fn(|| reader.next_batch().expect("memory")).collect()
    }

    fn rows(count: u64) -> String {
        (0..count).fold("key,at,n\n".to_owned(), |text, n| format!("{text}k{n},{},1\n", 1_767_225_600 + n))
    }

    #[test]
    fn batches_of_a_text_are_the_same_from_any_position() {
        let text = rows(2_500) + "\n\n";
        let whole = all(open(&text, None).expect("a header"));
        assert_eq!(whole.iter().map(|batch| batch.records).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        for (place, batch) in whole.iter().enumerate() {
            let rest = all(open(&text, Some(&batch.start)).expect("the same text"));
            assert_eq!(rest.len(), whole.len() - place);
            assert_eq!((&rest[0].end, &rest[0].body), (&batch.end, &batch.body));
            assert_eq!(rest[0].sent[0].line, 2 + 1_000 * place as u64);
        }
        let changed = text.replacen("k0,", "k9,", 1);
        let error = open(&changed, Some(&whole[1].start)).err().expect("another text").to_string();
        assert!(error.contains("another file, or it was changed"), "{error}");
        assert!(open(&rows(10), Some(&whole[1].start)).is_err(), "a shorter one");
        assert!(all(open(&text, Some(&whole[2].end)).expect("the same text")).is_empty());
    }

    #[test]
    fn wide_rows_are_few_in_a_batch() {
        let row = format!("a,never,1,{}\n", "x".repeat(60_000));
        let batches = all(open(&format!("key,at,n,note\n{}", row.repeat(100)), None).expect("a header"));
        assert!(batches.len() > 4 && batches.iter().all(|batch| batch.records <= 18));
        assert_eq!(batches.iter().map(|batch| batch.refused.len()).sum::<usize>(), 100);
    }

    #[test]
    fn each_record_is_sent_refused_or_zero() {
        let text = "\u{feff}at,key,n,step\r\n1767225600,\"a\nb\",5000000000,10\r\n\r\nx,a,1,10\r\n1767225600,a,0,10\r\n1,a";
        let reader = open(text, None).expect("a header");
        assert!(reader.unread().is_empty());
        let batches = all(reader);
        let [batch] = &batches[..] else { panic!("{batches:?}") };
        let lines: Vec<_> = batch.refused.iter().map(|refused| (refused.line, refused.reason)).collect();
        assert_eq!(lines, [(5, Reason::Time), (7, Reason::Format)]);
        assert_eq!((batch.records, batch.zeros, batch.is_cut), (4, 1, true));
        let sent = &batch.sent[0];
        assert_eq!((sent.line, sent.points, sent.n), (2, 3, 5_000_000_000));
        let body = String::from_utf8(batch.body.clone()).expect("text");
        assert!(body.starts_with(r#"{"key":"a\nb","n":2147483648,"at":"2026-01-01T00:00:00Z"}"#), "{body}");
        assert_eq!(batch.end.bytes, text.len() as u64);
    }

    #[test]
    fn the_form_is_that_of_the_first_character() {
        let batches = all(open("\n {\"key\":\"a\",\"at\":1767225600}\n[]\n", None).expect("JSON"));
        assert_eq!((batches[0].sent.len(), batches[0].refused.len()), (1, 1));
        assert!(open("", None).expect("nothing").is_empty());
        assert!(all(open("key,at\n", None).expect("a header")).iter().all(|batch| batch.records == 0));
        for (text, told) in [
            ("a,b\n1,2\n", "the first row: no column \"key\""),
            ("key,at,key\n", "there twice"),
            ("\"a", "no names"),
        ] {
            let error = open(text, None).err().expect(text).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}

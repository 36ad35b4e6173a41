//! How rows and counts are packed into the values of the file.
//!
//! Bytes in, bytes out: no file, no clock. Unsigned numbers are LEB128 (seven bits a byte, the low ones first), signed
//! ones zigzag before that, texts their length and their bytes.

use uuid::Uuid;

use crate::{
    error::{Error, ErrorKind, Result},
    model::{
        RowKey, Value,
        rate::rule::{Rule, Scale, State},
    },
    time::Timestamp,
};

/// The cells of a row: one place per value column.
pub(super) type Cells = Box<[Option<Value>]>;

/// Packs values one after the other.
#[derive(Debug, Default)]
pub(super) struct Pack(Vec<u8>);

impl Pack {
    pub(super) fn uint(&mut self, mut n: u64) -> &mut Self {
        while n >= 0x80 {
            self.0.push(n.to_le_bytes()[0] | 0x80);
            n >>= 7;
        }
        self.0.push(n.to_le_bytes()[0]);
        self
    }

    pub(super) fn int(&mut self, n: i64) -> &mut Self {
        self.uint(((n << 1) ^ (n >> 63)).cast_unsigned())
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.uint(text.len() as u64).raw(text.as_bytes())
    }

    /// A row: its key, the number of its cells, and per cell a tag and the value.
    pub(super) fn row(&mut self, key: &RowKey, cells: &[Option<Value>]) -> &mut Self {
        self.text(key.as_str()).uint(cells.len() as u64);
        for cell in cells {
            match cell {
                None => self.uint(0),
                Some(Value::Integer(n)) => self.uint(1).int(*n),
                Some(Value::Text(text)) => self.uint(2).text(text),
                Some(Value::Timestamp(at)) => self.uint(3).int(at.as_micros()),
                Some(Value::Uuid(id)) => self.uint(4).raw(id.as_bytes()),
            };
        }
        self
    }

    /// A key of a limit, its state, what that counts, and until when it counts.
    pub(super) fn limit(&mut self, limit: &str, key: &str, scale: Scale, state: State, end: Timestamp) {
        self.text(limit).text(key).uint(scale.to_bits()).uint(state.0).uint(state.1).int(end.as_micros());
    }

    /// Bytes that go to the end.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads back what [`Pack`] wrote.
///
/// Nothing it is given makes it panic or reserve memory that the bytes do not account for.
#[derive(Debug)]
pub(super) struct Unpack<'a>(&'a [u8]);

impl<'a> Unpack<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn uint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or_else(corrupt)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            n |= bits << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return if bits << shift >> shift == bits { Ok(n) } else { Err(corrupt()) };
            }
        }
        Err(corrupt())
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        let n = self.uint()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        let len = usize::try_from(self.uint()?).map_err(|_| corrupt())?;
        std::str::from_utf8(self.take(len)?).map_err(|_| corrupt())
    }

    pub(super) fn row(&mut self) -> Result<(RowKey, Cells)> {
        let key = RowKey::from_store(self.text()?);
        let count = self.uint()?;
        // Each cell has at least its tag.
        if count > self.0.len() as u64 {
            return Err(corrupt());
        }
        let cells: Result<Cells> = (0..count).map(|_| self.cell()).collect();
        Ok((key, cells?))
    }

    /// The limit, the key, the state with its scale, and the deadline.
    pub(super) fn limit(&mut self) -> Result<(&'a str, &'a str, Scale, State, Timestamp)> {
        let (limit, key, scale) = (self.text()?, self.text()?, Scale::from_bits(self.uint()?));
        if scale != Scale::LEASE && !Rule::knows(scale) {
            let kind = scale.kind();
            let text =
                format!("limit {limit}: the file has a kind of limit of a later version, number {kind}");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let state = State(self.uint()?, self.uint()?);
        Ok((limit, key, scale, state, Timestamp::from_micros(self.int()?)))
    }

    fn cell(&mut self) -> Result<Option<Value>> {
        Ok(Some(match self.uint()? {
            0 => return Ok(None),
            1 => Value::Integer(self.int()?),
            2 => Value::Text(self.text()?.into()),
            3 => Value::Timestamp(Timestamp::from_micros(self.int()?)),
            4 => Value::Uuid(Uuid::from_slice(self.take(16)?).map_err(|_| corrupt())?),
            _ => return Err(corrupt()),
        }))
    }

    /// All bytes that are left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(corrupt)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// The error for a value that cannot be read.
pub(super) fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "a packed value is cut short or not one of ours")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, mins, secs};

    fn cells() -> impl Strategy<Value = Vec<Option<Value>>> {
        let value = prop_oneof![
            any::<i64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            any::<i64>().prop_map(|at| Timestamp::from_micros(at).into()),
            any::<u128>().prop_map(|id| Uuid::from_u128(id).into()),
        ];
        prop::collection::vec(prop::option::of(value), 0..6)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(
            rows in prop::collection::vec((".{1,20}", cells()), 0..8), n in any::<u64>(), i in any::<i64>(),
        ) {
            let mut pack = Pack::default();
            for (key, cells) in &rows {
                pack.row(&RowKey::from_store(key), cells);
            }
            let scale = Scale::from_bits((n & !(0xff << 56)) | 1);
            pack.uint(n).int(i).limit("hits", "42", scale, State(n, 7), Timestamp::from_micros(i));
            let mut unpack = Unpack::new(pack.bytes());
            for (key, cells) in rows {
                prop_assert_eq!(unpack.row().expect("ours"), (RowKey::from_store(&key), cells.into()));
            }
            prop_assert_eq!((unpack.uint().expect("ours"), unpack.int().expect("ours")), (n, i));
            let limit = ("hits", "42", scale, State(n, 7), Timestamp::from_micros(i));
            prop_assert_eq!(unpack.limit().expect("ours"), limit);
            prop_assert!(unpack.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut unpack = Unpack::new(&bytes);
            while !unpack.is_empty() && unpack.row().is_ok() {}
            let mut unpack = Unpack::new(&bytes);
            while !unpack.is_empty() && unpack.limit().is_ok() {}
        }

        #[test]
        fn a_value_cut_short_is_refused(cells in cells(), cut in 0.0..1.0) {
            let mut pack = Pack::default();
            pack.row(&RowKey::from_store("key"), &cells);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a small length")]
            let cut = (pack.len() as f64 * cut) as usize;
            prop_assert!(Unpack::new(&pack.bytes()[..cut]).row().is_err());
        }
    }

    /// Files of today's kinds must go on counting: these are the bytes that version 0.1 wrote.
    #[test]
    fn states_of_each_kind_are_packed_as_ever() {
        let rules = [
            (Rule::fixed_window(20, mins(1), secs(15)), "046869747302343281f0f0e4010a0b8080afa2dbffad06"),
            (Rule::sliding_window(20, mins(1)), "046869747302343283f0f0e4010a0b8080afa2dbffad06"),
            (Rule::token_bucket(20, mins(1), 40), "046869747302343282f0f0e4010a0b8080afa2dbffad06"),
            (Rule::token_bucket(1_000_000, days(1), 50), "04686974730234328680ecf58e140a0b8080afa2dbffad06"),
        ];
        for (rule, bytes) in rules {
            let (scale, at) = (rule.expect("in range").scale(), Timestamp::from_secs(1_790_000_000));
            let mut pack = Pack::default();
            pack.limit("hits", "42", scale, State(10, 11), at);
            let hex: Vec<String> = pack.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex.concat(), bytes);
            assert_eq!(
                Unpack::new(pack.bytes()).limit().expect("ours"),
                ("hits", "42", scale, State(10, 11), at)
            );
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_an_error() {
        let mut pack = Pack::default();
        pack.limit("hits", "42", Scale::from_bits(200 << 56), State(1, 1), Timestamp::UNIX_EPOCH);
        let error = Unpack::new(pack.bytes()).limit().expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "limit hits: the file has a kind of limit of a later version, number 200"
        );
    }
}

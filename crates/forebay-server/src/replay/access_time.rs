//! Times as the logs of Apache and nginx have them.

use forebay::Timestamp;
use jiff::{civil, tz::Offset};

/// An example of a time, for messages.
pub(super) const A_TIME: &str = "a time such as [17/May/2015:10:05:03 +0000]";

/// The length of a time with its brackets and the blank after it.
pub(super) const TIME: usize = 29;

/// Reads `17/May/2015:10:05:03 +0000`.
pub(super) fn clf_time(text: &str) -> Option<Timestamp> {
    access_time(format!("[{text}] ").as_bytes().get(..TIME).filter(|_| text.len() + 3 == TIME)?).ok()
}

/// Reads `[17/May/2015:10:05:03 +0000] `; the error has an offset.
pub(super) fn access_time(text: &[u8]) -> Result<Timestamp, (usize, String)> {
    const SHAPE: &[u8; TIME] = b"[00/Aaa/0000:00:00:00 +0000] ";
    for (offset, (&found, &shape)) in text.iter().zip(SHAPE).enumerate() {
        let fits = match shape {
            b'0' => found.is_ascii_digit(),
            b'A' | b'a' => found.is_ascii_alphabetic(),
            b'+' => found == b'+' || found == b'-',
            other => found == other,
        };
        if !fits {
            return Err((offset, format!("expected {A_TIME}")));
        }
    }
    let two = |at: usize| (text[at] - b'0').cast_signed() * 10 + (text[at + 1] - b'0').cast_signed();
    let year = i16::from(two(8)) * 100 + i16::from(two(10));
    let month = MONTHS.iter().zip(1..).find_map(|(month, number)| (*month == &text[4..7]).then_some(number));
    let month =
        month.ok_or_else(|| (4, format!("there is no month {:?}", String::from_utf8_lossy(&text[4..7]))))?;
    // A leap second is read as the second before it.
    let second = if two(19) == 60 { 59 } else { two(19) };
    let time = civil::DateTime::new(year, month, two(1), two(13), two(16), second, 0)
        .map_err(|_| (1, "there is no such day or time of day".to_owned()))?;
    let east = i32::from(two(23)) * 3_600 + i32::from(two(25)) * 60;
    let offset = Offset::from_seconds(if text[22] == b'-' { -east } else { east });
    let at = offset.and_then(|offset| offset.to_timestamp(time));
    let at = at.map_err(|_| (22, "the zone is not within a day of UTC".to_owned()))?;
    Ok(Timestamp::from_micros(at.as_microsecond()))
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

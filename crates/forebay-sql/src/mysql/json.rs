//! The rows of a statement as one parameter: a JSON text. So the statement does not depend on their number.

use crate::common::codec::Cell;

/// `[["a",1],["b",2]]`.
pub(super) fn rows<'a>(rows: impl Iterator<Item = &'a [Cell]>) -> String {
    let mut json = String::from("[");
    for (i, cells) in rows.enumerate() {
        json.push_str(if i == 0 { "[" } else { ",[" });
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                json.push(',');
            }
            push(&mut json, cell);
        }
        json.push(']');
    }
    json.push(']');
    json
}

fn push(json: &mut String, cell: &Cell) {
    match cell {
        Cell::Integer(n) => json.push_str(&n.to_string()),
        Cell::Text(text) => json.push_str(&serde_json::Value::from(text.as_str()).to_string()),
        Cell::Bytes(bytes) => {
            json.push('"');
            for byte in bytes {
                json.push(digit(byte >> 4));
                json.push(digit(byte & 15));
            }
            json.push('"');
        }
    }
}

fn digit(half: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(half)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_spelled_as_json_has_them() {
        let cells =
            [vec![Cell::Text("a\"\\\0é".into()), Cell::Integer(i64::MIN)], vec![Cell::Bytes(vec![0, 255])]];
        let json = rows(cells.iter().map(|cells| &**cells));
        assert_eq!(json, r#"[["a\"\\\u0000é",-9223372036854775808],["00ff"]]"#);
        assert_eq!(rows([].into_iter()), "[]");
    }
}

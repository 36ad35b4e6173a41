//! Keys and words of commands.

/// A key, a value or a word of a command: text, bytes, or an integer, which is written in decimal.
///
/// # Examples
/// ```
/// use forebay::cluster::Argument;
/// assert_eq!(*42_u8.to_bytes(), *b"42");
/// assert_eq!(*"name".to_bytes(), *b"name");
/// ```
pub trait Argument {
    /// The bytes that are sent to the store.
    fn to_bytes(&self) -> Box<[u8]>;
}

macro_rules! arguments {
    ($($type:ty),* => |$value:ident| $bytes:expr) => {$(
        impl Argument for $type {
            fn to_bytes(&self) -> Box<[u8]> {
                let $value = self;
                $bytes.into()
            }
        }
    )*};
}

macro_rules! forwarded {
    ($($type:ty),*) => {$(
        impl<T: Argument + ?Sized> Argument for $type {
            fn to_bytes(&self) -> Box<[u8]> {
                (**self).to_bytes()
            }
        }
    )*};
}

arguments!(str, String, [u8], Vec<u8> => |text| AsRef::<[u8]>::as_ref(text));
arguments!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize => |n| n.to_string().into_bytes());
forwarded!(&T, Box<T>, std::sync::Arc<T>);

impl<const N: usize> Argument for [u8; N] {
    fn to_bytes(&self) -> Box<[u8]> {
        self.as_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bytes_and_integers_are_arguments() {
        let of = |argument: &dyn Argument| argument.to_bytes().into_vec();
        for argument in
            [&"42" as &dyn Argument, &42_u8, &42_i64, b"42", &vec![b'4', b'2'], &String::from("42")]
        {
            assert_eq!(of(argument), b"42");
        }
        assert_eq!(of(&i64::MIN), b"-9223372036854775808");
    }
}

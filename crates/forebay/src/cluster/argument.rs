//! Keys and words of commands.

use std::borrow::Cow;

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

    /// The same bytes, if they need not be written first.
    fn as_bytes(&self) -> Option<&[u8]> {
        None
    }
}

/// The bytes of an argument, copied only if they have to be written.
pub(super) fn bytes(argument: &(impl Argument + ?Sized)) -> Cow<'_, [u8]> {
    argument.as_bytes().map_or_else(|| argument.to_bytes().into_vec().into(), Cow::Borrowed)
}

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn to_bytes(&self) -> Box<[u8]> {
                AsRef::<[u8]>::as_ref(self).into()
            }

            fn as_bytes(&self) -> Option<&[u8]> {
                Some(self.as_ref())
            }
        }
    )*};
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn to_bytes(&self) -> Box<[u8]> {
                self.to_string().into_bytes().into()
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

            fn as_bytes(&self) -> Option<&[u8]> {
                (**self).as_bytes()
            }
        }
    )*};
}

texts!(str, String, [u8], Vec<u8>);
integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);
forwarded!(&T, Box<T>, std::sync::Arc<T>);

impl<const N: usize> Argument for [u8; N] {
    fn to_bytes(&self) -> Box<[u8]> {
        self.as_slice().into()
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self)
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
            assert_eq!(*bytes(argument), *b"42");
        }
        assert_eq!(of(&i64::MIN), b"-9223372036854775808");
    }
}

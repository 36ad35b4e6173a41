//! A store's answer to a command, and the types it can be read as.

/// An answer of a store.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::cluster::Reply;
/// let mut map = bay.cluster().map();
/// let reply = map.get::<Reply>("name");
/// assert_eq!(map.run().await.get(reply)?, Reply::Nil);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// No value: the key does not exist.
    Nil,
    /// A whole number.
    Integer(i64),
    /// A value, or a word such as `OK`.
    Bytes(Box<[u8]>),
    /// A number with a fraction.
    Double(f64),
    /// Yes or no.
    Boolean(bool),
    /// Several answers. A part may be refused although the whole is not.
    Array(Vec<Reply>),
    /// Fields and their values.
    Map(Vec<(Reply, Reply)>),
    /// A refusal inside an array or a map. As the whole answer it would be
    /// [`Fate::Rejected`](super::Fate::Rejected).
    Refused(Box<str>),
}

impl Reply {
    /// The kind of answer, for a message. The contents may be long or secret.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Integer(_) => "an integer",
            Self::Bytes(_) => "a text",
            Self::Double(_) => "a fraction",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
            Self::Refused(_) => "a refusal",
        }
    }
}

/// A type that an answer can be read as.
///
/// # Examples
/// ```
/// use forebay::cluster::{FromReply, Reply};
/// assert_eq!(i64::from_reply(&Reply::Integer(7)), Some(7));
/// assert_eq!(Option::<i64>::from_reply(&Reply::Nil), Some(None));
/// ```
pub trait FromReply: Sized {
    /// Reads an answer; `None`: it has another type.
    fn from_reply(reply: &Reply) -> Option<Self>;
}

impl FromReply for Reply {
    fn from_reply(reply: &Reply) -> Option<Self> {
        Some(reply.clone())
    }
}

/// Any answer that is not a refusal.
impl FromReply for () {
    fn from_reply(reply: &Reply) -> Option<Self> {
        (!matches!(reply, Reply::Refused(_))).then_some(())
    }
}

/// A boolean, or an integer of 0 or 1.
impl FromReply for bool {
    fn from_reply(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Boolean(yes) => Some(*yes),
            Reply::Integer(0) => Some(false),
            Reply::Integer(1) => Some(true),
            _ => None,
        }
    }
}

/// Numbers are also read from decimal text, because a store keeps them as text.
macro_rules! number {
    ($($type:ty),*) => {$(
        impl FromReply for $type {
            fn from_reply(reply: &Reply) -> Option<Self> {
                match reply {
                    Reply::Integer(n) => Self::try_from(*n).ok(),
                    Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

number!(i32, i64, u32, u64, usize);

impl FromReply for f64 {
    fn from_reply(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Integer(n) => Some(*n as Self),
            Reply::Double(n) => Some(*n),
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }
}

impl FromReply for String {
    fn from_reply(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(Into::into),
            Reply::Integer(n) => Some(n.to_string()),
            _ => None,
        }
    }
}

/// Bytes are always those of a value, never a list of small numbers.
impl FromReply for Vec<u8> {
    fn from_reply(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

/// The elements of an array.
impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Array(parts) => parts.iter().map(FromReply::from_reply).collect(),
            _ => None,
        }
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Nil => Some(None),
            other => T::from_reply(other).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.as_bytes().into())
    }

    #[test]
    fn answers_are_read_by_their_type() {
        assert_eq!(i64::from_reply(&bytes("-5")), Some(-5));
        assert_eq!(u32::from_reply(&Reply::Integer(-5)), None);
        assert_eq!(f64::from_reply(&bytes("2.5")), Some(2.5));
        assert_eq!(bool::from_reply(&Reply::Integer(1)), Some(true));
        assert_eq!(bool::from_reply(&Reply::Integer(2)), None);
        assert_eq!(String::from_reply(&bytes("é")), Some("é".into()));
        assert_eq!(String::from_reply(&Reply::Bytes([0xff].into())), None);
        assert_eq!(Vec::<u8>::from_reply(&bytes("ab")), Some(b"ab".to_vec()));
        let list = Reply::Array(vec![bytes("1"), Reply::Nil]);
        assert_eq!(Vec::<Option<i64>>::from_reply(&list), Some(vec![Some(1), None]));
        assert_eq!(Vec::<i64>::from_reply(&list), None);
    }

    #[test]
    fn only_an_option_may_be_nothing() {
        assert_eq!(Option::<i64>::from_reply(&Reply::Nil), Some(None));
        assert_eq!(Option::<i64>::from_reply(&bytes("7")), Some(Some(7)));
        assert_eq!(Option::<i64>::from_reply(&bytes("x")), None);
        assert_eq!(i64::from_reply(&Reply::Nil), None);
    }

    #[test]
    fn a_refusal_is_not_done() {
        assert_eq!(<()>::from_reply(&bytes("OK")), Some(()));
        assert_eq!(<()>::from_reply(&Reply::Refused("ERR".into())), None);
    }
}

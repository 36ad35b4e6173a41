//! A minimal Redis client, to inspect a server without the client under test.

use std::{
    io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// A server that does not answer within this is down or paused.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reply of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Integer(i64),
    /// A status like `OK`, or a string. Bytes that are not UTF-8 are replaced.
    Text(String),
    /// An error, with its code: `WRONGTYPE Operation against ...`.
    Error(String),
    /// Several answers.
    Array(Vec<Reply>),
}

impl Reply {
    /// A status or string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// A connection to a server on this machine.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn command<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) -> io::Result<Reply> {
        let words: Vec<&str> = words.into_iter().collect();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len())?;
        }
        self.0.get_mut().write_all(&request)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.trim_end();
        let mut kind = line.chars();
        let first = kind.next().ok_or(ErrorKind::UnexpectedEof)?;
        let rest = kind.as_str();
        Ok(match first {
            '+' => Reply::text(rest),
            '-' => Reply::Error(rest.to_owned()),
            ':' => Reply::Integer(number(rest)?),
            '$' => match usize::try_from(number(rest)?) {
                Ok(length) => self.bulk(length)?,
                Err(_) => Reply::Nil,
            },
            '*' => match usize::try_from(number(rest)?) {
                Ok(length) => Reply::Array((0..length).map(|_| self.reply()).collect::<io::Result<_>>()?),
                Err(_) => Reply::Nil,
            },
            _ => return Err(Error::new(ErrorKind::InvalidData, format!("not RESP2: {line:?}"))),
        })
    }

    fn bulk(&mut self, length: usize) -> io::Result<Reply> {
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes)?;
        Ok(Reply::text(String::from_utf8_lossy(&bytes[..length])))
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| Error::new(ErrorKind::InvalidData, format!("not a number: {text:?}")))
}

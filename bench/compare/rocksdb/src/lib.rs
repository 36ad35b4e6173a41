//! The items of RocksDB that limitador's disk storage names. Nothing here runs.
//!
//! A database cannot exist here: [`DBWithThreadMode::open`] always fails, and its type has no value. So the compiler knows
//! that no cell runs any of this.

#![forbid(unsafe_code)]

use std::{convert::Infallible, fmt, iter::Empty, marker::PhantomData, path::Path};

/// A database without a value.
#[derive(Debug)]
pub struct DBWithThreadMode<T>(Infallible, PhantomData<T>);

/// The mode for use by several threads.
#[derive(Debug)]
pub struct MultiThreaded;

pub type DB = DBWithThreadMode<MultiThreaded>;

/// A key and its value.
pub type Entry = Result<(Box<[u8]>, Box<[u8]>), Error>;

impl<T> DBWithThreadMode<T> {
    /// Fails always.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: &Options, _: impl AsRef<Path>) -> Result<Self, Error> {
        Err(Error)
    }

    pub fn get(&self, _: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        match self.0 {}
    }

    pub fn merge(&self, _: impl AsRef<[u8]>, _: impl AsRef<[u8]>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn delete(&self, _: impl AsRef<[u8]>) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn iterator(&self, _: IteratorMode) -> Empty<Entry> {
        match self.0 {}
    }

    pub fn prefix_iterator(&self, _: impl AsRef<[u8]>) -> Empty<Entry> {
        match self.0 {}
    }
}

/// The options of a database that cannot exist.
#[derive(Debug, Default)]
pub struct Options;

impl Options {
    pub fn create_if_missing(&mut self, _: bool) {}

    pub fn set_compression_type(&mut self, _: DBCompressionType) {}

    pub fn set_compaction_filter<F>(&mut self, _: &str, _: F)
    where
        F: FnMut(u32, &[u8], &[u8]) -> CompactionDecision,
    {
    }

    pub fn set_merge_operator_associative<F>(&mut self, _: &str, _: F)
    where
        F: Fn(&[u8], Option<&[u8]>, &MergeOperands) -> Option<Vec<u8>>,
    {
    }
}

#[derive(Debug)]
pub enum DBCompressionType {
    None,
    Bz2,
}

#[derive(Debug)]
pub enum CompactionDecision {
    Keep,
    Remove,
}

#[derive(Debug)]
pub enum IteratorMode {
    Start,
}

/// No values to merge.
#[derive(Debug)]
pub enum MergeOperands {}

impl<'a> IntoIterator for &'a MergeOperands {
    type Item = &'a [u8];
    type IntoIter = Empty<&'a [u8]>;

    fn into_iter(self) -> Self::IntoIter {
        match *self {}
    }
}

/// The only error.
#[derive(Debug)]
pub struct Error;

#[derive(Debug, PartialEq, Eq)]
pub enum ErrorKind {
    NotSupported,
    TimedOut,
    TryAgain,
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::NotSupported
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("built without RocksDB")
    }
}

impl std::error::Error for Error {}

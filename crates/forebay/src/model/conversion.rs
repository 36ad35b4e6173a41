//! Keys that were copied to hosts of another layout.

/// What a conversion of a store to another layout copies, and has copied: see
/// [`Options::convert_hosts`](crate::bay::Options::convert_hosts).
///
/// # Examples
/// ```
/// use forebay::cluster::Converted;
/// let converted = Converted::default();
/// assert_eq!(converted.keys_copied, converted.keys_to_copy);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// The keys that go to another host. A few of them may expire meanwhile.
    pub keys_to_copy: u64,
    /// The keys that were copied and compared.
    pub keys_copied: u64,
    /// The bytes of these keys and their values, as they travelled.
    pub bytes_copied: u64,
    /// The keys by what they belong to, in the order of the words.
    pub kinds: Vec<KeysOfKind>,
}

/// The keys that belong to one kind of structure, before and after a conversion.
///
/// # Examples
/// ```
/// use forebay::cluster::Converted;
/// for kind in Converted::default().kinds {
///     println!("{}: {} of {}", kind.kind, kind.target, kind.source);
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeysOfKind {
    /// The first word behind the prefix, such as `window` or `lock`; `plain` for keys of the application.
    pub kind: Box<str>,
    /// The number on the hosts of the source, where their router looks.
    pub source: u64,
    /// The number on the hosts of the target. 0 before it was converted.
    pub target: u64,
}

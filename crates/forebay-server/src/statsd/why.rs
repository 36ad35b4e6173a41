//! The reasons for which lines do not count.

/// The reason why a line, or a datagram, does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It has no name, or one with control characters.
    Name,
    /// Its value is missing, no number, or outside its range.
    Value,
    /// Its type is missing or unknown, or not that of the series.
    Type,
    /// Its sample rate is not a number from 0 to 1.
    Rate,
    /// A field after the type is malformed, unknown or there twice.
    Field,
    /// It is not UTF-8.
    Encoding,
    /// An event or a service check of DogStatsD.
    Unsupported,
    /// No pattern fits its name.
    Unmapped,
    /// Its key is empty or too long.
    Key,
    /// The series refused it: its time, or a new key beyond the bound.
    Refused,
    /// There is no room for another count.
    Overflow,
    /// The store failed, and may have counted it.
    Unknown,
    /// The datagram came from an address that is not allowed.
    Source,
}

impl Why {
    /// All of them, in the order of the definition.
    pub(super) const ALL: [Self; 13] = [
        Self::Name,
        Self::Value,
        Self::Type,
        Self::Rate,
        Self::Field,
        Self::Encoding,
        Self::Unsupported,
        Self::Unmapped,
        Self::Key,
        Self::Refused,
        Self::Overflow,
        Self::Unknown,
        Self::Source,
    ];

    /// The word for it in metrics and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Value => "value",
            Self::Type => "type",
            Self::Rate => "rate",
            Self::Field => "field",
            Self::Encoding => "encoding",
            Self::Unsupported => "unsupported",
            Self::Unmapped => "unmapped",
            Self::Key => "key",
            Self::Refused => "refused",
            Self::Overflow => "overflow",
            Self::Unknown => "unknown",
            Self::Source => "source",
        }
    }
}

//! Problems of objects that their users must know about.

use std::fmt;

use crate::source::ObjectKey;
use crate::source::convert::Advisory;

/// What a user must know of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An object is bad, and left out or kept as it was before.
    Problem(Problem),
    /// An object is no longer bad.
    Resolved(String),
    /// An object is good, but may not be what the user expects.
    Advisory(ObjectKey, Advisory),
}

/// An object that is bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub key: ObjectKey,
    /// What is wrong with it, and what weir makes of it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

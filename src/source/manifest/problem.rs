//! Problems of manifests, with their position.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use weir_rules::cluster::claims::Claim;

use crate::source::ObjectKey;

/// One thing that is wrong with the manifests.
///
/// Its `Display` is one line that begins with the place. The cause of a failed read is in
/// [`source`](Error::source) only.
#[derive(Debug, Clone)]
pub struct ManifestProblem {
    /// The file, as it was named; `-` for standard input.
    pub file: Arc<str>,
    /// The document within the file, counted from 1.
    pub document: Option<usize>,
    /// The object, when it is known.
    pub object: Option<ObjectKey>,
    /// The path of the field, such as `spec.ports[0].port`.
    pub field: Option<String>,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Reason {
    /// The file or directory cannot be read.
    #[error("cannot be read")]
    Read(#[source] Arc<io::Error>),
    /// The file is not text.
    #[error("not UTF-8 text (at byte {0})")]
    NotUtf8(usize),
    /// The document is not YAML.
    #[error("not YAML: {0}")]
    NotYaml(String),
    /// The document is not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// A field has a value that the API does not allow.
    #[error("{0}")]
    Invalid(String),
    /// The object has been read before.
    #[error("this object is also in {0}")]
    Duplicate(DocumentPosition),
    /// Another Service has the same address and port.
    #[error("{claim} is already claimed by {owner} in {place}")]
    Claimed {
        /// What both claim.
        claim: Claim,
        /// The Service that keeps it.
        owner: ObjectKey,
        /// Where that Service is.
        place: DocumentPosition,
    },
}

/// A document of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPosition {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The document, counted from 1.
    pub document: usize,
}

impl fmt::Display for DocumentPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", self.file, self.document)
    }
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(document) = self.document {
            write!(f, "document {document}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

impl Error for ManifestProblem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

//! Formats an error and its causes in one line.

use std::error::Error;
use std::io::{self, Write};

/// Why a command failed.
#[derive(Debug)]
pub struct CommandError(pub(crate) Vec<String>);

impl CommandError {
    /// Prints each reason to standard error, one to a line.
    pub fn report(&self) {
        self.0.iter().for_each(|line| say(line));
    }
}

/// An error with its causes makes one line.
impl<E: Error> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self(vec![chain(&error)])
    }
}

/// An error and its causes in one line. Some errors have their cause in their own text already.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| {
        let cause = cause.to_string();
        if line.ends_with(&cause) { line } else { format!("{line}: {cause}") }
    })
}

/// Prints a line to standard error; a failure is ignored.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "weir: {line}");
}

//! One file per command.

mod apply;
mod cleanup;
mod diff;
mod input;
mod pause;
mod print;
mod proxy;
mod run;

use std::error::Error;
use std::io::{self, Write};

pub use apply::apply;
pub use cleanup::{Owner, cleanup};
pub use diff::diff;
pub use pause::pause;
pub use print::print;
pub use proxy::proxy;
pub use run::run;

use crate::config::ConfigurationError;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure(Vec<String>);

impl Failure {
    /// Says why on standard error, a line each.
    pub fn report(&self) {
        self.0.iter().for_each(|line| say(line));
    }
}

/// An error with its causes makes one line.
impl<E: Error> From<E> for Failure {
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

/// Why there is no configuration: each invalid field is a reason of its own.
fn all_reasons(error: ConfigurationError) -> Vec<String> {
    match error {
        ConfigurationError::Invalid(errors) => errors.iter().map(ToString::to_string).collect(),
        error => vec![chain(&error)],
    }
}

/// Says a line on standard error, if there is anybody to hear it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "weir: {line}");
}

/// Writes to standard output. Whoever reads it may stop early, as `head` does.
fn write_out(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

//! One file per command.

mod apply;
mod cleanup;
mod diff;
mod input;
mod pause;
mod print;
mod proxy;
mod run;

use std::io::{self, Write};

pub use apply::apply;
pub use cleanup::{Owner, cleanup};
pub use diff::diff;
pub use pause::pause;
pub use print::print;
pub use proxy::proxy;
pub use run::run;

/// Writes to standard output. Whoever reads it may stop early, as `head` does.
fn write_out(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

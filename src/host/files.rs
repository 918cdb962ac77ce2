//! How many files the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::debug;

/// Raises the limit as far as the process may, as Go does for its programs: each connection to the
/// health check of a load balancer is a file, and each Service can have its own.
pub fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        debug!(%error, "cannot raise the limit of open files");
    }
}

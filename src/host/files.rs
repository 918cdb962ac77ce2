//! Raises the process's limit of open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::debug;

/// More than weir needs, and few enough for those of its children that go through all that there may
/// be: plugins for credentials, and iptables' programs.
const ENOUGH: u64 = 1 << 16;

/// Raises the limit as far as the process may and needs: each connection to the health check of a load
/// balancer is a file, and each Service can have its own. (Go raises it for all of its programs.)
pub fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(now, most)| {
        setrlimit(Resource::RLIMIT_NOFILE, most.min(ENOUGH).max(now), most)
    });
    if let Err(error) = raised {
        debug!(%error, "cannot raise the limit of open files");
    }
}

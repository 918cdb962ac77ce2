//! The root file system of weir's image.

use std::path::Path;
use std::process::Command;

/// Makes it, with the program under test, by the script that the Dockerfile runs.
///
/// # Panics
/// If it cannot be made.
pub(crate) fn image() -> tempfile::TempDir {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/image-root");
    let mut make = Command::new(script);
    let made = make.arg(env!("CARGO_BIN_EXE_weir")).arg(root.path()).status();
    assert!(made.expect("bash runs it").success(), "{make:?}");
    root
}

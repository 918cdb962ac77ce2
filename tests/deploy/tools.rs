//! The programs that the tests run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file or folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program of tests/tools/deploy-tools, to be run in the repository's top folder.
///
/// # Panics
/// If `DEPLOY_TOOLS` is not set: `make test` sets it.
pub(crate) fn tool(name: &str) -> Command {
    let folder = std::env::var_os("DEPLOY_TOOLS")
        .expect("DEPLOY_TOOLS is a folder: set it to what tests/tools/deploy-tools prints");
    let mut command = Command::new(Path::new(&folder).join(name));
    command.current_dir(repository("."));
    // Neither the user's cluster nor the user's settings are any of the tests' business.
    command.env("KUBECONFIG", "/dev/null").env("HELM_NO_PLUGINS", "1");
    command
}

/// Runs a command that must succeed, and gives its standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", both(&output));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Runs a command that must fail, and gives all that it says.
pub(crate) fn fail(command: &mut Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "{command:?} succeeds: {}", both(&output));
    both(&output)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

fn both(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

//! The workflows of the public repository.

use std::process::Command;

use crate::tools::{repository, succeed, tool};

fn workflows() -> Vec<std::path::PathBuf> {
    let folder = repository(".github/workflows").read_dir().expect("a folder");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 2, "{files:?}");
    files
}

fn with_workflows(command: &mut Command) -> &mut Command {
    command.args(workflows())
}

#[test]
fn the_workflows_are_what_github_takes() {
    let mut check = tool("check-jsonschema");
    check.args(["--builtin-schema", "vendor.github-workflows"]);
    succeed(with_workflows(&mut check));
}

/// Actions pinned by digest, no more permissions than needed, nothing of a pull request's text in a
/// shell.
#[test]
fn the_workflows_give_nothing_away() {
    let mut zizmor = tool("zizmor");
    zizmor.args(["--offline", "--no-progress", "--persona=pedantic"]);
    succeed(with_workflows(&mut zizmor));
}

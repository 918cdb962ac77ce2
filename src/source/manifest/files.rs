//! The files that hold manifests.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::Text;
use super::problem::{Problem, Reason};

/// The ends of the names of manifest files in a directory.
pub(super) const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Where to read manifests from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, or a directory: all its `*.yaml`, `*.yml` and `*.json` files that are not hidden, by
    /// name, and none of its subdirectories.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl From<&str> for Input {
    /// `-` is standard input.
    fn from(path: &str) -> Self {
        if path == "-" { Input::Stdin } else { Input::Path(path.into()) }
    }
}

/// The files of a directory that are manifests by their names, in order.
///
/// What is hidden stays so, which leaves of a mounted ConfigMap the links and not what is behind them.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            // Others would never end, as a FIFO; what cannot be looked at is a problem later.
            let is_other = path.metadata().is_ok_and(|metadata| !metadata.is_file());
            if is_manifest(&path) && !is_other {
                files.push(path);
            }
        }
        files.sort_unstable();
        Ok(files)
    };
    list().map_err(|error| unreadable(directory, error))
}

/// Whether a file in a directory holds manifests, by its name.
pub fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// Reads a file; `None` if there is none of this name any more.
pub(super) fn read(path: &Path) -> Result<Option<Text>, Box<Problem>> {
    match fs::read(path) {
        Ok(bytes) => text(&path.display().to_string(), bytes).map(Some),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() =>
        {
            Ok(None)
        }
        Err(error) => Err(unreadable(path, error)),
    }
}

/// Reads standard input to its end.
pub(super) fn read_stdin() -> Result<Text, Box<Problem>> {
    let mut bytes = Vec::new();
    match io::stdin().lock().read_to_end(&mut bytes) {
        Ok(_) => text("-", bytes),
        Err(error) => Err(unreadable(Path::new("-"), error)),
    }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<Text, Box<Problem>> {
    let name = Arc::from(name);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { name, text }),
        Err(error) => Err(file_problem(name, Reason::NotUtf8(error.utf8_error().valid_up_to()))),
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> Box<Problem> {
    file_problem(Arc::from(path.display().to_string()), Reason::Read(Arc::new(error)))
}

fn file_problem(file: Arc<str>, reason: Reason) -> Box<Problem> {
    Box::new(Problem { file, document: None, object: None, field: None, reason })
}

//! Finds the files that hold manifests.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::FileText;
use super::problem::{ManifestProblem, Reason};

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

/// What a directory holds that is a manifest by its name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files, in order.
    pub(super) files: Vec<PathBuf>,
    /// What is no file and is left out, one line each.
    pub(super) left_out: Vec<String>,
}

/// What of a directory is a manifest by its name.
///
/// What is hidden stays so, which leaves of a mounted ConfigMap the links and not what is behind them.
pub(super) fn list(directory: &Path) -> Result<Listing, Box<ManifestProblem>> {
    let list = || -> io::Result<Listing> {
        let mut listing = Listing::default();
        let paths = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        for path in paths.into_iter().filter(|path| is_manifest(path)) {
            // What cannot be looked at is a problem later.
            let kind = path.metadata().ok().map(|metadata| metadata.file_type());
            match kind.filter(|kind| !kind.is_file()) {
                Some(other) => listing.left_out.push(left_out(&path, other)),
                None => listing.files.push(path),
            }
        }
        Ok(listing)
    };
    list().map_err(|error| unreadable(directory, error))
}

fn left_out(path: &Path, kind: fs::FileType) -> String {
    let what = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    format!("{} is {what}, not a file, and is left out", path.display())
}

/// Whether a file in a directory holds manifests, by its name.
pub fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// Reads a file of a directory; `None` if there is none of this name any more. What has become something
/// else since it was listed is not waited for, as opening a FIFO would.
pub(super) fn read_listed(path: &Path) -> Result<Option<FileText>, Box<ManifestProblem>> {
    let read = || {
        let mut file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file any more"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    content(path, read())
}

/// Reads what was named by itself: a file, or a pipe, as a shell passes it for `<(command)`. `None` if
/// there is nothing of this name.
pub(super) fn read_named(path: &Path) -> Result<Option<FileText>, Box<ManifestProblem>> {
    content(path, fs::read(path))
}

fn content(
    path: &Path,
    bytes: io::Result<Vec<u8>>,
) -> Result<Option<FileText>, Box<ManifestProblem>> {
    match bytes {
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
pub(super) fn read_stdin() -> Result<FileText, Box<ManifestProblem>> {
    let mut bytes = Vec::new();
    match io::stdin().lock().read_to_end(&mut bytes) {
        Ok(_) => text("-", bytes),
        Err(error) => Err(unreadable(Path::new("-"), error)),
    }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<FileText, Box<ManifestProblem>> {
    let name = Arc::from(name);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(FileText { name, text }),
        Err(error) => Err(file_problem(name, Reason::NotUtf8(error.utf8_error().valid_up_to()))),
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> Box<ManifestProblem> {
    file_problem(Arc::from(path.display().to_string()), Reason::Read(Arc::new(error)))
}

fn file_problem(file: Arc<str>, reason: Reason) -> Box<ManifestProblem> {
    Box::new(ManifestProblem { file, document: None, object: None, field: None, reason })
}

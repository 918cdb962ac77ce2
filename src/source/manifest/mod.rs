//! Manifest files: YAML and JSON as people write them and as kubectl prints them.
//!
//! ```text
//! files ──▶ documents ──▶ JSON ──▶ objects ──▶ one of each ──▶ cluster
//! ```
//!
//! YAML is turned into JSON first, as kubectl does, so that there is one decoder and one kind of error.
//! Everything up to the objects runs on all processors.

mod assemble;
mod conflicts;
mod decode;
mod derive;
mod directory;
mod files;
mod notes;
mod parse;
mod problem;
mod split;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use weir_rules::cluster::Cluster;

use self::assemble::{AcceptedObjects, File, assemble};
use self::conflicts::Places;
use self::decode::DecodedObjects;
use self::parse::{FileText, parse};

pub use self::directory::{Directory, Reload};
pub use self::files::{Input, is_manifest};
pub(crate) use self::notes::note;
pub use self::problem::{DocumentPosition, ManifestProblem, Reason};

/// What manifests hold.
#[derive(Debug)]
pub struct Loaded {
    /// The cluster, without the objects that are bad.
    pub cluster: Cluster,
    /// What is wrong, in the order of the input. That two Services claim the same is wrong, too.
    pub problems: Vec<ManifestProblem>,
    /// What is good and may not be expected, one line each.
    pub notes: Vec<String>,
    /// Whether there was no text at all to read, not even an empty List.
    pub is_blank: bool,
}

/// Reads manifests once, for the proxy of this node. Each Service has at most `max_service_keys` addresses
/// with a port and node ports: what is beyond that claims nothing and costs nothing more.
pub fn load(inputs: &[Input], node_name: &str, max_service_keys: usize) -> Loaded {
    let mut sources = Vec::new();
    let mut notes = Vec::new();
    for input in inputs {
        match input {
            Input::Stdin => sources.push(files::read_stdin()),
            Input::Path(path) if path.is_dir() => match files::list(path) {
                Ok(listing) => {
                    notes.extend(listing.left_out);
                    if listing.files.is_empty() {
                        let ends = files::EXTENSIONS.map(|end| format!("*.{end}")).join(", ");
                        notes.push(format!("no manifest ({ends}) in {}", path.display()));
                    }
                    let files = listing.files.iter();
                    sources.extend(files.map(|path| present(path, files::read_listed(path))));
                }
                Err(problem) => sources.push(Err(problem)),
            },
            Input::Path(path) => sources.push(present(path, files::read_named(path))),
        }
    }
    let mut loaded = load_texts(sources, node_name, max_service_keys);
    notes.append(&mut loaded.notes);
    Loaded { notes, ..loaded }
}

/// As on every Linux: `std` has no other way to its text.
const ENOENT: i32 = 2;

/// A file that must be there.
fn present(
    path: &Path,
    read: Result<Option<FileText>, Box<ManifestProblem>>,
) -> Result<FileText, Box<ManifestProblem>> {
    let missing = || files::unreadable(path, std::io::Error::from_raw_os_error(ENOENT));
    read?.ok_or_else(missing)
}

fn load_texts(
    sources: Vec<Result<FileText, Box<ManifestProblem>>>,
    node_name: &str,
    max_service_keys: usize,
) -> Loaded {
    // Each source's place, with its text taken out to be parsed together with the others.
    let mut texts = Vec::new();
    let mut unread = Vec::new();
    for source in sources {
        match source {
            Ok(text) => {
                texts.push(text);
                unread.push(None);
            }
            Err(problem) => unread.push(Some(problem)),
        }
    }
    let is_blank = texts.iter().all(|text| text.text.trim().is_empty());
    let parsed = parse(&texts, node_name);
    let mut parsed = texts.into_iter().zip(parsed);
    let files: Vec<Arc<File>> = unread
        .into_iter()
        .filter_map(|problem| match problem {
            None => parsed.next().map(|(text, content)| File { name: text.name, content }),
            Some(problem) => Some(File {
                name: problem.file.clone(),
                content: DecodedObjects { problems: vec![*problem], ..DecodedObjects::default() },
            }),
        })
        .map(Arc::new)
        .collect();
    let (accepted, mut problems) = assemble(&files, true, &AcceptedObjects::default());
    let notes = notes::notes(&files, &accepted);
    let order: HashMap<Arc<str>, usize> =
        files.iter().enumerate().map(|(rank, file)| (file.name.clone(), rank)).collect();
    // The objects have no other owner then, and need not be copied.
    drop(files);
    let places = Places::new(&accepted);
    let cluster = accepted.into_cluster(max_service_keys);
    problems.extend(places.conflicts(&cluster));
    problems.sort_by_key(|problem| (order.get(&problem.file).copied(), problem.document));
    Loaded { cluster, problems, notes, is_blank }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "conflict_tests.rs"]
mod conflict_tests;

#[cfg(test)]
#[path = "refused_tests.rs"]
mod refused_tests;

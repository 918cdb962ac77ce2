//! Rereads a directory of manifests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use weir_rules::cluster::Cluster;

use super::assemble::{AcceptedObjects, File, assemble};
use super::decode::DecodedObjects;
use super::files::{self, Listing};
use super::notes::notes;
use super::parse::{FileText, parse};
use super::problem::ManifestProblem;

/// The last good state of a directory of manifests.
///
/// An object that turns bad keeps its last good version. While something in a file cannot be read, so do all objects that were last read from that file and
/// are not found in it. An object that is gone is gone.
///
/// It watches nothing: call [`reload`](Self::reload) when something has changed.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    node_name: String,
    max_service_keys: usize,
    /// The files that were read last, and a hash of the text of each.
    files: HashMap<Arc<str>, (u64, Arc<File>)>,
    accepted: AcceptedObjects,
    /// The standing problems, by their text.
    problems: BTreeMap<String, ManifestProblem>,
    left_out: HashSet<String>,
    notes: HashSet<String>,
}

/// What reading a directory again has brought.
#[derive(Debug)]
pub struct Reload {
    /// The last good state of everything.
    pub cluster: Cluster,
    /// Problems that were not there the last time, or were others.
    pub new_problems: Vec<ManifestProblem>,
    /// Problems that were there the last time and no longer are.
    pub resolved: Vec<ManifestProblem>,
    /// What is no file although it has a manifest's name, and was not there the last time, one line each.
    pub left_out: Vec<String>,
    /// Notes that were not there the last time.
    pub notes: Vec<String>,
}

impl Directory {
    /// A directory that has not been read yet, for the proxy of this node.
    pub fn new(path: impl Into<PathBuf>, node_name: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            node_name: node_name.into(),
            max_service_keys: usize::MAX,
            files: HashMap::new(),
            accepted: AcceptedObjects::default(),
            problems: BTreeMap::new(),
            left_out: HashSet::new(),
            notes: HashSet::new(),
        }
    }

    /// From now on each Service has so many keys at most: the rest of a large one costs nothing then.
    pub fn limit(&mut self, max_service_keys: usize) {
        self.max_service_keys = max_service_keys;
    }

    /// Reads the directory, and parses what is new in it.
    pub fn reload(&mut self) -> Reload {
        let mut problems = Vec::new();
        let (listing, all_listed) = match files::list(&self.path) {
            Ok(listing) => (listing, true),
            Err(problem) => {
                problems.push(*problem);
                (Listing::default(), false)
            }
        };
        let files = self.read(&listing.files);
        let (accepted, found) = assemble(&files, all_listed, &self.accepted);
        problems.extend(found);
        self.accepted = accepted;

        let notes = notes(&files, &self.accepted);
        let notes = new(&mut self.notes, notes);
        let left_out = new(&mut self.left_out, listing.left_out);
        let (new_problems, resolved) = self.compare(problems);
        Reload {
            cluster: self.accepted.clone().into_cluster(self.max_service_keys),
            new_problems,
            resolved,
            left_out,
            notes,
        }
    }

    /// Reads files; those with the text that they had before are not parsed again.
    fn read(&mut self, paths: &[PathBuf]) -> Vec<Arc<File>> {
        let mut before = std::mem::take(&mut self.files);
        let mut files: Vec<Option<Arc<File>>> = Vec::new();
        let mut changed: Vec<(usize, u64)> = Vec::new();
        let mut texts: Vec<FileText> = Vec::new();
        for path in paths {
            match files::read_listed(path) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    let hash = hash(&text.text);
                    match before.remove(&text.name) {
                        Some((old, file)) if old == hash => {
                            self.files.insert(text.name, (hash, file.clone()));
                            files.push(Some(file));
                        }
                        _ => {
                            changed.push((files.len(), hash));
                            texts.push(text);
                            files.push(None);
                        }
                    }
                }
                Err(problem) => {
                    let name = problem.file.clone();
                    let content =
                        DecodedObjects { problems: vec![*problem], ..DecodedObjects::default() };
                    files.push(Some(Arc::new(File { name, content })));
                }
            }
        }
        let parsed = parse(&texts, &self.node_name);
        for (((index, hash), text), content) in changed.into_iter().zip(texts).zip(parsed) {
            let file = Arc::new(File { name: text.name.clone(), content });
            self.files.insert(text.name, (hash, file.clone()));
            files[index] = Some(file);
        }
        files.into_iter().flatten().collect()
    }

    /// The problems that are new, and those that are gone.
    fn compare(
        &mut self,
        problems: Vec<ManifestProblem>,
    ) -> (Vec<ManifestProblem>, Vec<ManifestProblem>) {
        let mut standing = BTreeMap::new();
        let mut new = Vec::new();
        for problem in problems {
            let mut text = problem.to_string();
            if let Some(cause) = problem.source() {
                text.push_str(&format!(": {cause}"));
            }
            if self.problems.remove(&text).is_none() && !standing.contains_key(&text) {
                new.push(problem.clone());
            }
            standing.insert(text, problem);
        }
        let gone = std::mem::replace(&mut self.problems, standing);
        (new, gone.into_values().collect())
    }
}

/// The notes that are new since the last call; all current ones count as reported afterwards.
fn new(reported: &mut HashSet<String>, now: Vec<String>) -> Vec<String> {
    let new = now.iter().filter(|line| !reported.contains(*line)).cloned().collect();
    *reported = now.into_iter().collect();
    new
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;

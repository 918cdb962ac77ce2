//! Sees that a configuration file has other content, whatever way it came there.
//!
//! A file may be written in place, replaced by a rename, or be reached through symlinks that are
//! swapped, as the kubelet does it with the `..data` of a ConfigMap's volume. So what is watched is
//! each directory that holds the file or a link on the way to it, and what counts is the content.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// The kernel follows no more links either (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A watched file.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<()>,
    /// The directories that are watched, with their inodes: another may take the place of one.
    directories: BTreeSet<(PathBuf, u64)>,
    /// What the file held last.
    content: Option<Vec<u8>>,
}

impl FileWatch {
    /// Watches a file from now on: what it holds now is no change.
    pub fn new(path: &Path) -> Result<Self, notify::Error> {
        let (notice, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, is_change) {
                // Nobody listens any more when the watch is about to go.
                let _ = notice.send(());
            }
        })?;
        let path = std::path::absolute(path).map_err(notify::Error::io)?;
        let directories = BTreeSet::new();
        let mut watch = Self { path, watcher, events, directories, content: None };
        watch.watch_directories()?;
        // Read after the directories are watched, so that no change falls in between.
        watch.content = fs::read(&watch.path).ok();
        Ok(watch)
    }

    /// Waits until the file holds something else than it did, and gives that back. A file that is
    /// gone is waited for.
    ///
    /// Cancelling it loses nothing. It returns `None` when nothing can be watched any more.
    pub async fn changed(&mut self) -> Option<Vec<u8>> {
        loop {
            self.events.recv().await?;
            // One write makes several notifications; all that are here are answered at once.
            while self.events.try_recv().is_ok() {}
            // A directory that comes back can be watched when its parent tells of it.
            let _ = self.watch_directories();
            if let Ok(content) = fs::read(&self.path)
                && self.content.as_ref() != Some(&content)
            {
                self.content = Some(content.clone());
                return Some(content);
            }
        }
    }

    /// Watches the directories that are now on the way to the file, and no others.
    fn watch_directories(&mut self) -> Result<(), notify::Error> {
        let wanted = directories(&self.path);
        for (gone, _) in self.directories.difference(&wanted) {
            // It may have been removed, and its watch with it.
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched: BTreeSet<_> = self.directories.intersection(&wanted).cloned().collect();
        let mut result = Ok(());
        for new in wanted.difference(&self.directories) {
            match self.watcher.watch(&new.0, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(new.clone());
                }
                Err(error) => result = Err(error),
            }
        }
        self.directories = watched;
        result
    }
}

/// Reading a file is no change, though it is an event. A file that is being written is not yet one:
/// when it is closed it is.
fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => false,
        // A new link is whole at once.
        EventKind::Create(CreateKind::File) => event.paths.iter().any(|path| path.is_symlink()),
        _ => true,
    }
}

/// The directories that hold the file, and each link on the way to it.
fn directories(path: &Path) -> BTreeSet<(PathBuf, u64)> {
    let mut directories = BTreeSet::new();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        directories.extend(path.parent().map(Path::to_owned));
        // The first link of the path, if any, is put in its target's place.
        let prefixes: Vec<&Path> = path.ancestors().collect();
        let link = prefixes.into_iter().rev().find_map(|prefix| {
            fs::read_link(prefix).ok().map(|target| (prefix.to_owned(), target))
        });
        let Some((link, target)) = link else { break };
        let Some(parent) = link.parent() else { break };
        directories.insert(parent.to_owned());
        let rest = path.strip_prefix(&link).map(Path::to_owned).unwrap_or_default();
        let resolved = parent.join(target);
        path = if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) };
    }
    // One that is not there cannot be watched.
    let inode = |path: PathBuf| fs::metadata(&path).ok().map(|metadata| (path, metadata.ino()));
    directories.into_iter().filter_map(inode).collect()
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

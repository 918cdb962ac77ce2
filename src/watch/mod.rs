//! Watches files for changes, however they are made: written in place, replaced by a rename, as a hard or a
//! symbolic link, behind links that are swapped, as the kubelet does it with the `..data` of a ConfigMap's
//! volume, or with a directory that takes another's place.
//!
//! What is watched are the directories that hold a file or a link on the way to it. What happens in them under
//! other names is no change. The kernel notifies a directory only of what is written by a name in it, so that a
//! file with more than one name (a hard link) is watched itself, too. That a directory has been moved, with
//! others above it, is not reported by the kernel, so that once a second it is looked whether each is still the
//! one that is watched.

mod event;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::error::chain;

/// How often it is looked whether the directories are still those that are watched.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the way to the files is found anew because it has changed while it was being watched. If it
/// still does, the watches notice it.
const ROUNDS: usize = 4;

/// What is watched for.
#[derive(Debug)]
pub enum WatchTarget {
    /// One file, also if it is not there yet.
    File(PathBuf),
    /// All files of a directory, and the targets of those links in it whose names are wanted.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Which names are wanted.
        is_wanted: fn(&Path) -> bool,
    },
}

/// A watch of a file or of the files of a directory.
#[derive(Debug)]
pub struct Watch {
    target: WatchTarget,
    watcher: RecommendedWatcher,
    notices: mpsc::UnboundedReceiver<()>,
    /// What of each directory counts, which the watcher's thread asks for each event.
    wanted: Arc<Mutex<Wanted>>,
    /// The directories, and files with several names, that are watched; `None` where there is none.
    watched: BTreeMap<PathBuf, Option<Identity>>,
    /// When to look next whether they are still the same.
    look_at: Instant,
    is_failing: bool,
}

/// What counts, by directory. The directories' paths have no links in them. A file that is watched itself
/// is there with no names in it.
type Wanted = BTreeMap<PathBuf, Names>;

/// Why directories cannot be watched.
type Failures = BTreeMap<PathBuf, notify::Error>;

/// Which names in a directory count.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    These(BTreeSet<OsString>),
}

/// Device and inode of a directory or file: another may come to have its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Watch {
    /// Watches from now on.
    pub fn new(target: WatchTarget) -> Result<Self, notify::Error> {
        let (notice, notices) = mpsc::unbounded_channel();
        let wanted = Arc::new(Mutex::new(Wanted::new()));
        let counted = Arc::clone(&wanted);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let counts = event.as_ref().map_or(true, |event| {
                event::is_change(event)
                    && is_counted(&counted.lock().unwrap_or_else(PoisonError::into_inner), event)
            });
            if counts {
                // Nobody listens any more when the watch is about to go.
                let _ = notice.send(());
            }
        })?;
        let target = target.absolute()?;
        let watched = BTreeMap::new();
        let look_at = Instant::now() + LOOK_INTERVAL;
        let is_failing = false;
        let mut watch = Self { target, watcher, notices, wanted, watched, look_at, is_failing };
        let mut failures = watch.follow();
        match failures.remove(&watch.target.directory()) {
            Some(error) => return Err(error),
            None => watch.note(&failures),
        }
        Ok(watch)
    }

    /// Waits until something may have changed; what is there then is watched before this returns. Nothing
    /// is lost if the wait is given up. `None` when nothing can be watched any more.
    pub async fn changed(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                notice = self.notices.recv() => {
                    notice?;
                    // One write makes several notices; all that are here are answered at once.
                    while self.notices.try_recv().is_ok() {}
                    break;
                }
                () = sleep_until(self.look_at) => {
                    self.look_at = Instant::now() + LOOK_INTERVAL;
                    if self.watched.iter().any(|(path, known)| Identity::of(path) != *known) {
                        break;
                    }
                }
            }
        }
        let failures = self.follow();
        self.note(&failures);
        Some(())
    }

    /// Logs which directories cannot be watched, once.
    fn note(&mut self, failures: &Failures) {
        let path = self.target.path().display();
        match failures.first_key_value() {
            Some((directory, error)) if !self.is_failing => warn!(
                directory = %directory.display(),
                error = chain(error),
                "{path}: not all changes will be seen at once"
            ),
            None if self.is_failing => info!("{path}: all changes will be seen at once again"),
            _ => {}
        }
        self.is_failing = !failures.is_empty();
    }

    /// Watches what is now on the way to what is watched for, and nothing else.
    fn follow(&mut self) -> Failures {
        let mut failures = Failures::new();
        for _ in 0..ROUNDS {
            let wanted = self.target.wanted();
            *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted.clone();
            let gone: Vec<PathBuf> =
                self.watched.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
            for path in gone {
                // It may have been removed, and its watch with it.
                let _ = self.watcher.unwatch(&path);
                self.watched.remove(&path);
            }
            let mut is_as_before = true;
            failures.clear();
            for path in wanted.into_keys() {
                let now = Identity::of(&path);
                let before = self.watched.get(&path).copied();
                if before != Some(now) {
                    is_as_before = false;
                    if before.flatten().is_some() {
                        let _ = self.watcher.unwatch(&path);
                    }
                }
                // Also one that is watched: notify takes the watch of a directory away when its parent tells
                // that one of its name has gone, even if another has come since.
                if now.is_some()
                    && let Err(error) = self.watcher.watch(&path, RecursiveMode::NonRecursive)
                {
                    failures.insert(path.clone(), error);
                }
                self.watched.insert(path, now);
            }
            if is_as_before {
                break;
            }
        }
        failures
    }
}

impl WatchTarget {
    fn path(&self) -> &Path {
        match self {
            WatchTarget::File(path) | WatchTarget::Directory { path, .. } => path,
        }
    }

    /// The directory without which there is nothing to watch.
    fn directory(&self) -> PathBuf {
        let end = route::route(self.path()).end;
        match self {
            WatchTarget::File(_) => end.parent().map_or(end.clone(), Path::to_owned),
            WatchTarget::Directory { .. } => end,
        }
    }

    fn absolute(self) -> Result<Self, notify::Error> {
        let path = std::path::absolute(self.path()).map_err(notify::Error::io)?;
        Ok(match self {
            WatchTarget::File(_) => WatchTarget::File(path),
            WatchTarget::Directory { is_wanted, .. } => WatchTarget::Directory { path, is_wanted },
        })
    }

    /// The directories on the way, as the links are now, and the files that have other names.
    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        let mut add = |path: &Path| {
            let route = route::route(path);
            for (directory, name) in route.steps {
                match wanted.entry(directory).or_insert_with(|| Names::These(BTreeSet::new())) {
                    Names::All => {}
                    Names::These(names) => drop(names.insert(name)),
                }
            }
            route.end
        };
        let files = match self {
            WatchTarget::File(path) => vec![add(path)],
            WatchTarget::Directory { path, is_wanted } => {
                let directory = add(path);
                let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
                let entries = entries.filter(|entry| is_wanted(&entry.path()));
                let files = entries.map(|entry| match entry.file_type() {
                    Ok(kind) if kind.is_symlink() => add(&entry.path()),
                    _ => entry.path(),
                });
                let files = files.collect();
                wanted.insert(directory, Names::All);
                files
            }
        };
        for file in files.into_iter().filter(|file| has_other_names(file)) {
            wanted.entry(file).or_insert_with(|| Names::These(BTreeSet::new()));
        }
        wanted
    }
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let is_watchable = |metadata: &fs::Metadata| metadata.is_dir() || metadata.is_file();
        let metadata = fs::metadata(path).ok().filter(is_watchable)?;
        Some(Self(metadata.dev(), metadata.ino()))
    }
}

/// Whether a path without links is a file that may be written by another name.
fn has_other_names(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() > 1)
}

/// Whether an event is about a directory or file that is wanted, or about a name in one that counts there. One
/// that is about nothing in particular means that events have been lost.
fn is_counted(wanted: &Wanted, event: &notify::Event) -> bool {
    let is_wanted = |path: &PathBuf| {
        let of_parent = path.parent().and_then(|parent| wanted.get(parent));
        wanted.contains_key(path)
            || match (of_parent, path.file_name()) {
                (Some(Names::All), _) => true,
                (Some(Names::These(names)), Some(name)) => names.contains(name),
                _ => false,
            }
    };
    event.paths.is_empty() || event.paths.iter().any(is_wanted)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

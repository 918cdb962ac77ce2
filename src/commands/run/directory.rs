//! Notice of changes in a directory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Notifications of changes in a directory, also when another directory takes its place.
pub(super) struct Watch {
    directory: PathBuf,
    watcher: notify::RecommendedWatcher,
    /// Device and inode of what is watched.
    watched: Option<(u64, u64)>,
}

impl Watch {
    pub(super) fn new(
        directory: &Path,
    ) -> Result<(Self, mpsc::UnboundedReceiver<()>), notify::Error> {
        let (notice, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, is_change) {
                let _ = notice.send(());
            }
        })?;
        let mut watch = Self { directory: directory.to_owned(), watcher, watched: None };
        let identity = watch.identity();
        watch.watcher.watch(directory, RecursiveMode::NonRecursive)?;
        watch.watched = identity;
        Ok((watch, changes))
    }

    /// Watches the directory that is there now, if it is another one; says whether it is.
    pub(super) fn renew(&mut self) -> bool {
        let identity = self.identity();
        if identity.is_none() || identity == self.watched {
            return false;
        }
        let _ = self.watcher.unwatch(&self.directory);
        if self.watcher.watch(&self.directory, RecursiveMode::NonRecursive).is_ok() {
            self.watched = identity;
        }
        true
    }

    fn identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.directory).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
}

/// Reading a file is no change, though it is an event. A file that is being written is not yet one:
/// the first half of a manifest may well be a manifest. When it is closed it is.
fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) | EventKind::Create(CreateKind::File) => false,
        _ => true,
    }
}

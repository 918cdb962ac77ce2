//! Decides which inotify events are changes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};

/// Whether what a file holds may be another. Reading it is an event, but no change. A file that is being
/// written is not yet one: the first half of a manifest may well be a manifest. When it is closed it is.
pub(super) fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => false,
        EventKind::Create(CreateKind::File) => event.paths.iter().any(|path| is_link(path)),
        _ => true,
    }
}

/// Whether a name that has just come is a link, which is complete at once: nobody closes it.
///
/// A hard link shows by the number of names, or, if the other has gone by now, by the time of its last
/// change: making a link is one that is no change of the content.
fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let written = (metadata.mtime(), metadata.mtime_nsec());
        metadata.is_symlink() || metadata.nlink() > 1 || changed != written
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_told_from_a_file_that_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = fs::File::create(path("new")).unwrap();
        assert!(!is_link(&path("new")));
        drop(file);
        // Times have the grain of the kernel's tick.
        let old = fs::File::create(path("old")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::hard_link(path("old"), path("hard")).unwrap();
        assert!(is_link(&path("hard")));
        fs::remove_file(path("old")).unwrap();
        assert!(is_link(&path("hard")), "its other name has gone");
        symlink("nowhere", path("symbolic")).unwrap();
        assert!(is_link(&path("symbolic")));
        assert!(!is_link(&path("none")));
    }
}

//! Detects that the content of a configuration file has changed, however it was replaced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::watch::{Watch, WatchTarget};

/// A watched file.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    watch: Watch,
    /// What the file held last.
    content: Option<Vec<u8>>,
}

impl FileWatch {
    /// Watches a file from now on: what it holds now is no change.
    pub fn new(path: &Path) -> Result<Self, notify::Error> {
        let path = std::path::absolute(path).map_err(notify::Error::io)?;
        let watch = Watch::new(WatchTarget::File(path.clone()))?;
        // Read after it is watched, so that no change falls in between.
        let content = fs::read(&path).ok();
        Ok(Self { path, watch, content })
    }

    /// Waits until the content of the file has changed, and returns it. A file that is gone is
    /// waited for.
    ///
    /// Cancelling it loses nothing. It returns `None` when nothing can be watched any more.
    pub async fn changed(&mut self) -> Option<Vec<u8>> {
        loop {
            self.watch.changed().await?;
            if let Ok(content) = fs::read(&self.path)
                && self.content.as_ref() != Some(&content)
            {
                self.content = Some(content.clone());
                return Some(content);
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

//! The manifests of `deploy/demo`, in a folder that weir watches and the demo changes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use weir_testbed::Family;

const FILES: [(&str, &str); 4] = [
    ("node.yaml", include_str!("../../../../../deploy/demo/node.yaml")),
    ("service.yaml", include_str!("../../../../../deploy/demo/service.yaml")),
    (slice_file(Family::V4), slice(Family::V4)),
    (slice_file(Family::V6), slice(Family::V6)),
];

const fn slice_file(family: Family) -> &'static str {
    match family {
        Family::V4 => "endpointslice-ipv4.yaml",
        Family::V6 => "endpointslice-ipv6.yaml",
    }
}

/// The EndpointSlice of a family, as committed.
pub(crate) const fn slice(family: Family) -> &'static str {
    match family {
        Family::V4 => include_str!("../../../../../deploy/demo/endpointslice-ipv4.yaml"),
        Family::V6 => include_str!("../../../../../deploy/demo/endpointslice-ipv6.yaml"),
    }
}

/// A temporary folder with the manifests and weir's log; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        let root = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        fs::create_dir(&root)?;
        let scratch = Self { root };
        fs::create_dir(scratch.manifests())?;
        for (file, text) in FILES {
            fs::write(scratch.manifests().join(file), text)?;
        }
        Ok(scratch)
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("weir.log")
    }

    /// Puts a new text in the place of a family's EndpointSlice, in one step. Gives the time just
    /// before that step.
    pub(crate) fn replace_slice(&self, family: Family, text: &str) -> io::Result<Instant> {
        let next = self.root.join("next.yaml");
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        // Else some file systems write it out within the rename, and that is what is timed.
        file.sync_all()?;
        let before = Instant::now();
        fs::rename(next, self.manifests().join(slice_file(family)))?;
        Ok(before)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).ok();
    }
}

/// What each endpoint of a slice begins with. Endpoints are the last thing in these files.
const ENDPOINT: &str = "\n- addresses:";

/// The slice without the endpoint of this Pod.
pub(crate) fn without(slice: &str, pod: &str) -> String {
    let name = format!("name: {pod}}}");
    let parts: Vec<_> = slice.split(ENDPOINT).filter(|part| !part.contains(&name)).collect();
    parts.join(ENDPOINT).trim_end().to_owned() + "\n"
}

/// The slice with one more endpoint like its last one, for another Pod.
pub(crate) fn with(slice: &str, pod: &str, address: &str) -> String {
    format!(
        "{}{ENDPOINT} [\"{address}\"]\n  nodeName: demo-node\n  \
         conditions: {{ready: true, serving: true, terminating: false}}\n  \
         targetRef: {{kind: Pod, namespace: default, name: {pod}}}\n",
        slice.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_taken_out_and_put_in_gives_the_same_slice() {
        for (family, address) in [(Family::V4, "10.244.0.4"), (Family::V6, "fd00:10:244::4")] {
            let shorter = without(slice(family), "hello-3");
            assert!(!shorter.contains(address) && shorter.contains("name: hello-2}\n"));
            assert_eq!(with(&shorter, "hello-3", address), slice(family));
        }
    }
}

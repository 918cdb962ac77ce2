//! Resolves the path to a file, with every directory and link on the way.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The kernel follows no more links either (`MAXSYMLINKS` of linux/namei.h).
const MAX_LINKS: usize = 40;

/// The way to a file, as the links are at the moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvedPath {
    /// Each link on the way and the file itself: the directory that holds it, by a path without links,
    /// and its name there.
    pub(super) steps: Vec<(PathBuf, OsString)>,
    /// Where it leads: a path without links, whether there is something or not.
    pub(super) end: PathBuf,
}

/// The way to what has this absolute path.
pub(super) fn route(path: &Path) -> ResolvedPath {
    let mut rest: VecDeque<OsString> = components(path).collect();
    let mut steps = Vec::new();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = rest.pop_front() {
        if name == "/" {
            at = PathBuf::from("/");
        } else if name == ".." {
            at.pop();
        } else {
            let next = at.join(&name);
            match fs::read_link(&next) {
                Ok(target) if links < MAX_LINKS => {
                    links += 1;
                    steps.push((at.clone(), name));
                    components(&target).rev().for_each(|component| rest.push_front(component));
                }
                _ => {
                    if rest.is_empty() {
                        steps.push((at, name));
                    }
                    at = next;
                }
            }
        }
    }
    ResolvedPath { steps, end: at }
}

/// The names that a path is made of, `/` and `..` among them.
fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let components = path.components().filter(|component| *component != Component::CurDir);
    components.map(|component| component.as_os_str().to_owned()).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_on_the_way_is_a_step_and_paths_have_none_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(at("c")).unwrap();
        for (link, target) in [
            ("a/b/direct", "../../c/file"),
            ("a/again", "b/direct"),
            ("to-c", "c"),
            ("a/by-folder", "../to-c/file"),
            ("a/loop", "loop"),
            ("a/out", "/nowhere/file"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        type Steps = &'static [(&'static str, &'static str)];
        let cases: [(&str, Steps, &str); 6] = [
            ("c/file", &[("c", "file")], "c/file"),
            ("a/b/direct", &[("a/b", "direct"), ("c", "file")], "c/file"),
            ("a/again", &[("a", "again"), ("a/b", "direct"), ("c", "file")], "c/file"),
            ("a/by-folder", &[("a", "by-folder"), ("", "to-c"), ("c", "file")], "c/file"),
            ("a/out", &[("a", "out"), ("/nowhere", "file")], "/nowhere/file"),
            ("a/none/file", &[("a/none", "file")], "a/none/file"),
        ];
        for (path, steps, end) in cases {
            // What is joined to "" gets a slash at its end, which is no part of a path.
            let directory = |path: &str| at(path).components().collect::<PathBuf>();
            let steps = steps.iter().map(|(path, name)| (directory(path), OsString::from(*name)));
            let expected = ResolvedPath { steps: steps.collect(), end: at(end) };
            assert_eq!(route(&at(path)), expected, "{path}");
        }
        assert_eq!(route(&at("a/loop")).steps.len(), MAX_LINKS + 1, "it has an end");
    }
}

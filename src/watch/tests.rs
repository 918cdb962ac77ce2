//! Real files and real notifications. Every wait is for a notice, with a limit for one that never comes.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// Longer than any machine needs to tell of an event.
const LIMIT: Duration = Duration::from_secs(20);

/// A directory that is watched, and others beside it.
struct Files(TempDir);

impl Files {
    /// `m/dir/web.yaml` is what is read; everything else is a means.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.folder("m/dir");
        files.folder("other");
        files
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn folder(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    /// Creates it, or writes it in place.
    fn write(&self, path: &str, content: &str) {
        fs::write(self.at(path), content).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.at(path)).unwrap();
    }

    fn hard_link(&self, file: &str, link: &str) {
        fs::hard_link(self.at(file), self.at(link)).unwrap();
    }

    /// The target is absolute, or as it is written if it begins with a dot.
    fn link(&self, target: &str, link: &str) {
        let target = if target.starts_with('.') { target.into() } else { self.at(target) };
        symlink(target, self.at(link)).unwrap();
    }

    fn read(&self) -> Option<String> {
        fs::read_to_string(self.at("m/dir/web.yaml")).ok()
    }

    /// Both ways to watch.
    fn targets(&self) -> [WatchTarget; 2] {
        let is_wanted = |path: &Path| path.extension().is_some_and(|it| it == "yaml");
        [
            WatchTarget::Directory { path: self.at("m/dir"), is_wanted },
            WatchTarget::File(self.at("m/dir/web.yaml")),
        ]
    }
}

/// Everything so far has been reported.
fn settle(watch: &mut Watch) {
    // The watcher's thread answers between two looks at the events: at the second answer, it has seen all.
    (0..2).for_each(|_| assert!(watch.follow().is_empty()));
    while watch.notices.try_recv().is_ok() {}
}

type Step = (fn(&Files), Option<&'static str>);
/// What it is called, what is there before, and what happens then.
type Way<'a> = (&'static str, fn(&Files), &'a [Step]);

/// Each of the steps must be reported, and leads to this content.
async fn must_be_told(way: &str, prepare: fn(&Files), steps: &[Step]) {
    for index in 0..2 {
        let files = Files::new();
        prepare(&files);
        let target = files.targets().into_iter().nth(index).unwrap();
        let mut watch = Watch::new(target).unwrap();
        for (number, (act, expected)) in steps.iter().enumerate() {
            settle(&mut watch);
            act(&files);
            let told = tokio::time::timeout(LIMIT, watch.changed()).await;
            let kind = watch.target.path().display();
            assert!(told.is_ok(), "{way}, step {number}: nothing is told, watching {kind}");
            assert_eq!(files.read().as_deref(), *expected, "{way}, step {number}: the premise");
        }
    }
}

#[tokio::test]
async fn a_file_is_seen_whatever_way_it_comes_there() {
    let empty: fn(&Files) = |_| {};
    let there: fn(&Files) = |files| files.write("m/dir/web.yaml", "one");
    let ways: [Way; 9] = [
        (
            "created and written, then written in place",
            empty,
            &[
                (|files| files.write("m/dir/web.yaml", "one"), Some("one")),
                (|files| files.write("m/dir/web.yaml", "two"), Some("two")),
            ],
        ),
        (
            "renamed from another directory, and again onto the first",
            empty,
            &[
                (
                    |files| {
                        files.write("other/a", "one");
                        files.rename("other/a", "m/dir/web.yaml");
                    },
                    Some("one"),
                ),
                (
                    |files| {
                        files.write("other/b", "two");
                        files.rename("other/b", "m/dir/web.yaml");
                    },
                    Some("two"),
                ),
            ],
        ),
        (
            "renamed within the directory",
            empty,
            &[(
                |files| {
                    files.write("m/dir/.hidden", "one");
                    files.rename("m/dir/.hidden", "m/dir/web.yaml");
                },
                Some("one"),
            )],
        ),
        (
            "a hard link",
            |files| files.write("other/file", "one"),
            &[(|files| files.hard_link("other/file", "m/dir/web.yaml"), Some("one"))],
        ),
        (
            "a hard link in place of a file",
            |files| {
                files.write("m/dir/web.yaml", "one");
                files.write("other/file", "two");
            },
            &[
                (|files| files.remove("m/dir/web.yaml"), None),
                (|files| files.hard_link("other/file", "m/dir/web.yaml"), Some("two")),
            ],
        ),
        (
            "a symbolic link in place of a file",
            |files| {
                files.write("m/dir/web.yaml", "one");
                files.write("other/file", "two");
            },
            &[
                (|files| files.remove("m/dir/web.yaml"), None),
                (|files| files.link("other/file", "m/dir/web.yaml"), Some("two")),
            ],
        ),
        ("removed", there, &[(|files| files.remove("m/dir/web.yaml"), None)]),
        (
            "removed and made again",
            there,
            &[
                (|files| files.remove("m/dir/web.yaml"), None),
                (|files| files.write("m/dir/web.yaml", "two"), Some("two")),
            ],
        ),
        ("renamed away", there, &[(|files| files.rename("m/dir/web.yaml", "other/file"), None)]),
    ];
    for (way, prepare, steps) in ways {
        must_be_told(way, prepare, steps).await;
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn the_target_of_a_link_is_followed_wherever_it_is() {
    fn linked(files: &Files) {
        files.write("other/file", "one");
        files.link("other/file", "m/dir/web.yaml");
    }
    let ways: [Way; 9] = [
        (
            "written in place, again and again",
            linked,
            &[
                (|files| files.write("other/file", "two"), Some("two")),
                (|files| files.write("other/file", "three"), Some("three")),
            ],
        ),
        (
            "replaced by a rename, again and again",
            linked,
            &[
                (
                    |files| {
                        files.write("other/new", "two");
                        files.rename("other/new", "other/file");
                    },
                    Some("two"),
                ),
                (
                    |files| {
                        files.write("other/new", "three");
                        files.rename("other/new", "other/file");
                    },
                    Some("three"),
                ),
                (|files| files.write("other/file", "four"), Some("four")),
            ],
        ),
        (
            "deleted and made again",
            linked,
            &[
                (|files| files.remove("other/file"), None),
                (|files| files.write("other/file", "two"), Some("two")),
            ],
        ),
        (
            "a hard link as the target",
            |files| {
                linked(files);
                files.write("other/source", "two");
            },
            &[
                (|files| files.remove("other/file"), None),
                (|files| files.hard_link("other/source", "other/file"), Some("two")),
            ],
        ),
        (
            "the link swapped by a rename, then its new target written",
            |files| {
                linked(files);
                files.folder("elsewhere");
                files.write("elsewhere/file", "two");
            },
            &[
                (
                    |files| {
                        files.link("elsewhere/file", "m/dir/.new");
                        files.rename("m/dir/.new", "m/dir/web.yaml");
                    },
                    Some("two"),
                ),
                (|files| files.write("elsewhere/file", "three"), Some("three")),
            ],
        ),
        (
            "a link to a link",
            |files| {
                files.folder("far");
                files.write("far/file", "one");
                files.write("far/second", "two");
                files.link("far/file", "other/link");
                files.link("../../other/link", "m/dir/web.yaml");
            },
            &[
                (|files| files.write("far/file", "three"), Some("three")),
                (
                    |files| {
                        files.link("far/second", "other/new");
                        files.rename("other/new", "other/link");
                    },
                    Some("two"),
                ),
                (|files| files.write("far/second", "four"), Some("four")),
            ],
        ),
        (
            "a link to nothing, whose target comes with its directory",
            |files| files.link("none/file", "m/dir/web.yaml"),
            &[(
                |files| {
                    files.folder("none");
                    files.write("none/file", "one");
                },
                Some("one"),
            )],
        ),
        (
            "the target's directory replaced by another",
            |files| {
                linked(files);
                files.folder("next");
                files.write("next/file", "two");
            },
            &[
                (
                    |files| {
                        files.rename("other", "before");
                        files.rename("next", "other");
                    },
                    Some("two"),
                ),
                (|files| files.write("other/file", "three"), Some("three")),
            ],
        ),
        (
            // As the kubelet updates a ConfigMap's volume (`AtomicWriter` of pkg/volume/util).
            "a swap of a ConfigMap's links, again and again",
            |files| {
                files.folder("m/dir/..1");
                files.write("m/dir/..1/web.yaml", "one");
                files.link("./..1", "m/dir/..data");
                files.link("./..data/web.yaml", "m/dir/web.yaml");
            },
            &[
                (
                    |files| {
                        files.folder("m/dir/..2");
                        files.write("m/dir/..2/web.yaml", "two");
                        files.link("./..2", "m/dir/..data_tmp");
                        files.rename("m/dir/..data_tmp", "m/dir/..data");
                        fs::remove_dir_all(files.at("m/dir/..1")).unwrap();
                    },
                    Some("two"),
                ),
                (|files| files.write("m/dir/..2/web.yaml", "three"), Some("three")),
            ],
        ),
    ];
    for (way, prepare, steps) in ways {
        must_be_told(way, prepare, steps).await;
    }
}

/// The kernel notifies the directory of a file only of what is written by the name that is in it.
#[tokio::test]
async fn a_file_is_seen_when_it_is_written_by_another_of_its_names() {
    let elsewhere: Step = (|files| files.write("other/name", "two"), Some("two"));
    let ways: [Way; 4] = [
        (
            "a hard link",
            |files| {
                files.write("other/name", "one");
                files.hard_link("other/name", "m/dir/web.yaml");
            },
            &[elsewhere, (|files| files.write("other/name", "three"), Some("three"))],
        ),
        (
            "a hard link that comes while it is watched, and another in its place",
            |_| {},
            &[
                (
                    |files| {
                        files.write("other/name", "one");
                        files.hard_link("other/name", "m/dir/web.yaml");
                    },
                    Some("one"),
                ),
                elsewhere,
                (
                    |files| {
                        files.write("other/next", "three");
                        files.hard_link("other/next", "other/to-rename");
                        files.rename("other/to-rename", "m/dir/web.yaml");
                    },
                    Some("three"),
                ),
                (|files| files.write("other/next", "four"), Some("four")),
            ],
        ),
        (
            "the target of a symbolic link",
            |files| {
                files.write("other/name", "one");
                files.folder("target");
                files.hard_link("other/name", "target/file");
                files.link("target/file", "m/dir/web.yaml");
            },
            &[elsewhere],
        ),
        (
            "two names in the directory, of which one goes",
            |files| {
                files.write("other/name", "one");
                files.hard_link("other/name", "m/dir/also.yaml");
                files.hard_link("other/name", "m/dir/web.yaml");
            },
            &[
                elsewhere,
                (
                    |files| {
                        files.remove("m/dir/also.yaml");
                        files.write("other/name", "three");
                    },
                    Some("three"),
                ),
                (|files| files.write("other/name", "four"), Some("four")),
            ],
        ),
    ];
    for (way, prepare, steps) in ways {
        must_be_told(way, prepare, steps).await;
    }
}

/// The kernel has a limit of watches.
#[tokio::test]
async fn a_file_without_another_name_is_not_watched_itself() {
    let files = Files::new();
    files.write("m/dir/web.yaml", "one");
    files.write("m/dir/other.txt", "one");
    files.hard_link("m/dir/other.txt", "other/name");
    let inode = |path: &str| fs::metadata(files.at(path)).unwrap().ino();
    for target in files.targets() {
        let _watch = Watch::new(target).unwrap();
        let watched = inodes();
        assert!(watched.contains(&inode("m/dir")));
        assert!(!watched.contains(&inode("m/dir/web.yaml")));
        assert!(!watched.contains(&inode("m/dir/other.txt")), "its name is not wanted");
    }
}

#[tokio::test]
async fn another_directory_that_takes_the_place_of_the_watched_one_is_followed() {
    let there: fn(&Files) = |files| {
        files.write("m/dir/web.yaml", "one");
        files.folder("m/next");
        files.write("m/next/web.yaml", "two");
    };
    let written: Step = (|files| files.write("m/dir/web.yaml", "three"), Some("three"));
    let ways: [Way; 5] = [
        (
            "moved away, and another one moved there",
            there,
            &[
                (
                    |files| {
                        files.rename("m/dir", "m/before");
                        files.rename("m/next", "m/dir");
                    },
                    Some("two"),
                ),
                written,
            ],
        ),
        (
            "moved away, and later a new one made",
            there,
            &[
                (|files| files.rename("m/dir", "m/before"), None),
                (
                    |files| {
                        files.folder("m/dir");
                        files.write("m/dir/web.yaml", "two");
                    },
                    Some("two"),
                ),
                written,
            ],
        ),
        (
            // The new one may get the inode of the old.
            "removed and made again",
            there,
            &[
                (
                    |files| {
                        fs::remove_dir_all(files.at("m/dir")).unwrap();
                        files.folder("m/dir");
                        files.write("m/dir/web.yaml", "two");
                    },
                    Some("two"),
                ),
                written,
            ],
        ),
        (
            "moved with the directory that holds it",
            there,
            &[
                (
                    |files| {
                        files.rename("m", "before");
                        files.folder("m/dir");
                        files.write("m/dir/web.yaml", "two");
                    },
                    Some("two"),
                ),
                written,
            ],
        ),
        (
            "a link to a directory that is swapped",
            |files| {
                fs::remove_dir(files.at("m/dir")).unwrap();
                files.folder("first");
                files.write("first/web.yaml", "one");
                files.folder("second");
                files.write("second/web.yaml", "two");
                files.link("first", "m/dir");
            },
            &[
                (|files| files.write("first/web.yaml", "again"), Some("again")),
                (
                    |files| {
                        files.link("second", "m/new");
                        files.rename("m/new", "m/dir");
                    },
                    Some("two"),
                ),
                written,
            ],
        ),
    ];
    for (way, prepare, steps) in ways {
        must_be_told(way, prepare, steps).await;
    }
}

/// The inodes that this process watches.
fn inodes() -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let words = text
            .lines()
            .filter(|line| line.starts_with("inotify "))
            .flat_map(str::split_whitespace);
        inodes.extend(
            words.filter_map(|word| u64::from_str_radix(word.strip_prefix("ino:")?, 16).ok()),
        );
    }
    inodes
}

/// The kernel would go on telling of it by its old name.
#[tokio::test]
async fn a_directory_that_was_moved_away_or_is_on_no_way_any_more_is_not_watched() {
    let files = Files::new();
    files.write("other/file", "one");
    files.link("other/file", "m/dir/web.yaml");
    let [directory, _] = files.targets();
    let mut watch = Watch::new(directory).unwrap();
    let inode = |path: &str| fs::metadata(files.at(path)).unwrap().ino();
    let (old, target) = (inode("m/dir"), inode("other"));
    assert!(inodes().is_superset(&[old, target].into()));
    files.rename("m/dir", "m/before");
    files.folder("m/dir");
    tokio::time::timeout(LIMIT, watch.changed()).await.expect("it is told");
    let watched = inodes();
    assert!(watched.contains(&inode("m/dir")));
    assert!(!watched.contains(&old) && !watched.contains(&target));
}

/// Or whoever has a link to /var/log would read all manifests all the time.
#[tokio::test]
async fn what_happens_beside_a_links_target_and_what_is_only_read_is_no_change() {
    let files = Files::new();
    files.write("other/file", "one");
    files.link("other/file", "m/dir/web.yaml");
    for target in files.targets() {
        let mut watch = Watch::new(target).unwrap();
        settle(&mut watch);
        files.write("other/beside", "x");
        files.rename("other/beside", "other/another");
        files.write("m/beside", "x");
        files.remove("other/another");
        assert_eq!(files.read().as_deref(), Some("one"));
        (0..2).for_each(|_| assert!(watch.follow().is_empty()));
        assert!(watch.notices.try_recv().is_err(), "{:?}", watch.target);
    }
}

/// The first half of a manifest may well be a manifest.
#[tokio::test]
async fn a_file_that_is_being_written_is_no_change_until_it_is_closed() {
    use std::io::Write;
    let files = Files::new();
    for target in files.targets() {
        let mut watch = Watch::new(target).unwrap();
        settle(&mut watch);
        let mut file = fs::File::create_new(files.at("m/dir/web.yaml")).unwrap();
        file.write_all(b"half").unwrap();
        (0..2).for_each(|_| assert!(watch.follow().is_empty()));
        assert!(watch.notices.try_recv().is_err(), "{:?}", watch.target);
        drop(file);
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("it is told");
        files.remove("m/dir/web.yaml");
    }
}

#[tokio::test]
async fn a_change_before_anybody_waits_is_not_lost_nor_when_a_wait_is_given_up() {
    let files = Files::new();
    for target in files.targets() {
        let mut watch = Watch::new(target).unwrap();
        settle(&mut watch);
        let waited = tokio::time::timeout(Duration::ZERO, watch.changed()).await;
        assert!(waited.is_err(), "nothing has changed");
        files.write("m/dir/web.yaml", "one");
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("it is told");
        settle(&mut watch);
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_can_be_waited_for() {
    let files = Files::new();
    fs::remove_dir(files.at("m/dir")).unwrap();
    for target in files.targets() {
        let mut watch = Watch::new(target).unwrap();
        files.folder("m/dir");
        files.write("m/dir/web.yaml", "one");
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("it is told");
        fs::remove_dir_all(files.at("m/dir")).unwrap();
    }
}

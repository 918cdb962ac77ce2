//! Real files and real notifications. Every wait is for an event, with a limit for one that never
//! comes.

use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// Longer than any machine needs to tell of an event.
const LIMIT: Duration = Duration::from_secs(20);

async fn next(watch: &mut FileWatch) -> String {
    let content = tokio::time::timeout(LIMIT, watch.changed()).await.expect("an event comes");
    String::from_utf8(content.expect("the watch lives")).expect("text")
}

fn file_with(content: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.conf");
    fs::write(&file, content).unwrap();
    (directory, file)
}

#[tokio::test]
async fn a_write_in_place_is_seen() {
    let (_directory, file) = file_with("one");
    let mut watch = FileWatch::new(&file).unwrap();
    fs::write(&file, "two").unwrap();
    assert_eq!(next(&mut watch).await, "two");
    fs::write(&file, "three").unwrap();
    assert_eq!(next(&mut watch).await, "three");
}

#[tokio::test]
async fn a_rename_onto_the_file_is_seen_again_and_again() {
    let (directory, file) = file_with("one");
    let mut watch = FileWatch::new(&file).unwrap();
    for content in ["two", "three"] {
        let other = directory.path().join("other");
        fs::write(&other, content).unwrap();
        fs::rename(&other, &file).unwrap();
        assert_eq!(next(&mut watch).await, content);
    }
    fs::write(&file, "four").unwrap();
    assert_eq!(next(&mut watch).await, "four", "in place, after the renames");
}

/// As the kubelet updates a ConfigMap's volume (`AtomicWriter` of pkg/volume/util).
#[tokio::test]
async fn a_swap_of_a_config_maps_links_is_seen_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path();
    let write = |version: &str, content: &str| {
        fs::create_dir(volume.join(version)).unwrap();
        fs::write(volume.join(version).join("config.conf"), content).unwrap();
    };
    write("..1", "one");
    symlink("..1", volume.join("..data")).unwrap();
    symlink("..data/config.conf", volume.join("config.conf")).unwrap();

    let mut watch = FileWatch::new(&volume.join("config.conf")).unwrap();
    for (old, new, content) in [("..1", "..2", "two"), ("..2", "..3", "three")] {
        write(new, content);
        symlink(new, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        fs::remove_dir_all(volume.join(old)).unwrap();
        assert_eq!(next(&mut watch).await, content);
    }
    fs::write(volume.join("..3/config.conf"), "four").unwrap();
    assert_eq!(next(&mut watch).await, "four", "in place, behind the links");
}

#[tokio::test]
async fn a_link_to_another_directory_is_followed() {
    let (_target_directory, target) = file_with("one");
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    symlink(&target, &link).unwrap();
    let mut watch = FileWatch::new(&link).unwrap();
    fs::write(&target, "two").unwrap();
    assert_eq!(next(&mut watch).await, "two");

    let (_other_directory, other) = file_with("three");
    fs::remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    assert_eq!(next(&mut watch).await, "three", "another target");
    fs::write(&other, "four").unwrap();
    assert_eq!(next(&mut watch).await, "four");
}

#[tokio::test]
async fn a_file_that_goes_is_waited_for() {
    let (_directory, file) = file_with("one");
    let mut watch = FileWatch::new(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, "two").unwrap();
    assert_eq!(next(&mut watch).await, "two");
}

/// The first change that is reported is the real one.
#[tokio::test]
async fn the_same_content_and_other_files_are_no_change() {
    let (directory, file) = file_with("one");
    let mut watch = FileWatch::new(&file).unwrap();
    fs::write(directory.path().join("other"), "other").unwrap();
    fs::write(&file, "one").unwrap();
    let same = directory.path().join("same");
    fs::write(&same, "one").unwrap();
    fs::rename(&same, &file).unwrap();
    fs::write(&file, "two").unwrap();
    assert_eq!(next(&mut watch).await, "two");
}

#[tokio::test]
async fn a_change_before_anybody_waits_is_not_lost() {
    let (_directory, file) = file_with("one");
    let mut watch = FileWatch::new(&file).unwrap();
    fs::write(&file, "two").unwrap();
    let nobody_waits = tokio::time::timeout(Duration::ZERO, watch.changed()).await;
    let content = match nobody_waits {
        Ok(content) => String::from_utf8(content.unwrap()).unwrap(),
        Err(_) => next(&mut watch).await,
    };
    assert_eq!(content, "two");
}

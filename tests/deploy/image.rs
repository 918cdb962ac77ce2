//! The image, as far as it can be made without a container runtime: its Dockerfile is linted, and the
//! script that makes its root file system is run, and the result entered.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root::image;
use crate::tools::{repository, succeed, tool};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut files = Vec::new();
    for entry in entries {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files.extend(self::files(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}

#[test]
fn the_image_holds_the_program_its_libraries_and_no_other_program() {
    let root = image();
    let mut libraries = Vec::new();
    let mut others = Vec::new();
    for file in files(root.path()) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        match name.split_once(".so") {
            Some((library, _)) => libraries.push(library.to_owned()),
            None => others.push(file.strip_prefix(root.path()).expect("inside").to_owned()),
        }
        let metadata = fs::metadata(&file).expect("it is there");
        let is_program = metadata.permissions().mode() & 0o111 != 0;
        let may_be_one = name == "weir" || name == "kube-proxy" || name.starts_with("ld-linux");
        assert_eq!(is_program, may_be_one, "{}", file.display());
        assert_eq!(metadata.permissions().mode() & 0o7022, 0, "{}", file.display());
    }
    libraries.sort();
    let loader = libraries.iter().position(|name| name.starts_with("ld-linux"));
    libraries.remove(loader.expect("a loader"));
    // A library that is new here is new in the image: is it meant to be?
    let mut known = vec!["libc", "libgcc_s", "libmnl", "libnftnl"];
    known.retain(|name| libraries.iter().any(|library| library == name));
    assert_eq!(libraries, known);
    assert!(known.contains(&"libnftnl") && known.contains(&"libmnl"), "{known:?}");
    others.sort();
    let others: Vec<&str> = others.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    assert_eq!(
        others,
        [
            "etc/nsswitch.conf",
            "etc/ssl/certs/ca-certificates.crt",
            "usr/local/bin/kube-proxy",
            "usr/local/bin/weir",
        ]
    );
}

#[test]
fn every_file_of_the_image_can_be_read_whatever_the_builders_umask() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    succeed(
        Command::new("bash")
            .current_dir(repository("."))
            .args(["-c", r#"umask 077; exec deploy/image-root "$@""#, "bash"])
            .args([Path::new(env!("CARGO_BIN_EXE_weir")), root.path()]),
    );
    for file in files(root.path()) {
        let mode = fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{}", file.display());
    }
}

#[test]
fn the_program_runs_in_the_image_by_both_names() {
    let root = image();
    for name in ["/usr/local/bin/weir", "/usr/local/bin/kube-proxy"] {
        // Nothing of this machine is in there but the kernel.
        let version = succeed(
            Command::new("unshare")
                .args(["--map-root-user", "--mount", "--root"])
                .arg(root.path())
                .args(["--", name, "--version"]),
        );
        assert_eq!(version, format!("weir {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_dockerfile_has_nothing_that_a_linter_minds() {
    succeed(tool("hadolint").arg("deploy/Dockerfile"));
}

/// A newer compiler is asked for in one place, and these would fail later than here.
#[test]
fn images_are_built_with_the_oldest_rust_that_will_do() {
    let image = format!("docker.io/library/rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    for file in ["deploy/Dockerfile", ".github/workflows/ci.yml"] {
        let text = fs::read_to_string(repository(file)).expect("a file");
        assert!(text.contains(&image), "{file} has no {image}…");
    }
}

/// What the build reads is there, and what it does not read does not undo its layers.
#[test]
fn the_build_context_is_what_cargo_reads() {
    let ignore = fs::read_to_string(repository(".dockerignore")).expect("a file");
    let kept: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in &kept {
        assert!(repository(path).exists(), "{path} is kept and not there");
    }
    let metadata = succeed(
        Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"])
            .arg(repository("Cargo.toml")),
    );
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("it is JSON");
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let manifest = Path::new(manifest).strip_prefix(repository("")).expect("in here");
        let is_kept = kept.iter().any(|path| manifest.starts_with(path));
        assert!(is_kept, "{} is not in the build context", manifest.display());
    }
    assert!(kept.contains(&"Cargo.lock") && kept.contains(&"deploy/image-root"));
}

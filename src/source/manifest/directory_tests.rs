use std::fs;

use tempfile::TempDir;

use super::*;
use crate::source::manifest::tests::service;

/// A directory and what has been read of it.
struct Fixture {
    files: TempDir,
    directory: Directory,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut fixture =
            Self { directory: Directory::new(directory.path(), "node-1"), files: directory };
        for (name, text) in files {
            fixture.write(name, text);
        }
        let reload = fixture.directory.reload();
        assert!(reload.new_problems.is_empty(), "{:?}", reload.new_problems);
        fixture
    }

    fn write(&mut self, name: &str, text: &str) {
        fs::write(self.files.path().join(name), text).unwrap();
    }

    fn remove(&mut self, name: &str) {
        fs::remove_file(self.files.path().join(name)).unwrap();
    }

    /// The Services, as `name address`, the new problems and those that are gone.
    fn reload(&mut self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let reload = self.directory.reload();
        let services = reload.cluster.services.iter();
        let services =
            services.map(|(name, service)| format!("{} {}", name.name(), service.cluster_ips[0]));
        let root = format!("{}/", self.files.path().display());
        let texts = |problems: Vec<ManifestProblem>| {
            problems.iter().map(|problem| problem.to_string().replace(&root, "")).collect()
        };
        (services.collect(), texts(reload.new_problems), texts(reload.resolved))
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn objects_come_change_and_go() {
    let mut fixture = Fixture::new(&[("a.yaml", &service("a", "10.96.0.1"))]);
    fixture.write("b.yaml", &service("b", "10.96.0.2"));
    fixture.write("a.yaml", &service("a", "10.96.0.9"));
    assert_eq!(fixture.reload(), (strings(&["a 10.96.0.9", "b 10.96.0.2"]), vec![], vec![]));
    fixture.remove("a.yaml");
    assert_eq!(fixture.reload(), (strings(&["b 10.96.0.2"]), vec![], vec![]));
    // From one file to another.
    fixture.remove("b.yaml");
    fixture.write("c.yaml", &service("b", "10.96.0.2"));
    assert_eq!(fixture.reload(), (strings(&["b 10.96.0.2"]), vec![], vec![]));
}

#[test]
fn an_object_that_turns_bad_keeps_its_last_good_version_and_is_reported_once() {
    let good = service("a", "10.96.0.1") + &service("b", "10.96.0.2");
    let mut fixture = Fixture::new(&[("a.yaml", &good)]);
    fixture.write("a.yaml", &(service("a", "10.96.0.9") + &service("b", "wrong")));
    let all = strings(&["a 10.96.0.9", "b 10.96.0.2"]);
    let problem = strings(&[
        "a.yaml: document 2: Service default/b: spec.clusterIP: \"wrong\" is not an IP address",
    ]);
    assert_eq!(fixture.reload(), (all.clone(), problem.clone(), vec![]));
    assert_eq!(fixture.reload(), (all.clone(), vec![], vec![]), "once");

    fixture.write("a.yaml", &(service("a", "10.96.0.9") + &service("b", "worse")));
    let worse = vec![problem[0].replace("wrong", "worse")];
    assert_eq!(fixture.reload(), (all, worse.clone(), problem), "again when it changes");

    fixture.write("a.yaml", &(service("a", "10.96.0.9") + &service("b", "10.96.0.3")));
    let all = strings(&["a 10.96.0.9", "b 10.96.0.3"]);
    assert_eq!(fixture.reload(), (all, vec![], worse));

    fixture.write("a.yaml", &(service("b", "wrong")));
    fixture.reload();
    fixture.remove("a.yaml");
    let (services, _, resolved) = fixture.reload();
    assert_eq!((services.len(), resolved.len()), (0, 1), "a bad object that goes is gone");
}

#[test]
fn while_something_in_a_file_cannot_be_read_nothing_of_it_is_gone() {
    let a = service("a", "10.96.0.1") + &service("b", "10.96.0.2");
    let mut fixture = Fixture::new(&[("a.yaml", &a), ("c.yaml", &service("c", "10.96.0.3"))]);
    fixture.remove("c.yaml");
    // Half written: b cannot be seen, and a has changed.
    fixture.write("a.yaml", &(service("a", "10.96.0.9") + "---\napiVersion: v1\nkind: \"Serv"));
    let (services, problems, _) = fixture.reload();
    assert_eq!(services, ["a 10.96.0.9", "b 10.96.0.2"]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("a.yaml: document 2: not YAML: line 12, "), "{problems:?}");

    fs::write(fixture.files.path().join("a.yaml"), b"\xff").unwrap();
    let (services, problems, resolved) = fixture.reload();
    assert_eq!(services, ["a 10.96.0.9", "b 10.96.0.2"]);
    assert_eq!((problems.len(), resolved.len()), (1, 1));

    fixture.write("a.yaml", &service("a", "10.96.0.9"));
    assert_eq!(fixture.reload().0, ["a 10.96.0.9"]);
}

#[test]
fn while_the_directory_cannot_be_listed_nothing_is_gone() {
    let mut fixture = Fixture::new(&[("a.yaml", &service("a", "10.96.0.1"))]);
    let (here, away) = (fixture.files.path().to_owned(), tempfile::tempdir().unwrap());
    let away = away.path().join("moved");
    fs::rename(&here, &away).unwrap();
    let (services, problems, _) = fixture.reload();
    assert_eq!((services, problems.len()), (strings(&["a 10.96.0.1"]), 1));
    fs::rename(&away, &here).unwrap();
    let (services, problems, resolved) = fixture.reload();
    assert_eq!((services, problems.len(), resolved.len()), (strings(&["a 10.96.0.1"]), 0, 1));
}

#[test]
fn two_services_can_exchange_their_addresses() {
    let both = |a: &str, b: &str| service("a", a) + &service("b", b);
    let mut fixture = Fixture::new(&[("x.yaml", &both("10.96.0.1", "10.96.0.2"))]);
    fixture.write("x.yaml", &both("10.96.0.2", "10.96.0.1"));
    assert_eq!(fixture.reload(), (strings(&["a 10.96.0.2", "b 10.96.0.1"]), vec![], vec![]));
}

#[test]
fn a_second_file_does_not_take_an_object_from_the_first() {
    let mut fixture = Fixture::new(&[("b.yaml", &service("a", "10.96.0.1"))]);
    fixture.write("a.yaml", &service("a", "10.96.0.2"));
    let (services, problems, _) = fixture.reload();
    assert_eq!(services, ["a 10.96.0.1"]);
    let expected =
        "a.yaml: document 1: Service default/a: this object is also in b.yaml, document 1";
    assert_eq!(problems, [expected]);
    fixture.remove("b.yaml");
    assert_eq!(fixture.reload().0, ["a 10.96.0.2"]);
}

fn make_fifo(path: &std::path::Path) {
    let made =
        std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo of coreutils");
    assert!(made.success());
}

#[test]
fn what_is_no_file_is_told_once_and_never_waited_for() {
    let mut fixture = Fixture::new(&[("a.yaml", &service("a", "10.96.0.1"))]);
    let path = |name: &str| fixture.files.path().join(name);
    make_fifo(&path("fifo.yaml"));
    make_fifo(&path(".hidden.yaml"));
    make_fifo(&path("fifo.txt"));
    fs::create_dir(path("folder.json")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.yml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("zero.yaml")).unwrap();
    let expected = [
        ("fifo.yaml", "a FIFO"),
        ("folder.json", "a directory"),
        ("socket.yml", "a socket"),
        ("zero.yaml", "a device"),
    ];
    let expected = expected.map(|(name, what)| {
        format!("{} is {what}, not a file, and is left out", path(name).display())
    });
    let reload = fixture.directory.reload();
    assert_eq!(reload.left_out, expected);
    assert_eq!((reload.new_problems.len(), reload.cluster.services.len()), (0, 1));
    assert_eq!(fixture.directory.reload().left_out, Vec::<String>::new(), "once");
    let input = crate::source::manifest::Input::Path(fixture.files.path().into());
    let loaded = crate::source::manifest::load(&[input], "node-1", usize::MAX);
    assert_eq!((loaded.notes, loaded.problems.len()), (expected.to_vec(), 0));

    // It comes, goes, and comes again.
    fixture.remove("fifo.yaml");
    assert_eq!(fixture.directory.reload().left_out, Vec::<String>::new());
    make_fifo(&fixture.files.path().join("fifo.yaml"));
    assert_eq!(fixture.directory.reload().left_out, expected[..1]);
}

#[test]
fn a_file_that_becomes_a_fifo_once_it_is_listed_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    make_fifo(&path);
    let Err(problem) = files::read_listed(&path) else { panic!("it is no file") };
    assert_eq!(problem.source().unwrap().to_string(), "it is not a file any more");
}

#[test]
fn notes_are_told_once() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), text).unwrap();
    let mut reader = Directory::new(directory.path(), "node-1");
    assert_eq!(reader.reload().notes, ["ignored 1 object of another kind: 1 Secret"]);
    assert_eq!(reader.reload().notes, Vec::<String>::new());
}

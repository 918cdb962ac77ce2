use std::path::Path;

use weir_rules::cluster::NamespacedName;

use super::*;

fn write(directory: &Path, name: &str, cluster_ip: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: {cluster_ip}, ports: [{{port: 80}}]}}\n"
    );
    std::fs::write(directory.join(format!("{name}.yaml")), text).unwrap();
}

fn services(names: &[&str]) -> ChangeSet {
    let names = names.iter().map(|name| NamespacedName::new("default", *name));
    ChangeSet::services(names)
}

#[test]
fn a_directory_that_is_read_again_touches_what_is_new_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write(path, "a", "10.96.0.1");
    let mut manifests = Manifests::new(Directory::new(path, "node-a"), 1000);
    assert!(manifests.cluster().is_none() && manifests.take_changes().is_empty());
    manifests.reload();
    assert_eq!(manifests.take_changes(), ChangeSet { environment: true, ..services(&["a"]) });
    manifests.reload();
    assert!(manifests.take_changes().is_empty());
    write(path, "a", "10.96.0.3");
    manifests.reload();
    write(path, "b", "10.96.0.2");
    manifests.reload();
    assert_eq!(manifests.take_changes(), services(&["a", "b"]), "of both readings");
    std::fs::remove_file(path.join("a.yaml")).unwrap();
    manifests.reload();
    assert_eq!(manifests.take_changes(), services(&["a"]));
}

/// So that what an earlier run has programmed goes.
#[test]
fn a_directory_that_is_empty_from_the_start_touches_something() {
    let directory = tempfile::tempdir().unwrap();
    let mut manifests = Manifests::new(Directory::new(directory.path(), "node-a"), 1000);
    manifests.reload();
    assert!(!manifests.take_changes().is_empty());
    assert_eq!(manifests.cluster(), Some(&Cluster::default()));
}

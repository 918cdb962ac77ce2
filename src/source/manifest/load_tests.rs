use std::fs;

use proptest::prelude::*;
use weir_rules::cluster::NamespacedName;
use weir_rules::cluster::limits::DEFAULT_MAX_SERVICE_KEYS;

use super::*;

/// Reads texts as files `a.yaml`, `b.yaml`, ... for the node `node-1`.
pub(super) fn load_all(texts: &[&str]) -> Loaded {
    load_limited(texts, DEFAULT_MAX_SERVICE_KEYS)
}

/// The same, where each Service has so many keys at most.
pub(super) fn load_limited(texts: &[&str], max_service_keys: usize) -> Loaded {
    let sources = texts.iter().zip('a'..).map(|(text, name)| {
        Ok(FileText { name: Arc::from(format!("{name}.yaml")), text: (*text).to_owned() })
    });
    load_texts(sources.collect(), "node-1", max_service_keys)
}

/// The problems of one text, as they print.
pub(super) fn problems(texts: &[&str]) -> Vec<String> {
    load_all(texts).problems.iter().map(ToString::to_string).collect()
}

/// A Service in YAML.
pub(super) fn service(name: &str, ip: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: {ip}\n  \
         ports:\n  - port: 80\n"
    )
}

/// What `kubectl get services,endpointslices,nodes,servicecidrs -A -o yaml` prints, shortened.
const KUBECTL: &str = r#"apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    creationTimestamp: "2026-01-01T00:00:00Z"
    labels:
      component: apiserver
    name: kubernetes
    namespace: default
    resourceVersion: "204"
  spec:
    clusterIP: 10.96.0.1
    clusterIPs:
    - 10.96.0.1
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: https
      port: 443
      protocol: TCP
      targetPort: 6443
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - addresses:
    - 192.0.2.10
    conditions:
      ready: true
  kind: EndpointSlice
  metadata:
    labels:
      kubernetes.io/service-name: kubernetes
    name: kubernetes
    namespace: default
  ports:
  - name: https
    port: 6443
    protocol: TCP
- apiVersion: v1
  kind: Node
  metadata:
    name: node-1
  status:
    addresses:
    - address: 192.0.2.11
      type: InternalIP
    - address: node-1
      type: Hostname
- apiVersion: networking.k8s.io/v1
  kind: ServiceCIDR
  metadata:
    name: kubernetes
  spec:
    cidrs:
    - 10.96.0.0/12
kind: List
metadata:
  resourceVersion: ""
"#;

#[test]
fn what_kubectl_prints_is_read() {
    let loaded = load_all(&[KUBECTL]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert_eq!(loaded.notes, Vec::<String>::new());
    let name = NamespacedName::new("default", "kubernetes");
    let cluster = loaded.cluster;
    assert_eq!(
        cluster.services[&name].cluster_ips,
        ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(cluster.slices.of(&name)[0].endpoints.len(), 1);
    assert_eq!(
        cluster.node.unwrap().addresses,
        ["192.0.2.11".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(cluster.service_cidrs, ["10.96.0.0/12".parse().unwrap()]);
}

#[test]
fn yaml_and_json_of_one_state_are_one_cluster() {
    let json = crate::yaml::to_json(KUBECTL).unwrap().unwrap();
    assert_eq!(load_all(&[&json]).cluster, load_all(&[KUBECTL]).cluster);
}

#[test]
fn items_of_a_typed_list_need_no_kind() {
    let list = r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"223"},
        "items":[{"metadata":{"name":"a","namespace":"shop"},"spec":{"clusterIP":"10.96.0.1"}}]}"#;
    let loaded = load_all(&[list]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert!(loaded.cluster.services.contains_key(&NamespacedName::new("shop", "a")));
}

#[test]
fn a_wrong_field_is_named_with_file_document_object_and_path() {
    let with = |from: &str, to: &str| service("web", "10.96.0.2").replace(from, to);
    let cases = [
        (
            with("port: 80", "port: abc"),
            "Service default/web: spec.ports[0].port: invalid type: string \"abc\", expected i32",
        ),
        (
            with("port: 80", "port: 080"),
            "Service default/web: spec.ports[0].port: invalid type: string \"080\", expected i32",
        ),
        (
            with("port: 80", "port: 99999999999"),
            "Service default/web: spec.ports[0].port: invalid value: integer `99999999999`, expected i32",
        ),
        (
            with("port: 80", "port: 0"),
            "Service default/web: spec.ports[0].port: 0 is not a port, expected 1 to 65535",
        ),
        (
            with("  - port: 80", "    port: 80"),
            "Service default/web: spec.ports: invalid type: map, expected a sequence",
        ),
        (
            with("10.96.0.2", "10.96.0.999"),
            "Service default/web: spec.clusterIP: \"10.96.0.999\" is not an IP address",
        ),
        (
            with("  name: web", "  name: 5"),
            "metadata.name: invalid type: integer `5`, expected a string",
        ),
        (
            with("apiVersion: v1", "apiVersion: v2"),
            "apiVersion: \"v2\" is not supported for Service, expected \"v1\"",
        ),
        (
            with("  name: web", "  name: web\n  name: b"),
            "not YAML: line 15, column 1: the key \"name\" is there twice",
        ),
    ];
    for (bad, expected) in cases {
        let text = format!("{}{bad}", service("good", "10.96.0.1"));
        assert_eq!(problems(&[&text]), [format!("a.yaml: document 2: {expected}")]);
        assert_eq!(load_all(&[&text]).cluster.services.len(), 1, "the good one is still there");
    }
}

#[test]
fn notes_count_what_is_not_applied_and_what_is_ignored() {
    let other = |kind: &str| format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}\n");
    let others = [other("ConfigMap"), other("Secret"), other("Secret")].concat();
    let unallocated = ["s", "t", "u", "v"].map(|name| service(name, "\"\"")).concat();
    let text = others + &unallocated;
    assert_eq!(
        load_all(&[&text]).notes,
        [
            "4 Services have no ClusterIP allocated and are left out: \
             default/s, default/t, default/u, …",
            "ignored 3 objects of other kinds: 2 Secret, 1 ConfigMap",
        ]
    );
    let text = other("ConfigMap") + &service("u", "\"\"");
    assert_eq!(
        load_all(&[&text]).notes,
        [
            "1 Service has no ClusterIP allocated and is left out: default/u",
            "ignored 1 object of another kind: 1 ConfigMap",
        ]
    );
}

#[test]
fn a_directory_is_read_by_name_without_what_is_hidden_or_below() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // As a ConfigMap is mounted.
    fs::create_dir(path.join("..2026")).unwrap();
    fs::write(path.join("..2026/web.yaml"), service("web", "10.96.0.1")).unwrap();
    std::os::unix::fs::symlink("..2026", path.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/web.yaml", path.join("web.yaml")).unwrap();
    fs::create_dir(path.join("below.yaml")).unwrap();
    fs::write(path.join("below.yaml/x.yaml"), "not: [yaml").unwrap();
    fs::write(path.join(".hidden.yaml"), "not: [yaml").unwrap();
    fs::write(path.join("notes.txt"), "not: [yaml").unwrap();
    fs::write(path.join("b.json"), "{").unwrap();
    fs::write(path.join("a.yml"), service("web", "10.96.0.1")).unwrap();

    let loaded = load(&[Input::Path(path.into())], "node-1", DEFAULT_MAX_SERVICE_KEYS);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let path = path.display();
    assert_eq!(
        problems,
        [
            format!(
                "{path}/b.json: document 1: not JSON: line 1, column 1: EOF while parsing an object"
            ),
            format!(
                "{path}/web.yaml: document 1: Service default/web: this object is also in {path}/a.yml, document 1"
            ),
        ]
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.yaml");
    let binary = directory.path().join("binary.yaml");
    fs::write(&binary, b"a: \xff\n").unwrap();
    let loaded = load(
        &[Input::Path(missing.clone()), Input::Path(binary.clone())],
        "node-1",
        DEFAULT_MAX_SERVICE_KEYS,
    );
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            format!("{}: cannot be read", missing.display()),
            format!("{}: not UTF-8 text (at byte 3)", binary.display()),
        ]
    );
    assert!(std::error::Error::source(&loaded.problems[0]).is_some());

    let empty = tempfile::tempdir().unwrap();
    let loaded = load(&[Input::Path(empty.path().into())], "node-1", DEFAULT_MAX_SERVICE_KEYS);
    let expected = format!("no manifest (*.yaml, *.yml, *.json) in {}", empty.path().display());
    assert_eq!(loaded.notes, [expected]);
}

proptest! {
    #![proptest_config(weir_rules::testing::random::seeded(256))]

    /// The order of documents decides nothing.
    #[test]
    fn documents_in_any_order_are_one_cluster(
        order in Just((1..12).collect::<Vec<u8>>()).prop_shuffle(),
        split in 0_usize..12,
    ) {
        let document = |n: &u8| match n % 3 {
            0 => service(&format!("s{n}"), &format!("10.96.0.{n}")),
            1 => service(&format!("s{n}"), &format!("10.96.0.{n}"))
                .replace("spec:", "spec:\n  selector: {app: web}"),
            _ => format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, labels: {{app: web}}}}\n\
                status: {{podIP: 10.244.0.{n}, conditions: [{{type: Ready, status: 'True'}}]}}\n"),
        };
        let sorted: String = (1..12).map(|n| document(&n)).collect();
        let documents: Vec<String> = order.iter().map(document).collect();
        let (first, second) = documents.split_at(split.min(documents.len()));
        let loaded = load_all(&[&first.concat(), &second.concat()]);
        prop_assert!(loaded.problems.is_empty());
        prop_assert_eq!(loaded.cluster, load_all(&[&sorted]).cluster);
    }
}

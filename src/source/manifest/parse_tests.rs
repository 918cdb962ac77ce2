use proptest::prelude::*;

use super::*;

/// The objects and problems of a text, one line each.
fn read(text: &str, size: usize) -> Vec<String> {
    let files = [FileText { name: Arc::from("f"), text: text.to_owned() }];
    let decoded = parse_in_pieces(&files, "node-1", size).remove(0);
    let entries = decoded.entries.iter().map(|entry| match &entry.outcome {
        Ok(_) => format!("{}: {}", entry.document, entry.key),
        Err(problem) => problem.to_string(),
    });
    let problems = decoded.problems.iter().map(ToString::to_string);
    let others = decoded.others.iter().map(|(kind, count)| format!("{count} {kind}"));
    entries.chain(problems).chain(others).collect()
}

const NODE: &str = "kind: Node, apiVersion: v1, metadata: {name: node-1}";

#[test]
fn lists_cut_in_pieces_read_like_lists_in_one() {
    let item =
        |name: &str| format!("- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: {name}\n");
    let list = |items: &[String]| format!("apiVersion: v1\nitems:\n{}kind: List\n", items.concat());
    let anchored = |text: &str| {
        format!("- &{text}\n  apiVersion: v1\n  kind: Pod\n  metadata: &m\n    name: {text}\n")
    };
    let quoted =
        "- {apiVersion: v1, kind: Pod, metadata: {name: q, annotations: {x: \"y\n- z\"}}}\n";
    let cases = [
        list(&[item("a"), item("b"), item("c")]),
        // Only the whole document makes sense of these.
        list(&[anchored("a"), "- *a\n".to_owned(), item("c")]),
        list(&[item("a"), quoted.to_owned(), item("c")]),
        list(&[item("a"), "- b: [\n".to_owned(), item("c")]),
        list(&[item("a"), "- apiVersion: v1\n  kind: Pod\n".to_owned(), "- 5\n".to_owned()]),
        list(&[" - z\n".to_owned(), item("a")]),
        list(&["\n - z\n".to_owned(), item("a")]),
        list(&[item("a"), item("b")]).replace("kind: List", "kind: Others"),
        list(&[item("a").replace("  kind: Pod\n", ""), item("b")]).replace("List", "PodList"),
    ];
    for text in cases {
        assert_eq!(read(&text, 1), read(&text, 1 << 20), "{text}");
    }
    let named = list(&[item("a"), item("b"), item("c")]);
    assert_eq!(read(&named, 1), ["1: Pod default/a", "1: Pod default/b", "1: Pod default/c"]);
}

#[test]
fn json_values_may_follow_one_another() {
    let pod = |name: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}}}}"#)
    };
    let text = format!(" {}\n{}{}", pod("a"), pod("b"), pod("c"));
    assert_eq!(read(&text, 1), ["1: Pod default/a", "2: Pod default/b", "3: Pod default/c"]);
    let list =
        format!(r#"{{"kind":"List","apiVersion":"v1","items":[{},{}]}}"#, pod("a"), pod("b"));
    for size in [1, 1 << 20] {
        assert_eq!(read(&list, size), ["1: Pod default/a", "1: Pod default/b"]);
    }
    let broken = format!("{}\n{{\"kind\": \n]", pod("a"));
    let problem = "f: document 2: not JSON: line 3, column 1: expected value";
    assert_eq!(read(&broken, 1), ["1: Pod default/a", problem]);
}

#[test]
fn what_is_no_object_is_named() {
    let cases = [
        ("just text\n", "f: document 1: not a Kubernetes object"),
        ("[1, 2]", "f: document 1: not a Kubernetes object"),
        ("a: [1\n", "f: document 1: not YAML: line 2, column 1: while parsing a flow sequence"),
        ("apiVersion: v1\n", "f: document 1: kind: is missing"),
        ("kind: Service\n", "f: document 1: apiVersion: is missing"),
        ("kind: 5\n", "f: document 1: kind: invalid type: integer `5`, expected a string"),
        (
            "{apiVersion: v1, kind: Pod}",
            "f: document 1: not JSON: line 1, column 2: key must be a string",
        ),
        ("apiVersion: v1\nkind: Pod\n", "f: document 1: metadata.name: is missing in a Pod"),
        (
            "apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n",
            "f: document 1: items[0].apiVersion: is missing",
        ),
        ("apiVersion: v1\nkind: List\nitems: 5\n", "f: document 1: items: is not a list"),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\n",
            "f: document 1: apiVersion: \"discovery.k8s.io/v1beta1\" is not supported for \
             EndpointSlice, expected \"discovery.k8s.io/v1\"",
        ),
    ];
    for (text, expected) in cases {
        let found = read(text, 1 << 20);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(found[0].starts_with(expected), "{text:?}: {found:?}");
    }
}

#[test]
fn kinds_of_others_are_counted_and_other_nodes_left_out() {
    let text = "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: serving.knative.dev/v1\n\
                kind: Service\nmetadata: {name: a}\n---\n# nothing\n---\napiVersion: v1\nkind: Node\n\
                metadata: {name: other}\nstatus: {addresses: [{type: InternalIP, address: x}]}\n";
    assert_eq!(read(text, 1), ["1 Deployment", "1 Service.serving.knative.dev"]);
    assert_eq!(read(&format!("\u{feff}---\n{{{NODE}}}\n"), 1), ["1: Node node-1"]);
}

proptest! {
    #![proptest_config(weir_rules::testing::random::seeded(256))]

    /// Cuts never show.
    #[test]
    fn any_cut_reads_like_none(
        items in prop::collection::vec(
            prop::sample::select(vec![
                "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n",
                "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: &x b\n",
                "- {apiVersion: v1, kind: *x}\n", "- \"\n", "- '\n", "- [\n", "- ]\n", "- |\n  x\n",
                "\n", "# y\n", " - z\n", "-\n", "- - a\n", "a: b\n", "items:\n", "-a: b\n",
            ]),
            0..8,
        ),
    ) {
        let text = format!("apiVersion: v1\nkind: List\nitems:\n{}", items.concat());
        prop_assert_eq!(read(&text, 1), read(&text, 1 << 20));
    }
}

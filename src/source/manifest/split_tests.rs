use super::*;

fn cut(stream: &str) -> Vec<(usize, usize, &str)> {
    let documents = documents(stream).into_iter();
    documents.map(|of| (of.number, of.piece.lines_before, of.piece.text)).collect()
}

#[test]
fn documents_are_cut_at_markers_and_numbered() {
    type Documents<'a> = &'a [(usize, usize, &'a str)];
    let cases: &[(&str, Documents<'_>)] = &[
        ("", &[]),
        ("# comment\n\n", &[]),
        ("a: b\n", &[(1, 0, "a: b\n")]),
        ("---\na: b\n---\nc: d", &[(1, 0, "---\na: b\n"), (2, 2, "---\nc: d")]),
        ("a: b\n---\r\nc: d\r\n", &[(1, 0, "a: b\n"), (2, 1, "---\r\nc: d\r\n")]),
        // A comment before the first marker is no document; nothing between two markers is one.
        ("# licence\n---\na: b\n", &[(1, 0, "# licence\n---\na: b\n")]),
        ("a: b\n---\n---\nc: d\n", &[(1, 0, "a: b\n"), (2, 1, "---\n"), (3, 2, "---\nc: d\n")]),
        ("%YAML 1.2\n---\na: b\n", &[(1, 0, "%YAML 1.2\n---\na: b\n")]),
        ("a: b\n...\n# c\n---\nc: d\n", &[(1, 0, "a: b\n...\n"), (2, 2, "# c\n---\nc: d\n")]),
        ("--- {a: b}\n--- c\n", &[(1, 0, "--- {a: b}\n"), (2, 1, "--- c\n")]),
        // Not markers.
        ("a: |\n  ---\n  b\n", &[(1, 0, "a: |\n  ---\n  b\n")]),
        ("a: b\n---x: y\n", &[(1, 0, "a: b\n---x: y\n")]),
    ];
    for (stream, expected) in cases {
        assert_eq!(cut(stream), *expected, "{stream:?}");
    }
}

/// The first index, the lines before and the text of each piece.
type Pieces<'a> = Vec<(usize, usize, &'a str)>;

fn pieces(text: &str) -> Option<(String, Pieces<'_>)> {
    let list = split_list(Piece { text, lines_before: 10 }, 1)?;
    let items = list.items.iter().map(|(first, of)| (*first, of.lines_before, of.text));
    Some((list.frame, items.collect()))
}

#[test]
fn a_list_is_cut_between_its_items() {
    let (frame, items) =
        pieces("kind: List\nitems:\n- a: 1\n  b:\n  - 2\n# note\n- a: 3\n\nmetadata: {}\n")
            .unwrap();
    assert_eq!(frame, "kind: List\nitems:\nmetadata: {}\n");
    assert_eq!(items, [(0, 12, "- a: 1\n  b:\n  - 2\n# note\n"), (1, 16, "- a: 3\n\n")]);

    let (frame, items) =
        pieces("items:\n  - a: 1\n    b: |\n      - 2\n  - a: 3\nkind: List").unwrap();
    assert_eq!(frame, "items:\nkind: List");
    assert_eq!(items, [(0, 11, "  - a: 1\n    b: |\n      - 2\n"), (1, 14, "  - a: 3\n")]);
}

#[test]
fn what_does_not_look_like_a_list_is_not_cut() {
    for text in
        ["kind: List\nitems: []\n", "kind: List\n", "a:\n  items:\n  - b\n", "items:\nkind: x\n"]
    {
        assert_eq!(pieces(text), None, "{text:?}");
    }
    let long = Piece { text: "items:\n- a\n- b\n", lines_before: 0 };
    assert_eq!(split_list(long, 1000), None, "a short list stays whole");
}

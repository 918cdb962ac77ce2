use proptest::prelude::*;

use super::*;

fn json(yaml: &str) -> String {
    to_json(yaml).unwrap().unwrap_or_else(|| "nothing".to_owned())
}

#[test]
fn yaml_becomes_the_json_that_it_means() {
    let cases = [
        ("a: 1\nb: [x, -2.5, true]\n", r#"{"a":1,"b":["x",-2.5,true]}"#),
        ("a:\n- b: c\n  d:\n- e\n", r#"{"a":[{"b":"c","d":null},"e"]}"#),
        ("{\"a\": {}, \"b\": []}", r#"{"a":{},"b":[]}"#),
        ("a: |\n  two\n  lines\n", r#"{"a":"two\nlines\n"}"#),
        ("a: 'it''s'\nb: \"tab\\t\\\"quoted\\\"\"\n", r#"{"a":"it's","b":"tab\u0009\"quoted\""}"#),
        ("a: null\nb: ~\nc:\nd: 'null'\n", r#"{"a":null,"b":null,"c":null,"d":"null"}"#),
        // Booleans of YAML 1.1 are strings.
        ("a: on\nb: yes\nc: No\nd: True\n", r#"{"a":"on","b":"yes","c":"No","d":true}"#),
        // Numbers that YAML 1.1 and 1.2 read differently are strings, so that none is misread.
        ("a: 010\nb: 1_000\nc: 22:22\n", r#"{"a":"010","b":"1_000","c":"22:22"}"#),
        ("a: 0x50\nb: 0o120\nc: 1e3\nd: 0\n", r#"{"a":80,"b":80,"c":1e3,"d":0}"#),
        ("a: .5\nb: 1.\nc: +1\nd: -x\n", r#"{"a":".5","b":"1.","c":"+1","d":"-x"}"#),
        ("a: '80'\nb: !!str 80\nc: !!int \"80\"\n", r#"{"a":"80","b":"80","c":80}"#),
        ("a: 10.96.0.10\nb: ::1\n", r#"{"a":"10.96.0.10","b":"::1"}"#),
        ("80: a\ntrue: b\n", r#"{"80":"a","true":"b"}"#),
        ("a: b\r\nc:\r\n- d\r\n", r#"{"a":"b","c":["d"]}"#),
        ("# comment\n--- # more\na: b # and more\n...\n", r#"{"a":"b"}"#),
        ("a: &x [1, 2]\nb: *x\nc: &y k\n*y : d\n", r#"{"a":[1,2],"b":[1,2],"c":"k","k":"d"}"#),
        ("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n", r#"{"a":{"x":1,"y":2},"b":{"y":3,"x":1}}"#),
        (
            "a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc: {k: 0, <<: [*a, *b]}\n",
            r#"{"a":{"x":1},"b":{"x":2,"z":3},"c":{"k":0,"x":1,"z":3}}"#,
        ),
        ("", "nothing"),
        ("# only\n# comments\n", "nothing"),
        ("---\n", "nothing"),
        ("~\n", "nothing"),
    ];
    for (yaml, expected) in cases {
        assert_eq!(json(yaml), expected, "{yaml:?}");
    }
}

#[test]
fn what_is_not_yaml_is_refused_with_its_place() {
    let cases = [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key \"a\" is there twice"),
        ("a: {b: 1,\n b: 2}\n", "line 2, column 1: the key \"b\" is there twice"),
        ("? [a]\n: b\n", "line 1, column 3: the key is not a string"),
        ("a: &x\n- *x\n", "line 2, column 3: the alias stands within its own anchor"),
        ("<<: 5\nb: c\n", "line 1, column 1: the value of a merge key (<<) is not a mapping"),
    ];
    for (yaml, expected) in cases {
        let error = to_json(yaml).map(|json| json.unwrap_or_default());
        assert_eq!(error.map_err(|error| error.to_string()), Err(expected.to_owned()), "{yaml:?}");
    }
    for yaml in ["a: [1\n", "a: \"b\n", "a: b: c\n", "a: *x\n", "a\n---\nb\n", "a: }\n"] {
        assert!(to_json(yaml).is_err(), "{yaml:?}");
    }
}

#[test]
fn aliases_cannot_expand_without_bound() {
    let mut yaml = "a0: &a0 [laugh, laugh, laugh, laugh, laugh, laugh, laugh, laugh]\n".to_owned();
    for level in 1..20 {
        let before = format!("*a{}", level - 1);
        let list = vec![before; 8].join(", ");
        yaml.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert!(to_json(&yaml).is_err());
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(to_json(&nested(50)).is_ok());
    assert!(to_json(&nested(50_000)).is_err());
}

/// JSON values that a Kubernetes object might hold.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        "[ -~\n\t]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map("[a-z/.~<\"]{0,6}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(weir_rules::testing::random::seeded(256))]

    /// JSON is YAML.
    #[test]
    fn json_read_as_yaml_is_the_same(value in any_value()) {
        let text = serde_json::to_string(&value).unwrap();
        let read = to_json(&text).map_err(|error| error.to_string());
        let read = read.unwrap().unwrap_or_else(|| "null".to_owned());
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&read).unwrap(), value);
    }

    /// Whatever the text, the answer is JSON or an error.
    #[test]
    fn any_text_is_json_or_an_error(text in "[-a-c:,*&!|>#%@?<'\"{}\\[\\] \n\t~0-9.]{0,60}") {
        if let Ok(Some(json)) = to_json(&text) {
            prop_assert!(serde_json::from_str::<&RawValue>(&json).is_ok(), "{}", json);
        }
    }
}

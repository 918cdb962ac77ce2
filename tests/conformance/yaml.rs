//! YAML as JSON values, as far as the cases need it.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Reads a text with one document.
///
/// # Panics
/// If it is not YAML, or uses anchors.
pub(crate) fn parse(name: &str, text: &str) -> Value {
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.unwrap_or_else(|error| panic!("{name}: {error}"));
        let done = match event {
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().expect("it was opened").0,
            Event::Scalar(text, style, ..) => {
                if let Some((Value::Object(_), key @ None)) = open.last_mut() {
                    *key = Some(text.into_owned());
                    continue;
                }
                scalar(&text, style)
            }
            Event::Alias(_) => panic!("{name}:{}: no aliases here", span.start.line()),
            _ => continue,
        };
        match open.last_mut() {
            Some((Value::Array(items), _)) => items.push(done),
            Some((Value::Object(fields), key)) => {
                let key = key.take().expect("keys come before values");
                let before = fields.insert(key, done);
                assert!(before.is_none(), "{name}:{}: a key twice", span.start.line());
            }
            _ => return done,
        }
    }
    panic!("{name} is empty")
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null") => Value::Null,
        (ScalarStyle::Plain, "true") => Value::Bool(true),
        (ScalarStyle::Plain, "false") => Value::Bool(false),
        (ScalarStyle::Plain, _) => {
            text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
        }
        _ => Value::from(text),
    }
}

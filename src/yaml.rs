//! Converts one YAML document to JSON text, so that both formats are decoded in one way, as kubectl does it.
//!
//! Scalars follow the core schema of YAML 1.2: `on` and `yes` are strings. Where YAML 1.1 and 1.2 read
//! one number differently (`010`, `1_000`) the scalar stays a string, and the decoder then says that a
//! number was expected.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::value::RawValue;

/// How much text the aliases of one document may add to it, in bytes.
const ALIAS_LIMIT: usize = 16 << 20;

/// How deep mappings and sequences may lie within each other.
const DEPTH_LIMIT: usize = 100;

/// Why a text is not YAML, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(crate) struct SyntaxError {
    /// Counted from 1, in the text that was given.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
    /// What is wrong there.
    pub(crate) message: String,
}

/// The JSON text of a YAML document; `None` when it holds nothing, or nothing but comments.
pub(crate) fn to_json(yaml: &str) -> Result<Option<String>, SyntaxError> {
    let mut writer =
        JsonWriter { json: String::with_capacity(yaml.len()), ..JsonWriter::default() };
    writer.document(yaml)?;
    Ok(writer.finished())
}

/// The same, with keys that are there twice left in the text, of which JSON's readers take the last.
/// Returns the position of each, one line for each.
pub(crate) fn last_wins_json(yaml: &str) -> Result<(Option<String>, Vec<String>), SyntaxError> {
    let mut writer = JsonWriter { duplicates: Some(Vec::new()), ..JsonWriter::default() };
    writer.document(yaml)?;
    let duplicates = writer.duplicates.take().unwrap_or_default();
    Ok((writer.finished(), duplicates))
}

/// What is wrong, and the line if that is not where the parser stands.
struct Fault {
    line: Option<usize>,
    message: String,
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        Self { line: None, message: message.into() }
    }
}

/// A mapping or sequence that is being written.
struct Frame {
    /// Where its text begins.
    start: usize,
    anchor: usize,
    mapping: bool,
    /// The next event of a mapping is a key.
    at_key: bool,
    empty: bool,
    /// Where its keys begin in `JsonWriter::keys`.
    keys: usize,
    /// Where the value of a merge key begins, while it is being written, and the key's line.
    merge_from: Option<(usize, usize)>,
    /// The values of its merge keys, and the line of each key.
    merges: Vec<(String, usize)>,
}

#[derive(Default)]
struct JsonWriter {
    json: String,
    frames: Vec<Frame>,
    /// The keys of the open mappings, as they stand in the text, and the line of each.
    keys: Vec<(Range<usize>, usize)>,
    /// The text of each anchored node, by the parser's number.
    anchors: Vec<Option<Range<usize>>>,
    /// The text that aliases have added, in bytes.
    aliased: usize,
    /// Where keys are that are there twice, when that is no fault.
    duplicates: Option<Vec<String>>,
}

impl JsonWriter {
    /// Writes a document, the only one of its text.
    fn document(&mut self, yaml: &str) -> Result<(), SyntaxError> {
        let mut documents = 0;
        for event in Parser::new_from_str(yaml) {
            let (event, span) = event.map_err(|error| SyntaxError {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                message: error.info().to_owned(),
            })?;
            let line = span.start.line();
            let result = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(&text, style, tag.as_deref(), anchor, line)
                }
                Event::MappingStart(anchor, _) => self.open('{', anchor),
                Event::SequenceStart(anchor, _) => self.open('[', anchor),
                Event::MappingEnd | Event::SequenceEnd => self.close(),
                Event::Alias(anchor) => self.alias(anchor, line),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 { Err("a second document begins here".into()) } else { Ok(()) }
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {
                    Ok(())
                }
            };
            result.map_err(|fault: Fault| SyntaxError {
                line: fault.line.unwrap_or(line),
                column: if fault.line.is_some() { 1 } else { span.start.col() + 1 },
                message: fault.message,
            })?;
        }
        Ok(())
    }

    /// The text, unless it is empty.
    fn finished(self) -> Option<String> {
        (!self.json.is_empty() && self.json != "null").then_some(self.json)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        anchor: usize,
        line: usize,
    ) -> Result<(), Fault> {
        if self.at_key() {
            if text == "<<" && style == ScalarStyle::Plain {
                return self.merge_key(line);
            }
            let range = self.write(anchor, |json| string(json, text));
            return self.key(range, line);
        }
        self.separate();
        match plain_type(style, tag) {
            true => self.write(anchor, |json| plain(json, text)),
            false => self.write(anchor, |json| string(json, text)),
        };
        self.value_done()
    }

    fn at_key(&mut self) -> bool {
        match self.frames.last_mut() {
            Some(frame) if frame.at_key => {
                if !frame.empty {
                    self.json.push(',');
                }
                true
            }
            _ => false,
        }
    }

    /// Writes one node and remembers where, if it has an anchor.
    fn write(&mut self, anchor: usize, node: impl FnOnce(&mut String)) -> Range<usize> {
        let start = self.json.len();
        node(&mut self.json);
        let range = start..self.json.len();
        self.remember(anchor, range.clone());
        range
    }

    fn remember(&mut self, anchor: usize, range: Range<usize>) {
        if anchor > 0 {
            if self.anchors.len() <= anchor {
                self.anchors.resize(anchor + 1, None);
            }
            self.anchors[anchor] = Some(range);
        }
    }

    fn key(&mut self, range: Range<usize>, line: usize) -> Result<(), Fault> {
        self.json.push(':');
        self.keys.push((range, line));
        if let Some(frame) = self.frames.last_mut() {
            frame.at_key = false;
            frame.empty = false;
        }
        Ok(())
    }

    /// `<<`: what follows is written like any value, then taken out again.
    fn merge_key(&mut self, line: usize) -> Result<(), Fault> {
        let end = self.json.len();
        if let Some(frame) = self.frames.last_mut() {
            let comma = usize::from(!frame.empty);
            self.json.truncate(end - comma);
            frame.merge_from = Some((end - comma, line));
            frame.at_key = false;
        }
        Ok(())
    }

    /// The comma before an item of a sequence.
    fn separate(&mut self) {
        if let Some(frame) = self.frames.last_mut().filter(|frame| !frame.mapping) {
            if !frame.empty {
                self.json.push(',');
            }
            frame.empty = false;
        }
    }

    fn value_done(&mut self) -> Result<(), Fault> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        frame.at_key = frame.mapping;
        if let Some((start, line)) = frame.merge_from.take() {
            frame.merges.push((self.json[start..].to_owned(), line));
            if self.anchors.iter().flatten().any(|range| range.end > start) {
                return Err("the value of a merge key (<<) holds an anchor".into());
            }
            self.json.truncate(start);
        }
        Ok(())
    }

    fn open(&mut self, bracket: char, anchor: usize) -> Result<(), Fault> {
        if self.at_key() {
            return Err("the key is not a string".into());
        }
        if self.frames.len() >= DEPTH_LIMIT {
            return Err("nested too deep".into());
        }
        self.separate();
        let mapping = bracket == '{';
        self.frames.push(Frame {
            start: self.json.len(),
            anchor,
            mapping,
            at_key: mapping,
            empty: true,
            keys: self.keys.len(),
            merge_from: None,
            merges: Vec::new(),
        });
        self.json.push(bracket);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(mut frame) = self.frames.pop() else { return Ok(()) };
        if frame.mapping {
            self.refuse_duplicates(frame.keys)?;
            self.merge(&mut frame)?;
            self.keys.truncate(frame.keys);
        }
        self.json.push(if frame.mapping { '}' } else { ']' });
        self.remember(frame.anchor, frame.start..self.json.len());
        self.value_done()
    }

    fn refuse_duplicates(&mut self, from: usize) -> Result<(), Fault> {
        let (json, keys) = (&self.json, &mut self.keys[from..]);
        keys.sort_unstable_by(|(a, line_a), (b, line_b)| {
            json[a.clone()].cmp(&json[b.clone()]).then(line_a.cmp(line_b))
        });
        let same =
            keys.windows(2).filter(|pair| json[pair[0].0.clone()] == json[pair[1].0.clone()]).map(
                |pair| (pair[1].1, format!("the key {} is there twice", &json[pair[1].0.clone()])),
            );
        for (line, message) in same {
            match &mut self.duplicates {
                Some(duplicates) => duplicates.push(format!("line {line}: {message}")),
                None => return Err(Fault { line: Some(line), message }),
            }
        }
        Ok(())
    }

    /// Adds to a mapping what its merge keys name and it does not say itself.
    fn merge(&mut self, frame: &mut Frame) -> Result<(), Fault> {
        for (text, line) in std::mem::take(&mut frame.merges) {
            let objects: Vec<Members<'_>> = if text.starts_with('[') {
                serde_json::from_str(&text).map_err(|_| not_a_mapping(line))?
            } else {
                vec![serde_json::from_str(&text).map_err(|_| not_a_mapping(line))?]
            };
            for (key, value) in objects.into_iter().flatten() {
                let mut written = String::new();
                string(&mut written, &key);
                let known =
                    |(range, _): &(Range<usize>, usize)| self.json[range.clone()] == written;
                if self.keys[frame.keys..].iter().any(known) {
                    continue;
                }
                if !std::mem::replace(&mut frame.empty, false) {
                    self.json.push(',');
                }
                let start = self.json.len();
                self.json.push_str(&written);
                self.keys.push((start..self.json.len(), 0));
                self.json.push(':');
                self.json.push_str(value.get());
            }
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Fault> {
        // The parser refuses an alias without an anchor: one without text is still being written.
        let Some(range) = self.anchors.get(anchor).cloned().flatten() else {
            return Err("the alias stands within its own anchor".into());
        };
        self.aliased += range.len();
        if self.aliased > ALIAS_LIMIT {
            return Err("the aliases expand to too much".into());
        }
        let text = self.json[range].to_owned();
        if self.at_key() {
            if !text.starts_with('"') {
                return Err("the key is not a string".into());
            }
            let key = self.write(0, |json| json.push_str(&text));
            return self.key(key, line);
        }
        self.separate();
        self.json.push_str(&text);
        self.value_done()
    }
}

type Members<'a> = std::collections::BTreeMap<String, &'a RawValue>;

fn not_a_mapping(line: usize) -> Fault {
    let message = "the value of a merge key (<<) is not a mapping".to_owned();
    Fault { line: Some(line), message }
}

/// Whether a scalar's text decides its type.
fn plain_type(style: ScalarStyle, tag: Option<&Tag>) -> bool {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() => {
            matches!(tag.suffix.as_str(), "int" | "float" | "bool" | "null")
        }
        _ => style == ScalarStyle::Plain,
    }
}

/// A plain scalar: null, a boolean, a number, or else a string.
fn plain(json: &mut String, text: &str) {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => json.push_str("null"),
        "true" | "True" | "TRUE" => json.push_str("true"),
        "false" | "False" | "FALSE" => json.push_str("false"),
        _ if is_json_number(text) => json.push_str(text),
        _ => match radix_number(text) {
            Some(number) => json.push_str(&number.to_string()),
            None => string(json, text),
        },
    }
}

/// Whether a text is a number in JSON's grammar, which is also one in YAML's.
fn is_json_number(text: &str) -> bool {
    let digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

/// `0x1F90` and `0o17620`.
fn radix_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.get(..2)? {
        "0x" => (&text[2..], 16),
        "0o" => (&text[2..], 8),
        _ => return None,
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// A JSON string.
fn string(json: &mut String, text: &str) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    json.push('"');
    if text.bytes().any(special) {
        for c in text.chars() {
            match c {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                '\n' => json.push_str("\\n"),
                c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => json.push(c),
            }
        }
    } else {
        json.push_str(text);
    }
    json.push('"');
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;

//! Parses the text of files into objects, on all processors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decode::{DecodedObjects, Decoder, ListKind};
use super::problem::Reason;
use super::split::{self, Piece};
use crate::yaml;

/// About how much text one thread takes at a time, in bytes.
const PIECE_SIZE: usize = 256 << 10;

/// The text of a file.
#[derive(Debug)]
pub(super) struct FileText {
    /// The file, as it was named.
    pub(super) name: Arc<str>,
    /// What it holds.
    pub(super) text: String,
}

/// A piece of a document, to be parsed on its own.
struct ParseUnit<'a> {
    file: usize,
    document: usize,
    work: Work<'a>,
}

enum Work<'a> {
    Yaml(Piece<'a>),
    /// Items of the list in `whole`, from the one with this index.
    YamlItems {
        list: ListKind,
        first: usize,
        piece: Piece<'a>,
        whole: Piece<'a>,
    },
    Json(&'a str),
    JsonItems {
        list: ListKind,
        first: usize,
        items: Vec<&'a RawValue>,
    },
    /// The document is not JSON.
    Bad(String),
}

/// Parses each file.
pub(super) fn parse(files: &[FileText], node_name: &str) -> Vec<DecodedObjects> {
    parse_in_pieces(files, node_name, PIECE_SIZE)
}

fn parse_in_pieces(files: &[FileText], node_name: &str, size: usize) -> Vec<DecodedObjects> {
    let mut units = Vec::new();
    for (file, FileText { text, .. }) in files.iter().enumerate() {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with(['{', '[']) {
            json_units(file, text, size, &mut units);
        } else {
            yaml_units(file, text, size, &mut units);
        }
    }
    let total: usize = files.iter().map(|file| file.text.len()).sum();
    let threads = match total / size {
        0 => 1,
        pieces => thread::available_parallelism().map_or(1, usize::from).min(pieces),
    };
    let run = |unit: &ParseUnit<'_>| unit.run(&files[unit.file].name, node_name);
    let results = in_parallel(&units, threads, run);

    // A document of which a piece could not be read on its own is read again in one.
    let mut whole: BTreeMap<(usize, usize), Option<Piece<'_>>> = BTreeMap::new();
    for (unit, result) in units.iter().zip(&results) {
        if let (Work::YamlItems { whole: piece, .. }, None) = (&unit.work, result) {
            whole.insert((unit.file, unit.document), Some(*piece));
        }
    }
    let mut parsed: Vec<DecodedObjects> = files.iter().map(|_| DecodedObjects::default()).collect();
    for (unit, result) in units.iter().zip(results) {
        let into = &mut parsed[unit.file];
        match whole.get_mut(&(unit.file, unit.document)) {
            None => into.append(result.unwrap_or_default()),
            Some(piece) => {
                if let Some(piece) = piece.take() {
                    let unit = ParseUnit { work: Work::Yaml(piece), ..*unit };
                    into.append(run(&unit).unwrap_or_default());
                }
            }
        }
    }
    parsed
}

/// Runs a function on every item; the results are in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    function: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if threads < 2 {
        return items.iter().map(function).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match items.get(index) {
                Some(item) => done.push((index, function(item))),
                None => return done,
            }
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for worker in workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn yaml_units<'a>(file: usize, text: &'a str, size: usize, units: &mut Vec<ParseUnit<'a>>) {
    for document in split::documents(text) {
        let whole = document.piece;
        match yaml_list(whole, size) {
            None => {
                units.push(ParseUnit { file, document: document.number, work: Work::Yaml(whole) })
            }
            Some((list, pieces)) => units.extend(pieces.into_iter().map(|(first, piece)| {
                let work = Work::YamlItems { list: list.clone(), first, piece, whole };
                ParseUnit { file, document: document.number, work }
            })),
        }
    }
}

/// The pieces of a long document that is a list.
fn yaml_list(document: Piece<'_>, size: usize) -> Option<(ListKind, Vec<(usize, Piece<'_>)>)> {
    let list = split::split_list(document, size)?;
    let frame = yaml::to_json(&list.frame).ok()??;
    let frame: ListFrame<'_> = serde_json::from_str(&frame).ok()?;
    let kind = ListKind::of(frame.api_version.as_deref(), frame.kind.as_deref())?;
    // Items that the cut has left behind show that it was wrong.
    frame.items.is_none().then_some((kind, list.items))
}

/// A list and its items, read in one go.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListFrame<'a> {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// Cuts JSON values that follow one another, and long lists into pieces.
fn json_units<'a>(file: usize, text: &'a str, size: usize, units: &mut Vec<ParseUnit<'a>>) {
    let mut at = 0;
    for document in 1.. {
        let rest = &text[at..];
        if rest.trim_start().is_empty() {
            return;
        }
        let mut frames = serde_json::Deserializer::from_str(rest).into_iter::<ListFrame<'_>>();
        if let Some(Ok(frame)) = frames.next()
            && rest.as_bytes().iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
        {
            let raw = &rest[..frames.byte_offset()];
            at += frames.byte_offset();
            let list = ListKind::of(frame.api_version.as_deref(), frame.kind.as_deref());
            match (list, frame.items) {
                (Some(list), Some(items)) if raw.len() > size => {
                    // As many items a piece as make its size on average.
                    let count = (items.len() * size / raw.len()).max(1);
                    units.extend(items.chunks(count).enumerate().map(|(index, items)| {
                        let (list, items) = (list.clone(), items.to_vec());
                        let work = Work::JsonItems { list, first: index * count, items };
                        ParseUnit { file, document, work }
                    }));
                }
                _ => units.push(ParseUnit { file, document, work: Work::Json(raw) }),
            }
            continue;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        match values.next() {
            Some(Ok(value)) => {
                at += values.byte_offset();
                units.push(ParseUnit { file, document, work: Work::Json(value.get()) });
            }
            Some(Err(error)) => {
                let lines_before = text[..at].matches('\n').count();
                let message = json_message(&error, lines_before);
                units.push(ParseUnit { file, document, work: Work::Bad(message) });
                return;
            }
            None => return,
        }
    }
}

/// The decoder's message, with the line counted from the start of the file.
fn json_message(error: &serde_json::Error, lines_before: usize) -> String {
    let message = error.to_string();
    let text = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    format!("line {}, column {}: {text}", lines_before + error.line(), error.column())
}

impl ParseUnit<'_> {
    /// Parses the unit; `None` if its whole document must be parsed in one.
    fn run(&self, file: &Arc<str>, node_name: &str) -> Option<DecodedObjects> {
        let decoder = Decoder { file, document: self.document, node_name };
        let bad = |reason| DecodedObjects {
            problems: vec![decoder.problem(None, None, reason)],
            ..DecodedObjects::default()
        };
        Some(match &self.work {
            Work::Yaml(piece) => match yaml::to_json(piece.text) {
                Ok(None) => DecodedObjects::default(),
                Ok(Some(json)) => decoder.document(&json),
                Err(mut error) => {
                    error.line += piece.lines_before;
                    bad(Reason::NotYaml(error.to_string()))
                }
            },
            Work::YamlItems { list, first, piece, .. } => {
                let json = yaml::to_json(piece.text).ok()??;
                let items: Vec<&RawValue> = serde_json::from_str(&json).ok()?;
                decoder.items(list, *first, items)
            }
            Work::Json(json) => decoder.document(json),
            Work::JsonItems { list, first, items } => {
                decoder.items(list, *first, items.iter().copied())
            }
            Work::Bad(message) => bad(Reason::NotJson(message.clone())),
        })
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

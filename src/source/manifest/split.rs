//! Splits a YAML stream into pieces that can be parsed separately, and so on all processors.
//!
//! Between documents the cut is exact: a line that begins with `---` or `...` is a marker wherever it
//! stands, within block scalars and quotes too. Between the items of a List it is a guess that cannot
//! go wrong silently: a cut within quotes or brackets leaves the piece before it unfinished, and a piece
//! that does not parse has its whole document parsed in one.

/// One document of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Counted from 1. Comments before the first `---` are no document, nothing between two `---` is one.
    pub(super) number: usize,
    pub(super) piece: Piece<'a>,
}

/// A text and the number of lines before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) lines_before: usize,
}

/// A List in block style, cut between items.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListPieces<'a> {
    /// The document without its items.
    pub(super) frame: String,
    /// Sequences of items, and the index of the first item of each.
    pub(super) items: Vec<(usize, Piece<'a>)>,
}

/// The documents of a stream.
pub(super) fn documents(stream: &str) -> Vec<Document<'_>> {
    // The start of each piece, and whether a `---` stands there.
    let mut starts = vec![(0, is_marker(stream, "---"))];
    let mut markers: Vec<(usize, bool)> = Vec::new();
    for (line, begins) in [("\n---", true), ("\n...", false)] {
        let found = stream.match_indices(line).map(|(at, _)| at + 1);
        let found = found.filter(|at| is_marker(&stream[*at..], &line[1..]));
        markers.extend(found.map(|at| (at, begins)));
    }
    markers.sort_unstable();
    for (at, begins) in markers {
        if !begins {
            let line = stream[at..].find('\n').map_or(stream.len(), |end| at + end + 1);
            starts.push((line, false));
            continue;
        }
        match starts.last_mut() {
            // Directives and comments belong to the document that follows.
            Some((start, marked @ false)) if is_prologue(&stream[*start..at]) => *marked = true,
            _ => starts.push((at, true)),
        }
    }

    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([stream.len()]);
    let mut documents: Vec<Document<'_>> = Vec::new();
    let (mut lines_before, mut counted_to) = (0, 0);
    for ((start, marked), end) in starts.iter().copied().zip(ends) {
        let text = &stream[start..end];
        if !marked && is_prologue(text) {
            continue;
        }
        lines_before += count_lines(&stream[counted_to..start]);
        counted_to = start;
        documents
            .push(Document { number: documents.len() + 1, piece: Piece { text, lines_before } });
    }
    documents
}

fn is_marker(text: &str, marker: &str) -> bool {
    text.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a text holds nothing but directives, comments and blank lines.
fn is_prologue(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '%'])
    })
}

fn count_lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Cuts a document with a block sequence `items` into pieces of about `size` bytes; `None` when it is
/// shorter or looks otherwise.
pub(super) fn split_list(document: Piece<'_>, size: usize) -> Option<ListPieces<'_>> {
    let text = document.text;
    if text.len() <= size {
        return None;
    }
    let key = if text.starts_with("items:") { 0 } else { text.find("\nitems:")? + 1 };
    let first = key + text[key..].find('\n')? + 1;
    if text[key + "items:".len()..first].trim() != "" {
        return None;
    }
    let item = text[first..].lines().find(|line| !is_prologue(line))?;
    let indent = item.len() - item.trim_start_matches(' ').len();

    let mut items = Vec::new();
    let line_numbers = document.lines_before + count_lines(&text[..first])..;
    let (mut index, mut at) = (0, first);
    let mut piece = (0, first, line_numbers.start);
    for (line_number, line) in line_numbers.zip(text[first..].split_inclusive('\n')) {
        match at_indent(line, indent) {
            Some(b'-') => {
                if at - piece.1 >= size {
                    items.push(cut(text, piece, at));
                    piece = (index, at, line_number);
                }
                index += 1;
            }
            Some(b' ') if index > 0 => {}
            _ if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
            _ => break,
        }
        at += line.len();
    }
    if index == 0 {
        return None;
    }
    items.push(cut(text, piece, at));
    Some(ListPieces { frame: format!("{}{}", &text[..first], &text[at..]), items })
}

fn cut(text: &str, piece: (usize, usize, usize), end: usize) -> (usize, Piece<'_>) {
    let (index, start, lines_before) = piece;
    (index, Piece { text: &text[start..end], lines_before })
}

/// The byte behind the indentation, if the line is indented so far.
fn at_indent(line: &str, indent: usize) -> Option<u8> {
    let line = line.as_bytes();
    let byte = *line.get(indent)?;
    line[..indent].iter().all(|byte| *byte == b' ').then_some(byte)
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;

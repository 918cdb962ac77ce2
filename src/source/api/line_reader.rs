//! Splits a streamed response into lines.

use std::io;

use futures_util::{AsyncBufRead, AsyncBufReadExt};

/// The longest line. etcd takes objects of 1.5 MB.
const LONGEST: usize = 16 << 20;

/// Reads lines and keeps one.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new() }
    }

    /// The next line that is not empty; `None` at the end. Half a line at the end is an error, like a
    /// connection that breaks.
    pub(super) async fn next(&mut self) -> io::Result<Option<&str>> {
        self.line.clear();
        loop {
            let part = self.reader.fill_buf().await?;
            if part.is_empty() {
                if self.line.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended within a line"));
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            self.line.extend_from_slice(&part[..end.unwrap_or(part.len())]);
            let used = end.map_or(part.len(), |end| end + 1);
            self.reader.consume_unpin(used);
            if self.line.len() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
            }
            if end.is_some() && !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let text = std::str::from_utf8(&self.line);
        text.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

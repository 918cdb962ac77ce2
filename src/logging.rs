//! A non-blocking writer of log lines to standard error. A reader may be slow or have stopped, as a log shipper
//! does that hangs: lines are dropped rather than waited for.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may wait.
const QUEUE_LIMIT: usize = 1 << 20;

/// How many lines nobody will ever read, since weir has started.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// The queue of standard error.
static STDERR: OnceLock<LogQueue> = OnceLock::new();

/// Lines that wait to be written. Clones are of one queue.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue(Arc<LogBuffer>);

#[derive(Debug)]
struct LogBuffer {
    limit: usize,
    state: Mutex<BufferedLines>,
    /// A line has come, or has been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct BufferedLines {
    lines: VecDeque<Vec<u8>>,
    /// How long these are together.
    bytes: usize,
    /// How many were dropped since that was last said.
    dropped: u64,
    is_writing: bool,
}

/// How many lines of the log were dropped since weir has started.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The queue of standard error; a thread of its own writes what is in there.
pub(crate) fn stderr() -> LogQueue {
    STDERR.get_or_init(|| LogQueue::new(io::stderr(), QUEUE_LIMIT)).clone()
}

impl LogQueue {
    /// A queue to a writer, which may block, with room for so many bytes.
    fn new(writer: impl Write + Send + 'static, limit: usize) -> Self {
        let state = Mutex::new(BufferedLines::default());
        let queue = Self(Arc::new(LogBuffer { limit, state, changed: Condvar::new() }));
        let lines = queue.clone();
        let thread = thread::Builder::new().name("weir-log".to_owned());
        // Without the thread, as where there may be no more, nothing is logged, and that is counted.
        if thread.spawn(move || lines.write_all(writer)).is_err() {
            queue.lock().bytes = limit;
        }
        queue
    }

    /// Queues a line, including its newline, if there is room for it.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes.saturating_add(line.len()) > self.0.limit {
            state.drop_line();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    /// Waits until all is written that has been pushed, but not for longer than this.
    pub(crate) fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut BufferedLines| state.is_writing || !state.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(self.lock(), limit, is_busy));
    }

    /// Writes line after line, for good.
    fn write_all(&self, mut writer: impl Write) {
        loop {
            let line = self.next();
            let is_written = writer.write_all(&line).and_then(|()| writer.flush()).is_ok();
            let dropped = {
                let mut state = self.lock();
                state.is_writing = false;
                state.bytes -= line.len();
                if is_written { std::mem::take(&mut state.dropped) } else { state.drop_line() }
            };
            self.0.changed.notify_all();
            if dropped > 0 {
                // Where they are missing: behind what had room.
                warn!(lines = dropped, "the log has a gap: these were dropped, as nobody read it");
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.is_writing = true;
                return line;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BufferedLines> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferedLines {
    /// Counts a dropped line that has not been reported.
    fn drop_line(&mut self) -> u64 {
        self.dropped += 1;
        DROPPED.fetch_add(1, Ordering::Relaxed);
        0
    }
}

/// A line comes in one piece.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a LogQueue;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
#[path = "logging_tests.rs"]
mod tests;

use std::sync::mpsc;

use super::*;

/// Reads a line on command, and returns it.
struct LogReader {
    may: mpsc::Receiver<()>,
    taken: mpsc::Sender<Vec<u8>>,
}

impl Write for LogReader {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A reader that has gone reads no more.
        self.may.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.taken.send(line.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn queue(limit: usize) -> (LogQueue, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
    let (allow, may) = mpsc::channel();
    let (taken, lines) = mpsc::channel();
    (LogQueue::new(LogReader { may, taken }, limit), allow, lines)
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a writer that blocks does so by the clock of the machine"
)]
fn a_reader_that_stalls_loses_lines_and_holds_nobody_up() {
    let (queue, allow, lines) = queue(100);
    let before = dropped_lines();
    for number in 0..1000 {
        queue.push(format!("line {number:04}\n").as_bytes());
    }
    assert!(dropped_lines() >= before + 990, "{}", dropped_lines());
    let start = std::time::Instant::now();
    queue.flush(Duration::from_millis(50));
    assert!(start.elapsed() >= Duration::from_millis(50));
    // What had room comes, in order.
    for number in 0..10 {
        allow.send(()).expect("it waits");
        let line = lines.recv().expect("a line");
        assert_eq!(line, format!("line {number:04}\n").into_bytes());
    }
    queue.flush(Duration::from_secs(60));
    assert!(queue.lock().lines.is_empty() && queue.lock().dropped == 0);
    // And there is room again.
    queue.push(b"more\n");
    allow.send(()).expect("it waits");
    assert_eq!(lines.recv().expect("a line"), b"more\n");
}

#[test]
fn a_reader_that_has_gone_is_no_trouble() {
    let (queue, allow, lines) = queue(100);
    drop((allow, lines));
    for _ in 0..100 {
        queue.push(b"to nobody\n");
    }
    queue.flush(Duration::from_secs(60));
    assert_eq!(queue.lock().bytes, 0);
}

//! Waits for an effect, with a timeout.

use std::thread;
use std::time::{Duration, Instant};

/// Looks again and again until `look` sees something, and gives that back; `None` after `limit`.
pub fn eventually<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // Leaves the processor to what is waited for; it decides nothing.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `holds` is true.
///
/// # Panics
/// If it does not come true within `limit`: with `what`.
pub fn wait_for(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    assert!(
        eventually(limit, || holds().then_some(())).is_some(),
        "waited {limit:?} in vain for: {what}"
    );
}

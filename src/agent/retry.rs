//! Retries what has failed.

use std::time::Duration;

use crate::backoff::Backoff;

/// Whether something fails, why, and when to try it again.
#[derive(Default)]
pub(super) struct RetryState {
    backoff: Backoff,
    last_error: Option<String>,
}

impl RetryState {
    pub(super) fn is_failing(&self) -> bool {
        self.last_error.is_some()
    }

    /// Whether it fails and is to be tried now.
    pub(super) fn is_due(&self) -> bool {
        self.is_failing() && self.backoff.is_over()
    }

    /// Records a success; returns whether it failed before.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(self).is_failing()
    }

    /// Records a failure; returns its text unless it is the same as before. It is tried again after
    /// at most `longest`.
    pub(super) fn failed(&mut self, text: String, longest: Duration) -> Option<&str> {
        self.backoff.next(longest);
        let is_news = self.last_error.as_ref() != Some(&text);
        let text = self.last_error.insert(text);
        is_news.then_some(text.as_str())
    }
}

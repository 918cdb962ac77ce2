//! What the demo says, and whether it found all as it should be.

use std::fmt::Display;

/// Prints as it goes and remembers what failed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    checks: usize,
    failures: Vec<String>,
}

impl Report {
    /// Counts a check; a failed one is named at once and again at the end.
    pub(crate) fn check(&mut self, holds: bool, claim: impl Display) {
        self.checks += 1;
        if !holds {
            println!("  FAILED: {claim}");
            self.failures.push(claim.to_string());
        }
    }

    /// A check that says itself what is wrong; gives back what it yields.
    pub(crate) fn expect<T>(&mut self, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => {
                self.checks += 1;
                Some(value)
            }
            Err(failure) => {
                self.check(false, failure);
                None
            }
        }
    }

    /// The last words; true if all checks held.
    pub(crate) fn conclude(&self) -> bool {
        if self.failures.is_empty() {
            println!("All {} checks passed.", self.checks);
            return true;
        }
        println!("{} of {} checks FAILED:", self.failures.len(), self.checks);
        for failure in &self.failures {
            println!("  {failure}");
        }
        false
    }
}

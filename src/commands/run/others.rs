//! Who has changed weir's tables, for messages.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::kernel::Heard;

/// So many processes are named.
const MOST_NAMED: usize = 8;

/// Who has changed weir's tables since it was last told.
#[derive(Debug, Default)]
pub(super) struct Others {
    names: BTreeSet<String>,
    has_more: bool,
}

impl Others {
    pub(super) fn note(&mut self, heard: &Heard) {
        for commit in &heard.commits {
            match &commit.by {
                Some(process) if self.names.len() < MOST_NAMED => {
                    self.names.insert(process.to_string());
                }
                _ => self.has_more = true,
            }
        }
    }

    /// Tells who it was, and when the next repair comes if it is to wait.
    pub(super) fn take_text(&mut self, pause: Option<Duration>) -> String {
        let Self { names, has_more } = std::mem::take(self);
        let mut who: Vec<String> = names.into_iter().collect();
        if has_more && !who.is_empty() {
            who.push("others".to_owned());
        }
        let who = if who.is_empty() { "somebody else".to_owned() } else { who.join(", ") };
        let has = if who.contains(", ") { "have" } else { "has" };
        let mut text = format!("{who} {has} changed weir's tables; they are as they were again");
        if let Some(pause) = pause {
            let pause = pause.as_secs();
            text.push_str(&format!(
                ". This goes on and on: until it ends, weir repairs them only {pause} s later"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{ForeignCommit, Process, Suspects};

    fn heard(names: &[&str]) -> Heard {
        let commit = |name: &&str| ForeignCommit {
            by: Some(Process { pid: 7, name: (*name).to_owned() }),
            changed: Suspects::default(),
        };
        Heard { commits: names.iter().map(commit).collect(), ..Heard::default() }
    }

    #[test]
    fn everybody_is_named_once() {
        let mut others = Others::default();
        others.note(&heard(&["nft", "firewalld", "nft"]));
        let text = "firewalld (pid 7), nft (pid 7) have changed weir's tables; they are as they were again";
        assert_eq!(others.take_text(None), text);
        let text = "somebody else has changed weir's tables; they are as they were again";
        assert_eq!(others.take_text(None), text, "told only once");
    }

    #[test]
    fn a_pause_is_told() {
        let mut others = Others::default();
        others.note(&heard(&["nft"]));
        let text = others.take_text(Some(Duration::from_secs(4)));
        assert!(
            text.starts_with("nft (pid 7) has changed") && text.ends_with("only 4 s later"),
            "{text}"
        );
    }
}

//! Reads and writes numbers in /proc and /sys.

use std::path::Path;
use std::{fs, io};

/// A number that a file of /proc or /sys should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sysctl {
    /// The file, from the root on, without a leading slash.
    pub path: &'static str,
    /// What it should hold.
    pub value: i64,
    /// Whether to set it where the file holds more.
    pub may_lower: bool,
}

/// What came of setting one.
#[derive(Debug)]
pub enum SysctlOutcome {
    /// The file held the value already.
    Equal,
    /// The file holds it now.
    Set {
        /// What it held before.
        before: i64,
    },
    /// The file holds more, which is left so.
    Left {
        /// What it holds.
        found: i64,
    },
    /// The file could not be read or written.
    Failed(io::Error),
}

impl Sysctl {
    /// Has the file below this root hold the value. It is written only if it has to be, so that a
    /// file that is read-only and right is no failure.
    pub fn set(&self, root: &Path) -> SysctlOutcome {
        self.try_set(&root.join(self.path)).unwrap_or_else(SysctlOutcome::Failed)
    }

    fn try_set(&self, file: &Path) -> io::Result<SysctlOutcome> {
        let found = fs::read_to_string(file)?;
        let found: i64 = found.trim().parse().map_err(io::Error::other)?;
        if found == self.value {
            return Ok(SysctlOutcome::Equal);
        }
        if found > self.value && !self.may_lower {
            return Ok(SysctlOutcome::Left { found });
        }
        fs::write(file, self.value.to_string())?;
        Ok(SysctlOutcome::Set { before: found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_only_if_it_has_to_and_may_be() {
        const UP: bool = false;
        const ANY: bool = true;
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("knob");
        for (held, value, may_lower, done, holds) in [
            ("5\n", 7, UP, "Set { before: 5 }", "7"),
            ("7\n", 7, UP, "Equal", "7\n"),
            ("9\n", 7, UP, "Left { found: 9 }", "9\n"),
            ("9\n", 7, ANY, "Set { before: 9 }", "7"),
            ("0\n", -7, ANY, "Set { before: 0 }", "-7"),
        ] {
            fs::write(&file, held).unwrap();
            let knob = Sysctl { path: "knob", value, may_lower };
            assert_eq!(format!("{:?}", knob.set(root.path())), done);
            assert_eq!(fs::read_to_string(&file).unwrap(), holds);
        }
        fs::write(&file, "max").unwrap();
        let knob = Sysctl { path: "knob", value: 1, may_lower: ANY };
        assert!(matches!(knob.set(root.path()), SysctlOutcome::Failed(_)), "not a number");
        let knob = Sysctl { path: "none", ..knob };
        assert!(matches!(knob.set(root.path()), SysctlOutcome::Failed(_)), "no file");
    }
}

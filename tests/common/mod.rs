//! Shared by the tests of the agent.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A pair of `rules/golden/`: manifests, and the ruleset that they must give.
pub(crate) struct Golden {
    /// The manifest file.
    pub(crate) manifest: PathBuf,
    /// The options of its line `# weir print …`.
    pub(crate) options: Vec<String>,
    /// The file with the ruleset.
    pub(crate) ruleset: PathBuf,
}

impl Golden {
    /// All pairs, by name.
    pub(crate) fn all() -> Vec<Golden> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/golden");
        let mut manifests: Vec<PathBuf> = std::fs::read_dir(&folder)
            .expect("rules/golden is there")
            .map(|entry| entry.expect("it can be read").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .collect();
        manifests.sort();
        assert!(manifests.len() >= 15, "{} pairs", manifests.len());
        manifests.into_iter().map(Golden::read).collect()
    }

    fn read(manifest: PathBuf) -> Golden {
        let text = std::fs::read_to_string(&manifest).expect("it can be read");
        let options = text
            .lines()
            .find_map(|line| line.strip_prefix("# weir print"))
            .unwrap_or_else(|| panic!("{}: no line `# weir print …`", manifest.display()));
        let options = options.split_whitespace().map(str::to_owned).collect();
        let ruleset = manifest.with_extension("nft");
        Golden { manifest, options, ruleset }
    }

    /// `weir COMMAND` with the manifest and its options.
    pub(crate) fn weir(&self, command: &str) -> Command {
        let mut weir = weir();
        weir.arg(command).arg("-f").arg(&self.manifest).args(&self.options);
        weir
    }

    /// The pair's name.
    pub(crate) fn name(&self) -> String {
        self.manifest.file_stem().expect("it has a name").to_string_lossy().into_owned()
    }
}

/// The program.
pub(crate) fn weir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir"))
}

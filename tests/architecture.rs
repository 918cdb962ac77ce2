//! docs/architecture.md says which module may import which: the code keeps to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// By module, the modules that it imports; those of `weir-rules` are `rules/NAME` to others.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn modules_import_what_the_page_says_and_nothing_else() {
    let mut imports = imports("src", "crate::", "");
    for (module, of_rules) in self::imports("src", "weir_rules::", "rules/") {
        imports.entry(module).or_default().extend(of_rules);
    }
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("the page");
    assert_eq!(table(&page, "src/"), imports, "left: the page; right: src/");
    let imports = self::imports("rules/src", "crate::", "");
    assert_eq!(table(&page, "rules/src/"), imports, "left: the page; right: rules/src/");
}

#[test]
fn no_module_is_reached_from_what_it_imports() {
    for folder in ["src", "rules/src"] {
        let mut left = imports(folder, "crate::", "");
        // Takes those away that import nothing which is still there.
        loop {
            let names: BTreeSet<String> = left.keys().cloned().collect();
            let before = left.len();
            left.retain(|_, imported| !imported.is_disjoint(&names));
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "modules of {folder} that import each other: {left:?}");
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::one::{self, crate_two};\nuse crate::{three, four::{Five, six}};\n\
                fn f() { crate::seven::eight() } // crate::nine\n#[cfg(test)]\nmod tests { use crate::ten; }";
    let found = modules(text, "crate::");
    assert_eq!(found, ["four", "one", "seven", "three"].map(str::to_owned).into());
}

/// What each module at the top of a folder imports, but for what it has for its tests.
fn imports(folder: &str, prefix: &str, name: &str) -> Imports {
    let folder = root().join(folder);
    let mut imports = Imports::new();
    for file in sources(&folder) {
        let path = file.strip_prefix(&folder).expect("a file in the folder");
        let top = Path::new(path.iter().next().expect("a name")).with_extension("");
        let top = top.to_str().expect("UTF-8");
        let stem = path.file_stem().expect("a name").to_str().expect("UTF-8");
        // The roots have no place in the order, and tests may import anything.
        if ["lib", "main", "testing"].contains(&top) || is_for_tests(stem) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file");
        let mut found = modules(&text, prefix);
        if name.is_empty() {
            found.remove(top);
        }
        let found = found.iter().map(|module| format!("{name}{module}"));
        imports.entry(top.to_owned()).or_default().extend(found);
    }
    imports
}

fn is_for_tests(stem: &str) -> bool {
    stem == "tests" || stem == "testing" || stem.ends_with("_tests")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs"));
    folders.iter().flat_map(|folder| sources(folder)).chain(files).collect()
}

/// The modules that a text names behind this prefix, outside of comments and tests.
fn modules(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let code = code.split("#[cfg(test)]mod tests {").next().unwrap_or("");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let is_other_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if !is_other_word {
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(list) => found.extend(heads(list)),
                None => found.extend(head(rest)),
            }
        }
    }
    found
}

/// The first name of each entry of a list in braces.
fn heads(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.extend(head(list[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// The name that a text begins with, if it is a module's.
fn head(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let name = &text[..end];
    name.starts_with(|c: char| c.is_ascii_lowercase()).then(|| name.to_owned())
}

/// The rows of the page's tables for modules below a folder: what each may import.
fn table(page: &str, folder: &str) -> Imports {
    let mut rows = Imports::new();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    for (path, rest) in cells {
        let Some(module) = path.strip_prefix(folder) else { continue };
        let module = module.trim_end_matches('/').trim_end_matches(".rs");
        let last = rest.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell");
        let imported = last.split(", ").filter(|name| *name != "–").map(str::to_owned);
        let before = rows.insert(module.to_owned(), imported.collect());
        assert_eq!(before, None, "{path} has two rows");
    }
    rows
}

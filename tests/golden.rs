//! `weir print` of the manifests in `rules/golden/` against the rulesets beside them.
//!
//! After a change that is meant to change rulesets, `UPDATE_GOLDEN=1 cargo test --test golden`
//! writes them anew; read the difference before you commit it.

mod common;

use common::Golden;

#[test]
fn manifests_give_the_ruleset_beside_them() {
    let mut different = Vec::new();
    for golden in Golden::all() {
        let output = golden.weir("print").output().expect("weir runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", golden.name());
        let printed = String::from_utf8(output.stdout).expect("text");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden.ruleset, &printed).expect("it can be written");
        } else if std::fs::read_to_string(&golden.ruleset).ok().as_ref() != Some(&printed) {
            different.push(format!("{}:\n{printed}", golden.name()));
        }
    }
    assert!(different.is_empty(), "different from rules/golden:\n{}", different.join("\n"));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for golden in Golden::all() {
        let print = || golden.weir("print").output().expect("weir runs").stdout;
        assert!(print() == print(), "{}", golden.name());
    }
}

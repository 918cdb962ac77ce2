//! nft as the oracle: what weir programs over netlink and what nft loads of what weir prints are
//! the same.

use weir_testbed::{Netns, nft_programs};

use crate::common::Golden;
use crate::listing::{json, output, sorted};

/// A namespace in which weir has programmed the manifests.
fn programmed(golden: &Golden) -> Netns {
    let ns = Netns::new("programmed");
    let applied = output(&ns, golden.weir("apply"));
    let errors = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success(), "{}: {errors}", golden.name());
    ns
}

/// A namespace in which nft has loaded what weir prints of the manifests.
fn loaded(golden: &Golden, nft: &str) -> Netns {
    let ns = Netns::new("loaded");
    let text = std::fs::read_to_string(&golden.ruleset).expect("the ruleset is there");
    ns.cmd_with_input(nft, ["-f", "-"], &text);
    ns
}

/// Loads a ruleset, as a node does at boot, and gives what nft lists then.
fn load(nft: &str, ruleset: &str) -> String {
    let ns = Netns::new("saved");
    ns.cmd_with_input(nft, ["-f", "-"], ruleset);
    ns.cmd(nft, ["list", "ruleset"])
}

/// A node that saves its ruleset and loads it at boot has all of its firewall in that file.
#[test]
fn both_nft_load_what_they_list_and_list_the_same_again() {
    for golden in Golden::all() {
        let [older, newer] = nft_programs();
        let ns = programmed(&golden);
        // What the newer lists of a hook's priority the older does not take.
        for (lists, loads) in [(&older, &older), (&older, &newer), (&newer, &newer)] {
            let saved = ns.cmd(lists, ["list", "ruleset"]);
            let again = load(loads, &saved);
            let again = if lists == loads { again } else { load(lists, &saved) };
            assert_eq!(sorted(&again), sorted(&saved), "{} by {loads}", golden.name());
        }
    }
}

#[test]
fn programmed_and_loaded_tables_list_identically_under_both_nft() {
    for golden in Golden::all() {
        let programmed = programmed(&golden);
        for nft in nft_programs() {
            let loaded = loaded(&golden, &nft);
            let (ours, theirs) = (json(&programmed, &nft), json(&loaded, &nft));
            assert!(ours == theirs, "{} under {nft}:\n{ours:#}\n{theirs:#}", golden.name());
        }
    }
}

#[test]
fn nft_lists_what_weir_prints() {
    for golden in Golden::all() {
        let printed = std::fs::read_to_string(&golden.ruleset).expect("the ruleset is there");
        let [nft, _] = nft_programs();
        let listed = programmed(&golden).cmd(&nft, ["--stateless", "list", "ruleset"]);
        assert_eq!(sorted(&listed), sorted(&printed), "{}", golden.name());
    }
}

/// A map that nft 1.1.3 declares with `type` makes 1.0.6 crash.
#[test]
fn the_older_nft_lists_what_the_newer_one_loaded() {
    for golden in Golden::all() {
        let [older, newer] = nft_programs();
        let by_older = json(&loaded(&golden, &older), &older);
        let by_newer = json(&loaded(&golden, &newer), &older);
        assert!(by_older == by_newer, "{}", golden.name());
    }
}

#[test]
fn what_nft_loads_of_what_weir_prints_is_equal_to_the_manifests() {
    for golden in Golden::all() {
        for nft in nft_programs() {
            let ns = loaded(&golden, &nft);
            let diff = output(&ns, golden.weir("diff"));
            let lines = String::from_utf8_lossy(&diff.stdout);
            assert_eq!(diff.status.code(), Some(0), "{} under {nft}:\n{lines}", golden.name());
        }
    }
}

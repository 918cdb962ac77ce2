//! nft's listings, normalised for comparison.

use std::process::Output;

use serde_json::Value;
use weir_testbed::Netns;

/// Runs a program in a namespace, whatever becomes of it.
pub(crate) fn output(ns: &Netns, mut command: std::process::Command) -> Output {
    ns.run(|| command.output()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Everything that `nft --json list ruleset` shows, without the handles, which the kernel counts
/// up, and the version.
pub(crate) fn json(ns: &Netns, nft: &str) -> Value {
    let text = ns.cmd(nft, ["--json", "list", "ruleset"]);
    let mut value: Value = serde_json::from_str(&text).expect("nft prints JSON");
    let objects = value["nftables"].as_array_mut().expect("a list of objects");
    objects.retain(|object| object.get("metainfo").is_none());
    objects.iter_mut().for_each(without_handles);
    value
}

fn without_handles(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(without_handles);
        }
        Value::Array(items) => items.iter_mut().for_each(without_handles),
        _ => {}
    }
}

/// A listing as text with the elements of each set in order: nft prints them by the number that
/// their bytes make, which depends on the machine, weir by what they mean.
pub(crate) fn sorted(listing: &str) -> String {
    let mut out = String::new();
    let mut rest = listing;
    while let Some((before, after)) = rest.split_once("elements = { ") {
        let (elements, after) = after.split_once(" }\n").expect("the set ends");
        let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        out += &format!("{before}elements = {{ {} }}\n", elements.join(",\n"));
        rest = after;
    }
    out + rest
}

//! Hints about valid manifests that may not do what their author expects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assemble::{AcceptedObjects, File};
use crate::source::convert::Advisory;

/// How many objects a note names.
const NAMES: usize = 3;

/// The notes on what stands, then one on what no one reads.
pub(super) fn notes(files: &[Arc<File>], accepted: &AcceptedObjects) -> Vec<String> {
    let mut remarked: BTreeMap<Advisory, Vec<String>> = BTreeMap::new();
    for (key, kept) in &accepted.objects {
        for remark in &kept.value.remarks {
            let name = key.name.to_string();
            remarked.entry(*remark).or_default().push(name);
        }
    }
    let mut notes: Vec<String> =
        remarked.iter().map(|(remark, names)| note(*remark, names)).collect();
    notes.extend(others(files));
    notes
}

/// One line on what the objects of these names have in common.
pub(crate) fn note(remark: Advisory, names: &[String]) -> String {
    let one = names.len() == 1;
    let pick = |singular: &'static str, plural: &'static str| if one { singular } else { plural };
    let (kind, verb, what) = match remark {
        Advisory::NoClusterIp => {
            ("Service", pick("has", "have"), "no ClusterIP allocated and is left out")
        }
        Advisory::OtherFamily => (
            "Service",
            pick("has", "have"),
            "external addresses of a family without a ClusterIP, which are left out",
        ),
        Advisory::UnnamedPort => (
            "EndpointSlice",
            pick("has", "have"),
            "a port without a name, which is left out (an unnamed port has the name \"\")",
        ),
        Advisory::UnnumberedPort => {
            ("EndpointSlice", pick("has", "have"), "a port without a number, which is left out")
        }
        Advisory::Fqdn => ("EndpointSlice", pick("holds", "hold"), "FQDN addresses and is ignored"),
    };
    let what = if one { what.to_owned() } else { what.replace(" and is ", " and are ") };
    let plural = if one { "" } else { "s" };
    let listed = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > NAMES { ", …" } else { "" };
    format!("{} {kind}{plural} {verb} {what}: {listed}{more}", names.len())
}

/// How many objects of which other kinds there are.
fn others(files: &[Arc<File>]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, count) in files.iter().flat_map(|file| &file.content.others) {
        *counts.entry(kind).or_default() += count;
    }
    let total: usize = counts.values().sum();
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    let listed: Vec<String> =
        counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let objects = if total == 1 { "object of another kind" } else { "objects of other kinds" };
    (total > 0).then(|| format!("ignored {total} {objects}: {}", listed.join(", ")))
}

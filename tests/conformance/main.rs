//! What a Service may say and what a packet then meets: the cases in the `*.yaml` files beside this
//! one, each answered twice, by the packet interpreter and by the real kernel.
//!
//! # The node
//!
//! | host | addresses | |
//! |---|---|---|
//! | `node` | 192.0.2.1, towards its pods 10.244.0.1 | the Node `node-a`, in the zone `zone-a` |
//! | `client` | 10.244.0.9 | a pod on the node, behind the interface `pod1` |
//! | `b1` `b2` `b3` | 10.244.0.2, .3, .4 | pods on the node, behind `pod2` to `pod4` |
//! | `r1` | 10.244.1.5 | a pod on another node, reached by the interface `uplink` |
//! | `visitor` `stranger` | 198.51.100.7, .9 | hosts outside the cluster |
//!
//! All but the client, visitor and stranger answer at the ports 8080 and 8081, by TCP, UDP and SCTP.
//! 10.96.0.0/16 is the network of ClusterIPs; 203.0.113.0/24 leads to the node.
//!
//! # A file
//!
//! `manifests` hold for all its cases, beside the Node and the ServiceCIDR of [`case::CLUSTER`];
//! `options` are weir's. Each case may have other options, and has `changes`: merge patches of objects
//! by kind and name, or new objects. `delete` takes objects away, as `Service/web`. A `step` is a
//! further change, then packets again. What is left out of a manifest: `apiVersion`, and the
//! namespace, which is `default`.
//!
//! A packet says `from` which host, `to` what, by which `protocol` (TCP by default), each one or
//! several; and what comes of it: `expect: [b1, b2]`, one of these servers, each as probable as the
//! others, `refused` or `dropped`. With `sticky: true` all the packets of a row, several times over,
//! reach one and the same of these servers. `seen-as: self` or `node` is whose address the server sees, or,
//! where that differs, a word for each server.
//!
//! # Two families
//!
//! A case is written for IPv4 and runs for IPv6 as well, with the twin of each address
//! ([`twin`]): 10.96.0.7 is fd00:10:96::7, 10.244.1.5 is fd00:10:244:1::5, 192.0.2.1 is
//! 2001:db8::1, 198.51.100.7 is 2001:db8:51::7, 203.0.113.7 is 2001:db8:113::7. One with `families:
//! as-written` runs as it is.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]

mod case;
mod interpreter;
mod kernel;
mod twin;
mod yaml;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use case::{File, faults};

/// Prints and fails if there is anything to print.
fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_interpreter_gives_every_packet_what_its_case_says() {
    let mut failures = Vec::new();
    for file in File::all() {
        let mut before = None;
        for situation in file.situations() {
            let mut node = interpreter::Node::new(&situation);
            if let Some(before) = before.filter(|_| situation.continues) {
                node.go_on_from(&before);
            }
            let questions = &situation.questions;
            let answers = node.answers(questions);
            for (index, fault) in faults(questions, &answers) {
                let question = &questions[index];
                failures.push(format!("{situation}\n  {question}\n  interpreter: {fault}"));
            }
            before = Some(node);
        }
    }
    report(&failures);
}

#[test]
fn the_kernel_gives_every_packet_what_its_case_says() {
    let files = Mutex::new(File::all().into_iter());
    let failures = Mutex::new(Vec::new());
    let work = || {
        // Most of the time is waiting for what does not come.
        while let Some(file) = { files.lock().expect("no panic holds it").next() } {
            let found = kernel::run(&file);
            failures.lock().expect("no panic holds it").extend(found);
        }
    };
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(work);
        }
    });
    report(&failures.into_inner().expect("no panic holds it"));
}

/// The files of tests/kernel/ whose tests docs/behaviour.md names.
const KERNEL_TESTS: [&str; 9] = [
    "affinity",
    "conntrack",
    "drift",
    "drift_goes_on",
    "order",
    "own_commits",
    "pace",
    "tenants",
    "two_weirs",
];

/// The tests of a file of tests/kernel/, as docs/behaviour.md names them.
fn kernel_tests(module: &str) -> Vec<String> {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel"));
    let paths = folders
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path().join(format!("{module}.rs")));
    let path = paths.into_iter().find(|path| path.is_file()).expect("one folder has the file");
    let text = std::fs::read_to_string(path).expect("it can be read");
    let behind = text.split("#[test]\nfn ").skip(1);
    behind
        .map(|rest| format!("{module}::{}", &rest[..rest.find('(').expect("a function")]))
        .collect()
}

/// docs/behaviour.md names every case and those tests of the kernel, and none that is not there.
#[test]
fn the_documentation_names_the_cases() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/behaviour.md"));
    let text = text.expect("docs/behaviour.md is there");
    let named: BTreeSet<String> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            let test = word.split_once("::").filter(|(_, test)| !test.is_empty());
            let is_test = test.is_some_and(|(module, _)| KERNEL_TESTS.contains(&module));
            is_test || word.contains('/') && !word.contains(['.', ' '])
        })
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = File::all()
        .iter()
        .flat_map(|file| file.cases.iter().map(|case| format!("{}/{}", file.name, case.case)))
        .chain(KERNEL_TESTS.into_iter().flat_map(kernel_tests))
        .collect();
    let missing: Vec<_> = there.difference(&named).collect();
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not named: {missing:#?}; not there: {gone:#?}");
}

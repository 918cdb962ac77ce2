//! Benchmarks of the agent's I/O: decoding what the API server sends, and netlink.
//!
//! The kernel's part runs in a network namespace of its own, for which it needs to be root: under
//! `tests/tools/in-netns`, anybody is.

use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use weir::kernel::{Kernel, encoder};
use weir::source::convert;
use weir::source::object::EndpointSlice;
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::nft::Ruleset;
use weir_rules::testing::scale::{large, replace_endpoint};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;
use weir_testbed::Netns;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;
const NEW_ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A slice as the API server sends it.
fn slice() -> String {
    let endpoint = |number: u32| {
        json!({"addresses": [format!("10.128.0.{number}")], "nodeName": format!("node-{number}"),
               "conditions": {"ready": true, "serving": true, "terminating": false},
               "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("pod-{number}"),
                             "uid": format!("00000000-0000-4000-8000-{number:012x}")}})
    };
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": "svc-1-a", "namespace": "default", "resourceVersion": "7",
                     "labels": {"kubernetes.io/service-name": "svc-1"}},
        "addressType": "IPv4", "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    })
    .to_string()
}

fn decoding(criterion: &mut Criterion) {
    let text = slice();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("a slice of {ENDPOINTS} endpoints"), |b| {
        b.iter(|| {
            let slice: EndpointSlice<'_> = serde_json::from_str(&text).expect("a good object");
            convert::slice(&slice, "default").expect("a good object")
        });
    });
}

fn kernel(criterion: &mut Criterion) {
    let kernel = Netns::new("bench").run(|| Kernel::open().expect("there is nf_tables"));
    let (config, mut cluster) = (Config::new("bench"), large(SERVICES, ENDPOINTS));
    let before = compile(&cluster, &config);
    let load = diff(&Ruleset::default(), &before);
    replace_endpoint(&mut cluster, SERVICES / 2, NEW_ENDPOINT);
    let changed = compile(&cluster, &config);
    let after = assign_slots(&before, &changed);
    let (forth, back) = (diff(&before, &after), diff(&after, &before));
    let (mut encode, mut group) = (encoder(), criterion.benchmark_group("encode"));
    group.sample_size(20);
    group.bench_function("one endpoint replaced", |b| b.iter(|| encode(&forth)));
    group.bench_function(format!("load of {SERVICES} x {ENDPOINTS}"), |b| b.iter(|| encode(&load)));
    group.finish();

    kernel.commit(load, None).expect("the namespace is empty");
    let mut group = criterion.benchmark_group("kernel");
    group.sample_size(20);
    group.bench_function("commit: one endpoint replaced, and back", |b| {
        b.iter(|| {
            for transaction in [&forth, &back] {
                kernel.commit(transaction.clone(), None).expect("it fits to what is there");
            }
        });
    });
    group.bench_function(format!("dump of {SERVICES} x {ENDPOINTS}"), |b| {
        b.iter(|| kernel.dump().expect("nobody else is in the namespace"));
    });
}

criterion_group!(benches, decoding, kernel);
criterion_main!(benches);

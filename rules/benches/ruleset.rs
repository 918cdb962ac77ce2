//! Benchmarks of the pure part: compiling a cluster, and the transaction between two rulesets.

use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::nft::Ruleset;
use weir_rules::testing::scale::{large, replace_endpoint};
use weir_rules::transaction::diff::diff;
use weir_rules::transaction::slots::assign_slots;

/// Services and endpoints of each.
const SHAPES: [(u32, u32); 2] = [(1000, 10), (10_000, 10)];
const NEW_ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(20);
    for (services, endpoints) in SHAPES {
        let cluster = large(services, endpoints);
        let id = BenchmarkId::from_parameter(format!("{services}x{endpoints}"));
        group.bench_function(id, |b| b.iter(|| compile(&cluster, &Config::new("bench"))));
    }
}

fn comparing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diff");
    group.sample_size(20);
    for (services, endpoints) in SHAPES {
        let (config, mut cluster) = (Config::new("bench"), large(services, endpoints));
        let before = compile(&cluster, &config);
        replace_endpoint(&mut cluster, services / 2, NEW_ENDPOINT);
        let after = compile(&cluster, &config);
        let shape = format!("{services}x{endpoints}");
        group.bench_function(BenchmarkId::new("one endpoint replaced", &shape), |b| {
            b.iter(|| diff(&before, &assign_slots(&before, &after)));
        });
        group.bench_function(BenchmarkId::new("from nothing", &shape), |b| {
            b.iter(|| diff(&Ruleset::default(), &after));
        });
    }
}

criterion_group!(benches, compiling, comparing);
criterion_main!(benches);

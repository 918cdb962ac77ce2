use std::collections::BTreeMap;

use super::*;

/// The buckets of a histogram in the text, by family if it has such.
fn buckets(text: &str, name: &str) -> Vec<f64> {
    let start = format!("{name}_bucket{{");
    text.lines()
        .filter_map(|line| line.strip_prefix(&start))
        .filter(|line| !line.contains("IPv6"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok())
        .filter(|bound: &f64| bound.is_finite())
        .collect()
}

#[test]
fn histograms_have_kube_proxys_buckets() {
    let text = Metrics::default().text().unwrap();
    let sync = buckets(&text, "kubeproxy_sync_proxy_rules_duration_seconds");
    assert_eq!((sync.len(), sync[0], sync[14]), (15, 0.001, 16.384));
    let programming = buckets(&text, "kubeproxy_network_programming_duration_seconds");
    let expected = [
        0.0, 0.25, 0.5, 1.0, 2.0, // …
        59.0, 60.0, 65.0, // …
        115.0, 120.0, 150.0, 300.0,
    ];
    assert_eq!(programming.len(), 81);
    assert!(expected.iter().all(|bound| programming.contains(bound)), "{programming:?}");
    assert!(programming.is_sorted() && programming.last() == Some(&300.0));
    let update = buckets(&text, "weir_update_duration_seconds");
    assert_eq!((update[0], update[1], update.last()), (5e-5, 1e-4, Some(&10.0)));
}

#[test]
fn both_families_are_there_from_the_start() {
    let text = Metrics::default().text().unwrap();
    for line in [
        "# TYPE kubeproxy_sync_proxy_rules_nftables_sync_failures_total counter",
        r#"kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv6"} 0"#,
        r#"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="internal"} 0"#,
        r#"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 0"#,
        "kubeproxy_sync_proxy_rules_service_changes_pending 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("\nprocess_start_time_seconds "), "{text}");
    let build = text.lines().find(|line| line.starts_with("kubernetes_build_info{")).unwrap();
    assert!(build.contains(concat!("git_version=\"v", env!("CARGO_PKG_VERSION"), "\"")), "{build}");
}

/// The rows of docs/metrics.md: name to type and labels.
fn documented() -> BTreeMap<String, (String, String)> {
    let text = include_str!("../../../docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[0].trim_end_matches('`').to_owned();
        (name, (cells[1].to_owned(), cells[2].replace('`', "")))
    })
    .collect()
}

#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let metrics = Metrics::default();
    let entries = metrics.entries().iter();
    let mut there: BTreeMap<_, _> = entries
        .map(|entry| (entry.name.clone(), (entry.kind.to_owned(), entry.labels.join(", "))))
        .collect();
    let text = metrics.text().unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE process_"));
    there.extend(types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        (format!("process_{name}"), (kind.to_owned(), String::new()))
    }));
    assert_eq!(documented(), there);
}

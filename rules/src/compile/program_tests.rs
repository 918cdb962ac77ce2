use super::*;
use crate::cluster::Node;
use crate::config::DetectLocal;

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

/// The smaller network says what an address is; of two that are the same, that of ClusterIPs.
#[test]
fn networks_of_pods_are_cut_out_of_larger_ones_of_cluster_ips() {
    let cases: [[&[&str]; 3]; 7] = [
        [&["10.96.0.0/16"], &["10.244.0.0/16"], &["10.96.0.0/16"]],
        [&["10.0.0.0/8"], &["10.128.0.0/9"], &["10.0.0.0/9"]],
        [&["10.0.0.0/8"], &["10.0.0.0/10"], &["10.64.0.0/10", "10.128.0.0/9"]],
        [&["10.244.1.0/24"], &["10.244.0.0/16"], &["10.244.1.0/24"]],
        [&["10.244.0.0/16"], &["10.244.0.0/16"], &["10.244.0.0/16"]],
        // One within another: each time the smaller one.
        [&["10.0.0.0/8", "10.128.0.0/16"], &["10.128.0.0/9"], &["10.0.0.0/9", "10.128.0.0/16"]],
        [&["fd00::/8", "10.0.0.0/8"], &["fd80::/9"], &["fd00::/9", "10.0.0.0/8"]],
    ];
    for [services, pods, expected] in cases {
        for (detected, of_node) in [(pods, &[][..]), (&[][..], pods)] {
            let node = Node { addresses: vec![], zone: None, pod_cidrs: networks(of_node) };
            let service_cidrs = networks(services);
            let cluster = Cluster { node: Some(node), service_cidrs, ..Cluster::default() };
            let detect_local = DetectLocal::ClusterCidr(networks(detected));
            let config = Config { detect_local, ..Config::new("node-a") };
            let found = IpNet::aggregate(&service_networks(&cluster, &config));
            assert_eq!(found, IpNet::aggregate(&networks(expected)), "{services:?} {pods:?}");
        }
    }
}

#[test]
fn cutting_out_takes_no_more_pieces_than_there_are_bits() {
    let all = |text: &str| text.parse::<IpNet>().expect("a network");
    for (network, other, most) in [("0.0.0.0/0", "10.1.2.3/32", 32), ("::/0", "fd00::1/128", 128)] {
        let split = without(all(network), &[all(other)]);
        assert_eq!(split.len(), most);
        assert!(!split.iter().any(|piece| piece.contains(&all(other))));
    }
}

//! Packets that straddle a transaction: they come with the verdict from before it and meet the
//! endpoints from behind it. Here such a state stays, so that every packet is one of them.

use std::net::SocketAddr;

use weir_testbed::{Family, Protocol, Testbed, tally};

use crate::packets::{CLUSTER_CIDR, apply, at, bare_testbed, cases};

/// `web` with three endpoints on the node, at a ClusterIP by all of them, and at a node port by
/// those on the node.
const MANIFESTS: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: node-a}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: "2001:db8::1"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  clusterIPs: [10.96.0.10, "fd00:10:96::10"]
  externalTrafficPolicy: Local
  ports:
  - {name: tcp, protocol: TCP, port: 80, nodePort: 30080}
  - {name: udp, protocol: UDP, port: 80, nodePort: 30080}
  - {name: sctp, protocol: SCTP, port: 80, nodePort: 30080}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-ipv4, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: tcp, protocol: TCP, port: 8080}
- {name: udp, protocol: UDP, port: 8080}
- {name: sctp, protocol: SCTP, port: 8080}
endpoints:
- {addresses: ["10.244.0.2"], nodeName: node-a}
- {addresses: ["10.244.0.3"], nodeName: node-a}
- {addresses: ["10.244.0.4"], nodeName: node-a}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-ipv6, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports:
- {name: tcp, protocol: TCP, port: 8080}
- {name: udp, protocol: UDP, port: 8080}
- {name: sctp, protocol: SCTP, port: 8080}
endpoints:
- {addresses: ["fd00:10:244::2"], nodeName: node-a}
- {addresses: ["fd00:10:244::3"], nodeName: node-a}
- {addresses: ["fd00:10:244::4"], nodeName: node-a}
"#;

/// Who asks where.
fn questions(family: Family) -> [(&'static str, SocketAddr); 3] {
    let cluster_ip = at(family, "10.96.0.10", "fd00:10:96::10", 80);
    let node_port = at(family, "192.0.2.1", "2001:db8::1", 30080);
    [("client", cluster_ip), ("node", cluster_ip), ("visitor", node_port)]
}

/// Where the slots of a list for policy Local begin.
const LOCAL_SLOTS: u32 = 1 << 31;

/// A node on which `web` has been programmed with three endpoints at every destination, and then
/// these slots were taken away from every list.
fn without_slots(gone: &[u32]) -> Testbed {
    let bed = bare_testbed();
    apply(&bed, MANIFESTS, &[&["--hostname-override", "node-a"], &CLUSTER_CIDR[..]].concat());
    let delete = |table: &str, element: &str| {
        bed.node().nft(&format!("delete element {table} weir {element}"));
    };
    for (table, address) in [("ip", "10.96.0.10"), ("ip6", "fd00:10:96::10")] {
        for (protocol, slot) in Protocol::ALL.iter().flat_map(|p| gone.iter().map(move |s| (p, s)))
        {
            let local = LOCAL_SLOTS + slot;
            delete(table, &format!("endpoints {{ {address} . {protocol} . 80 . {slot} }}"));
            delete(table, &format!("nodeport-endpoints {{ {protocol} . 30080 . {slot} }}"));
            delete(table, &format!("nodeport-endpoints {{ {protocol} . 30080 . {local} }}"));
        }
    }
    bed
}

#[test]
fn whoever_draws_a_slot_that_has_gone_gets_an_endpoint_that_is_there() {
    for (gone, left) in [(&[2][..], &["b1", "b2"][..]), (&[1, 2], &["b1"])] {
        let bed = without_slots(gone);
        for (protocol, family) in cases() {
            for (from, to) in questions(family) {
                let tally = tally(bed.ns(from), protocol, to, 100);
                let served: u64 = left.iter().map(|server| tally.count(server)).sum();
                assert_eq!(served, 100, "{from} {protocol} {to} without {gone:?}: {tally}");
            }
        }
    }
}

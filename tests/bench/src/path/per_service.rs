//! The other shape of ruleset: a chain and an anonymous map for each Service, and a chain for each
//! endpoint, as kube-proxy's nftables mode has them (pkg/proxy/nftables/proxier.go).

use std::fmt::Write as _;

use weir_testbed::Testbed;

use crate::workload::{PORT, Shape, TARGET_PORT};

/// What is the same for all clusters: the hooks, and what kube-proxy checks in them.
const PROGRAM: &str = "
 set cluster-ips { type ipv4_addr; }
 set nodeport-ips { type ipv4_addr; elements = { 192.0.2.1 } }
 map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
 map service-nodeports { type inet_proto . inet_service : verdict; }
 map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
 map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
 map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
 chain mark-for-masquerade { mark set mark or 0x4000; }
 chain masquerading {
  mark and 0x4000 == 0 return
  mark set mark xor 0x4000
  masquerade fully-random
 }
 chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
 chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
 chain nodeport-endpoints-check {
  ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
 }
 chain cluster-ips-check { ip daddr @cluster-ips reject; }
 chain services {
  ip daddr . meta l4proto . th dport vmap @service-ips
  ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
 }
 chain filter-prerouting-pre-dnat {
  type filter hook prerouting priority -110;
  ct state new jump firewall-check
 }
 chain filter-output-pre-dnat {
  type filter hook output priority -110;
  ct state new jump firewall-check
 }
 chain filter-input {
  type filter hook input priority 0;
  ct state new jump nodeport-endpoints-check
  ct state new jump service-endpoints-check
 }
 chain filter-forward {
  type filter hook forward priority 0;
  ct state new jump service-endpoints-check
  ct state new jump cluster-ips-check
 }
 chain filter-output {
  type filter hook output priority 0;
  ct state new jump service-endpoints-check
  ct state new jump cluster-ips-check
 }
 chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
 chain nat-output { type nat hook output priority -100; jump services; }
 chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
";

/// How many Services are loaded at once: to bind a map, the kernel walks all that is before it in a
/// transaction.
const SERVICES_AT_ONCE: u32 = 500;

/// What to load, one after the other, in nft syntax, with UDP Services.
pub(super) fn tables(shape: Shape) -> impl Iterator<Item = String> {
    let firsts = (0..shape.services).step_by(SERVICES_AT_ONCE as usize);
    let services = firsts.map(move |first| {
        let last = shape.services.min(first + SERVICES_AT_ONCE);
        let mut text = "table ip per-service {\n".to_owned();
        (first..last).for_each(|number| push_service(&mut text, shape, number));
        text.push_str("}\n");
        text
    });
    let program = format!("table ip per-service {{{PROGRAM}}}\n");
    [program].into_iter().chain(services).chain([elements(shape)])
}

/// The chains of a Service and of its endpoints.
fn push_service(text: &mut String, shape: Shape, number: u32) {
    let mut choices = Vec::new();
    for (slot, endpoint) in shape.endpoints_of(number).into_iter().enumerate() {
        let chain = format!("endpoint-{number}-{slot}");
        let _ = write!(
            text,
            " chain {chain} {{\n ip saddr {endpoint} jump mark-for-masquerade\n \
             meta l4proto udp dnat to {endpoint}:{TARGET_PORT}\n }}\n"
        );
        choices.push(format!("{slot} : goto {chain}"));
    }
    let _ = write!(
        text,
        " chain service-{number} {{\n \
         ip daddr {address} udp dport {PORT} ip saddr != {pods} jump mark-for-masquerade\n \
         numgen random mod {count} vmap {{ {choices} }}\n }}\n",
        address = Shape::cluster_ip(number),
        pods = Testbed::POD_CIDR_V4,
        count = choices.len(),
        choices = choices.join(", ")
    );
}

/// What leads to the chains.
fn elements(shape: Shape) -> String {
    let addresses = (0..shape.services).map(Shape::cluster_ip);
    let services = addresses.clone().zip(0..).map(|(address, number): (_, u32)| {
        format!("{address} . udp . {PORT} : goto service-{number}")
    });
    format!(
        "add element ip per-service cluster-ips {{ {} }}\n\
         add element ip per-service service-ips {{ {} }}\n",
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", "),
        services.collect::<Vec<_>>().join(", ")
    )
}

//! Rules such as kube-proxy makes in each of its modes, for one Service with two endpoints, and
//! such as others make beside it.

use weir_testbed::{Family, Netns};

/// Where the Service is served.
pub(super) const CLUSTER_IP: [&str; 2] = ["10.96.0.10", "fd00:10:96::10"];
/// Port 80 goes to 8080 of the endpoints, 90 to 9000, and for UDP 53 to 8080.
const PORTS: [(&str, u16, u16); 3] = [("tcp", 80, 8080), ("tcp", 90, 9000), ("udp", 53, 8080)];
/// The node port of port 80.
pub(super) const NODE_PORT: u16 = 30080;
const ENDPOINTS: [[&str; 2]; 2] =
    [["10.244.0.2", "10.244.0.3"], ["fd00:10:244::2", "fd00:10:244::3"]];

/// What iptables-legacy locks: not the machine's own file, to which an ordinary user may not write.
pub(super) const LOCK_FILE: &str = "/dev/null";

/// kube-proxy's modes, and the two kinds of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Tables of its own.
    Nftables,
    /// Chains, by iptables-nft.
    IptablesNft,
    /// Chains, by iptables-legacy.
    IptablesLegacy,
}

impl Mode {
    /// Both kinds of iptables.
    pub(super) const IPTABLES: [Self; 2] = [Self::IptablesNft, Self::IptablesLegacy];

    /// Makes kube-proxy's rules in a namespace.
    pub(super) fn program(self, ns: &Netns) {
        for family in Family::ALL {
            match self {
                Self::Nftables => ns.nft(&nftables(family)),
                _ => self.restore(ns, family, &iptables(family)),
            }
        }
    }

    /// Runs `iptables-restore --noflush`.
    pub(super) fn restore(self, ns: &Netns, family: Family, input: &str) {
        let tool = self.tool(family, "restore");
        let lock = format!("XTABLES_LOCKFILE={LOCK_FILE}");
        ns.cmd_with_input("env", [&lock, &tool, "--noflush", "--wait"], input);
    }

    /// What `iptables-save` of both families prints, without comments.
    pub(super) fn saved(self, ns: &Netns) -> String {
        let save = |family| ns.cmd(&self.tool(family, "save"), [""; 0]);
        let text = Family::ALL.map(save).concat();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            // Counters of packets.
            .map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n")
            .collect()
    }

    fn tool(self, family: Family, what: &str) -> String {
        let version = if family == Family::V4 { "iptables" } else { "ip6tables" };
        let kind = if self == Self::IptablesNft { "nft" } else { "legacy" };
        format!("{version}-{kind}-{what}")
    }
}

/// A table of nftables mode.
pub(super) fn nftables(family: Family) -> String {
    let (ip, address_type, loopback) = match family {
        Family::V4 => ("ip", "ipv4_addr", "127.0.0.0/8"),
        Family::V6 => ("ip6", "ipv6_addr", "::1"),
    };
    let address = CLUSTER_IP[family as usize];
    let [first, second] = ENDPOINTS[family as usize];
    let (mut elements, mut chains) = (String::new(), String::new());
    for (protocol, port, target) in PORTS {
        let name = format!("service-{protocol}/{port}");
        elements += &format!("{address} . {protocol} . {port} : goto {name},\n");
        chains += &format!(
            "chain {name} {{
               meta l4proto {protocol} dnat {ip} addr . port to numgen random mod 2 map {{
                 0 : {first} . {target}, 1 : {second} . {target} }}
             }}\n"
        );
    }
    format!(
        "table {ip} kube-proxy {{
           comment \"rules for kube-proxy\"
           map service-ips {{
             type {address_type} . inet_proto . inet_service : verdict
             elements = {{ {elements} }}
           }}
           map service-nodeports {{
             type inet_proto . inet_service : verdict
             elements = {{ tcp . {NODE_PORT} : goto external-tcp/80 }}
           }}
           set cluster-ips {{ type {address_type}; elements = {{ {address} }} }}
           {chains}
           chain external-tcp/80 {{ meta mark set meta mark or 0x4000; goto service-tcp/80; }}
           chain services {{
             {ip} daddr . meta l4proto . th dport vmap @service-ips
             fib daddr type local {ip} daddr != {loopback} meta l4proto . th dport \
               vmap @service-nodeports
           }}
           chain cluster-ips-check {{ {ip} daddr @cluster-ips reject; }}
           chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
           chain nat-output {{ type nat hook output priority -100; jump services; }}
           chain nat-postrouting {{
             type nat hook postrouting priority 100
             meta mark and 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random
           }}
           chain filter-forward {{
             type filter hook forward priority 0; ct state new jump cluster-ips-check
           }}
           chain filter-output {{
             type filter hook output priority 0; ct state new jump cluster-ips-check
           }}
         }}"
    )
}

/// Input for `iptables-restore`: chains of iptables mode.
fn iptables(family: Family) -> String {
    let bits = if family == Family::V4 { 32 } else { 128 };
    let address = CLUSTER_IP[family as usize];
    let (mut declared, mut rules) = (String::new(), String::new());
    for (protocol, port, target) in PORTS {
        let service = format!("KUBE-SVC-{protocol}{port}");
        declared += &format!(":{service} - [0:0]\n");
        rules += &format!(
            "-A KUBE-SERVICES -d {address}/{bits} -p {protocol} -m comment \
               --comment \"default/web cluster IP\" -m {protocol} --dport {port} -j {service}\n"
        );
        for (i, endpoint) in ENDPOINTS[family as usize].into_iter().enumerate() {
            let chain = format!("KUBE-SEP-{protocol}{port}{i}");
            let half = "-m statistic --mode random --probability 0.5";
            let half = if i == 0 { half } else { "" };
            declared += &format!(":{chain} - [0:0]\n");
            rules += &format!(
                "-A {service} {half} -j {chain}
                 -A {chain} -s {endpoint}/{bits} -j KUBE-MARK-MASQ
                 -A {chain} -p {protocol} -m {protocol} -j DNAT --to-destination {}\n",
                std::net::SocketAddr::new(endpoint.parse().expect("an address"), target)
            );
        }
    }
    let text = format!(
        "*nat
         :KUBE-SERVICES - [0:0]
         :KUBE-NODEPORTS - [0:0]
         :KUBE-POSTROUTING - [0:0]
         :KUBE-MARK-MASQ - [0:0]
         :KUBE-PROXY-CANARY - [0:0]
         :KUBE-EXT-WEB - [0:0]
         {declared}
         -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
         -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
         -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
         -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
         -A KUBE-POSTROUTING -j MASQUERADE --random-fully
         {rules}
         -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
         -A KUBE-NODEPORTS -p tcp -m tcp --dport {NODE_PORT} -j KUBE-EXT-WEB
         -A KUBE-EXT-WEB -j KUBE-MARK-MASQ
         -A KUBE-EXT-WEB -j KUBE-SVC-tcp80
         COMMIT
         *filter
         :KUBE-SERVICES - [0:0]
         :KUBE-EXTERNAL-SERVICES - [0:0]
         :KUBE-FORWARD - [0:0]
         :KUBE-PROXY-FIREWALL - [0:0]
         :KUBE-PROXY-CANARY - [0:0]
         -A INPUT -m conntrack --ctstate NEW -m comment \
            --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES
         -A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
         -A OUTPUT -m conntrack --ctstate NEW -m comment \
            --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
         -A OUTPUT -m conntrack --ctstate NEW -m comment \
            --comment \"kubernetes service portals\" -j KUBE-SERVICES
         -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
         -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         COMMIT
         *mangle
         :KUBE-PROXY-CANARY - [0:0]
         COMMIT\n"
    );
    trimmed(&text)
}

/// Input for `iptables-restore`: the kubelet's chains, a CNI plugin's and an administrator's.
pub(super) fn others() -> String {
    trimmed(
        "*mangle
         :KUBE-IPTABLES-HINT - [0:0]
         :KUBE-KUBELET-CANARY - [0:0]
         COMMIT
         *nat
         :KUBE-MARK-DROP - [0:0]
         :KUBE-KUBELET-CANARY - [0:0]
         :CNI-HOSTPORT-DNAT - [0:0]
         -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
         -A PREROUTING -p tcp -m tcp --dport 2222 -m comment \
            --comment \"kubernetes service portals\" -j REDIRECT --to-ports 22
         -A OUTPUT -o lo -m comment --comment mine -j RETURN
         -A POSTROUTING -o lo -m comment --comment mine -j RETURN
         -A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 4040 -m comment \
            --comment \"to -j KUBE-SERVICES\" -j RETURN
         COMMIT
         *filter
         :KUBE-FIREWALL - [0:0]
         :KUBE-ROUTER-FORWARD - [0:0]
         -A INPUT -j KUBE-FIREWALL
         -A OUTPUT -j KUBE-FIREWALL
         -A FORWARD -m comment --comment \"kubernetes network policies\" -j KUBE-ROUTER-FORWARD
         -A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
         COMMIT\n",
    )
}

/// Lines without what they are indented by.
fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_start().to_owned() + "\n").collect()
}

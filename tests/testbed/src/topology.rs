//! A miniature node: its pods on one side, a router and hosts beyond it on the other.
//!
//! ```text
//!  pod ──veth── ┌──────┐          ┌───────┐ ──veth── outside host
//!  pod ──veth── │ node │ ──veth── │ world │ ──veth── outside host
//!  pod ──veth── └──────┘  uplink  └───────┘
//! ```
//!
//! Every link is routed, with /32 and /128 addresses, so that each packet, also from pod to pod,
//! passes the node's forward hook. `world` sends what it does not know to the node, as a router
//! does that learned the service networks from it, and drops what the node itself does not know:
//! without a rule that takes it, a virtual address is silent.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::{EchoServer, Netns, wait_for};

/// The two address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, for loops.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

/// A namespace with an address of each family: the node, a pod or an outside host.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub ns: Netns,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// Its address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }
}

/// The node, its pods, the router and the hosts beyond it. All ends when it is dropped.
#[derive(Debug)]
pub struct Testbed {
    // First, so that the servers end before their namespaces.
    servers: BTreeMap<String, EchoServer>,
    hosts: BTreeMap<String, Host>,
    node: Host,
    world: Host,
    links: usize,
}

impl Default for Testbed {
    fn default() -> Self {
        Self::new()
    }
}

impl Testbed {
    /// The node's own IPv4 address: the Node object's InternalIP. On its interface `uplink`.
    pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The node's own IPv6 address.
    pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    /// The node's IPv4 address towards its pods: what a pod sees of masqueraded traffic.
    pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
    /// The node's IPv6 address towards its pods.
    pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);
    /// The pods' IPv4 network: what to give as `--cluster-cidr`.
    pub const POD_CIDR_V4: &str = "10.244.0.0/16";
    /// The pods' IPv6 network.
    pub const POD_CIDR_V6: &str = "fd00:10:244::/56";

    const WORLD_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
    const WORLD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe);

    /// A node that routes, joined to the outside world.
    pub fn new() -> Self {
        let node = Host { ns: Netns::new("node"), v4: Self::NODE_V4, v6: Self::NODE_V6 };
        let world = Host { ns: Netns::new("world"), v4: Self::WORLD_V4, v6: Self::WORLD_V6 };
        for router in [&node.ns, &world.ns] {
            router.sysctl("net/ipv4/ip_forward", "1");
            router.sysctl("net/ipv6/conf/all/forwarding", "1");
        }
        join((&node.ns, "uplink", node.v4, node.v6), (&world.ns, "node", world.v4, world.v6));
        node.ns.ip(&default_route("uplink", world.v4, world.v6));
        world.ns.ip(&default_route("node", node.v4, node.v6));
        // What the node sends out goes to an outside host or nowhere, and not back to the node.
        for family in ["-4", "-6"] {
            world.ns.cmd("ip", [family, "rule", "add", "iif", "node", "lookup", "100"]);
        }
        world.ns.ip("route add blackhole 0.0.0.0/0 table 100\n\
                     route add blackhole ::/0 table 100\n");
        Self { servers: BTreeMap::new(), hosts: BTreeMap::new(), node, world, links: 0 }
    }

    /// Adds a pod on the node, whose default route is the node.
    pub fn pod(mut self, name: &str, v4: &str, v6: &str) -> Self {
        let pod = host(name, v4, v6);
        let link = self.next_link("pod");
        join(
            (&self.node.ns, &link, Self::GATEWAY_V4, Self::GATEWAY_V6),
            (&pod.ns, "net0", pod.v4, pod.v6),
        );
        pod.ns.ip(&default_route("net0", Self::GATEWAY_V4, Self::GATEWAY_V6));
        self.insert(name, pod);
        self
    }

    /// Adds a host in the outside world, which reaches the node, its pods and every virtual address
    /// through the router: a client, a load balancer, or another node.
    pub fn outside(mut self, name: &str, v4: &str, v6: &str) -> Self {
        let outside = host(name, v4, v6);
        let link = self.next_link("host");
        join(
            (&self.world.ns, &link, self.world.v4, self.world.v6),
            (&outside.ns, "net0", outside.v4, outside.v6),
        );
        outside.ns.ip(&default_route("net0", self.world.v4, self.world.v6));
        self.world.ns.ip(&format!(
            "route add {}/32 dev {link} table 100\nroute add {}/128 dev {link} table 100\n",
            outside.v4, outside.v6
        ));
        self.insert(name, outside);
        self
    }

    /// Gives an outside host one more address, such as that of a pod on another node.
    pub fn behind(self, name: &str, address: &str) -> Self {
        let address: IpAddr = parse(address);
        let host = self.host(name);
        let via = host.address(if address.is_ipv4() { Family::V4 } else { Family::V6 });
        let nodad = if address.is_ipv4() { "" } else { " nodad" };
        host.ns.ip(&format!("address add {address} dev lo{nodad}\n"));
        for table in ["main", "100"] {
            self.world.ns.ip(&format!("route add {address} via {via} table {table}\n"));
        }
        wait_until_local(&host.ns, address);
        self
    }

    /// Starts an echo server at a host's own addresses, under the host's name.
    pub fn serve(&mut self, name: &str, port: u16) {
        let host = self.host(name);
        let addresses = Family::ALL.map(|family| SocketAddr::new(host.address(family), port));
        let server = EchoServer::start(&host.ns, name, &addresses);
        self.servers.insert(format!("{name}:{port}"), server);
    }

    /// Stops an echo server that [`Testbed::serve`] started; its port then refuses.
    pub fn stop(&mut self, name: &str, port: u16) {
        let server = self.servers.remove(&format!("{name}:{port}"));
        server.unwrap_or_else(|| panic!("{name} does not serve at {port}")).stop();
    }

    /// The node's namespace, where weir runs.
    pub fn node(&self) -> &Netns {
        &self.node.ns
    }

    /// The namespace of a pod or outside host, or of the `node`.
    pub fn ns(&self, name: &str) -> &Netns {
        &self.host(name).ns
    }

    /// A pod or outside host, or the `node`.
    ///
    /// # Panics
    /// If none was made under this name.
    pub fn host(&self, name: &str) -> &Host {
        match name {
            "node" => &self.node,
            _ => self.hosts.get(name).unwrap_or_else(|| panic!("no host is called {name}")),
        }
    }

    /// A name for a veth, which the kernel allows only 15 characters.
    fn next_link(&mut self, kind: &str) -> String {
        self.links += 1;
        format!("{kind}{}", self.links)
    }

    fn insert(&mut self, name: &str, host: Host) {
        assert!(name != "node", "the node has this name already");
        let other = self.hosts.insert(name.to_owned(), host);
        assert!(other.is_none(), "two hosts are called {name}");
    }
}

fn host(name: &str, v4: &str, v6: &str) -> Host {
    Host { ns: Netns::new(name), v4: parse(v4), v6: parse(v6) }
}

fn parse<T: std::str::FromStr>(address: &str) -> T {
    address.parse().unwrap_or_else(|_| panic!("{address} is not an address of its family"))
}

fn default_route(device: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> String {
    format!("route add 0.0.0.0/0 via {v4} dev {device}\nroute add ::/0 via {v6} dev {device}\n")
}

/// One end of a link: namespace, interface and addresses.
type End<'a> = (&'a Netns, &'a str, Ipv4Addr, Ipv6Addr);

/// Joins two namespaces by a veth, so that each reaches the other's addresses when this returns.
fn join(near: End<'_>, far: End<'_>) {
    near.0.ip(&format!(
        "link add dev {} type veth peer name {} netns {}\n",
        near.1,
        far.1,
        far.0.path()
    ));
    let both = [(near, far), (far, near)];
    for ((ns, device, v4, v6), (_, _, other_v4, other_v6)) in both {
        ns.ip(&format!(
            "address add {v4}/32 dev {device}\n\
             address add {v6}/128 dev {device} nodad\n\
             link set dev {device} up\n\
             route add {other_v4}/32 dev {device}\n\
             route add {other_v6}/128 dev {device}\n"
        ));
    }
    for ((ns, _, _, v6), _) in both {
        wait_until_local(ns, v6.into());
    }
}

/// The kernel takes up a new IPv6 address on a worker of its own: waits until it receives at it.
fn wait_until_local(ns: &Netns, address: IpAddr) {
    let IpAddr::V6(address) = address else { return };
    let hex: String = address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    wait_for(&format!("{address} in {}", ns.name()), Duration::from_secs(10), || {
        let routes = ns.run(|| fs::read_to_string("/proc/thread-self/net/ipv6_route"));
        routes.expect("/proc is mounted").lines().any(|route| is_local(route, &hex))
    });
}

/// Whether a line of `ipv6_route` is the local route (flag RTF_LOCAL, 1 << 31) of this address.
fn is_local(route: &str, hex: &str) -> bool {
    let fields: Vec<&str> = route.split_whitespace().collect();
    let [destination, "80", .., flags, _device] = fields[..] else { return false };
    destination == hex && u32::from_str_radix(flags, 16).is_ok_and(|flags| flags >> 31 == 1)
}

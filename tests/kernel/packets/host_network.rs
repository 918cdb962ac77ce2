//! Missing settings of the host's network are logged once, and again when they change.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use weir_testbed::{Netns, Process, wait_for};

use crate::common::weir;

/// How long anything may take before it counts as not happening: the host is looked at each 10 s.
const LIMIT: Duration = Duration::from_secs(40);

const MANIFESTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIPs: [10.96.0.10, \"fd00:10:96::10\"]
  ports: [{port: 80}]
";

/// `weir run` in a namespace, and what it logs.
struct Running {
    ns: Netns,
    log: tempfile::NamedTempFile,
    _folder: tempfile::TempDir,
    _process: Process,
}

impl Running {
    fn in_namespace(ns: Netns, manifests: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("web.yaml"), manifests).expect("it can be written");
        let log = tempfile::NamedTempFile::new().expect("a file");
        let mut command = weir();
        command.args(["run", "--hostname-override", "node-a", "--manifests"]).arg(folder.path());
        command.stdout(Stdio::null()).stderr(log.reopen().expect("the file"));
        let process = Process::spawn(&ns, command);
        Self { ns, log, _folder: folder, _process: process }
    }

    fn lines(&self, with: &str) -> usize {
        let log = fs::read_to_string(self.log.path()).expect("the log");
        log.lines().filter(|line| line.contains(with)).count()
    }

    fn wait_for(&self, count: usize, with: &str) {
        let log = || fs::read_to_string(self.log.path()).expect("the log");
        wait_for(&format!("{count} of `{with}`; log:\n{}", log()), LIMIT, || {
            self.lines(with) == count
        });
    }
}

/// A node without a fault: it forwards, has routes, and no bridge.
fn node() -> Netns {
    let ns = Netns::new("node");
    ns.sysctl("net/ipv4/ip_forward", "1");
    ns.sysctl("net/ipv6/conf/all/forwarding", "1");
    ns.ip("link add up0 type veth peer name up1
           link set up0 up
           link set up1 up
           address add 192.0.2.1/24 dev up0
           address add 2001:db8::1/64 dev up0
           route add default via 192.0.2.254
           route add default via 2001:db8::ff");
    ns
}

const FORWARDING: [&str; 2] = ["net.ipv4.ip_forward is 0", "net.ipv6.conf.all.forwarding is 0"];
const ROUTES: [&str; 2] =
    ["no route to ClusterIPs such as 10.96.0.10", "no route to ClusterIPs such as fd00:10:96::10"];
const BRIDGES: [&str; 2] = ["bridge-nf-call-iptables is 0", "bridge-nf-call-ip6tables is 0"];

#[test]
fn each_fault_of_the_hosts_network_is_said_once_and_again_when_it_changes() {
    let running = Running::in_namespace(node(), MANIFESTS);
    running.wait_for(1, "added");
    let all = [FORWARDING, ROUTES, BRIDGES].concat();
    all.iter().for_each(|fault| assert_eq!(running.lines(fault), 0, "{fault}"));

    running.ns.sysctl("net/ipv4/ip_forward", "0");
    running.ns.sysctl("net/ipv6/conf/all/forwarding", "0");
    for family in ["-4", "-6"] {
        running.ns.cmd("ip", [family, "route", "del", "default"]);
    }
    let faults = [FORWARDING, ROUTES].concat();
    faults.iter().for_each(|fault| running.wait_for(1, fault));
    // Then the lines that they are mended come once for each, so that none came twice.
    running.ns.sysctl("net/ipv4/ip_forward", "1");
    running.ns.sysctl("net/ipv6/conf/all/forwarding", "1");
    running.ns.ip("route add 10.96.0.0/16 dev up0\nroute add default via 2001:db8::ff");
    running.wait_for(4, "no longer: ");
    faults.iter().for_each(|fault| assert_eq!(running.lines(fault), 2, "{fault}"));
    running.ns.sysctl("net/ipv4/ip_forward", "0");
    running.wait_for(3, FORWARDING[0]);
    running.ns.ip("route replace blackhole 10.96.0.0/16");
    running.wait_for(3, ROUTES[0]);
}

/// Also where there never was one, and a route that refuses is none.
#[test]
fn only_families_in_use_count() {
    let ns = Netns::new("node");
    ns.sysctl("net/ipv4/ip_forward", "0");
    ns.sysctl("net/ipv6/conf/all/forwarding", "0");
    ns.ip("route add unreachable fd00:10:96::/112");
    let only_v6 = MANIFESTS.replace("10.96.0.10, ", "");
    let running = Running::in_namespace(ns, &only_v6);
    running.wait_for(1, FORWARDING[1]);
    running.wait_for(1, ROUTES[1]);
    assert_eq!(running.lines(FORWARDING[0]) + running.lines(ROUTES[0]), 0);
}

#[test]
fn a_bridge_that_keeps_answers_from_connection_tracking_is_said() {
    let ns = node();
    ns.ip("link add cni0 type bridge
           link set cni0 up
           address add 10.244.0.1/24 dev cni0");
    for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        ns.sysctl(&format!("net/bridge/{setting}"), "0");
    }
    let running = Running::in_namespace(ns, MANIFESTS);
    running.wait_for(1, "added");
    assert_eq!(running.lines(BRIDGES[0]), 0, "nobody is behind it");
    running.ns.ip("link add port0 type veth peer name port1\nlink set port0 master cni0");
    BRIDGES.iter().for_each(|fault| running.wait_for(1, fault));
    assert_eq!(running.lines("if Pods are behind the bridge cni0"), 2);
    running.ns.sysctl("net/bridge/bridge-nf-call-iptables", "1");
    running.wait_for(2, BRIDGES[0]);
}

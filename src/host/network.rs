//! Checks for settings of the host's network that keep Services from working. They are logged and left as they
//! are, because they belong to whoever set up the node.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use tracing::{info, warn};
use weir_rules::cluster::Family;

use crate::netlink::links::bridges_with_ports;
use crate::netlink::routes::has_route;

/// The faults of the host's network that were logged, so that each is logged once, and again when it changes.
#[derive(Debug, Default)]
pub struct NetworkChecks {
    /// The logged text of each setting.
    said: BTreeMap<CheckedSetting, String>,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CheckedSetting {
    Forwarding(Family),
    Bridges(Family),
    Route(Family),
}

/// The part of the host that is looked at.
trait Host {
    /// A number below /proc/sys; `None` if there is no such file, or it cannot be read.
    fn setting(&self, path: &str) -> Option<i64>;
    /// Bridges by which Pods may reach the host.
    fn bridges(&self) -> Vec<String>;
    /// Whether the host's own packets to this address have a route; `None` if that is not known.
    fn has_route(&self, to: IpAddr) -> Option<bool>;
}

/// The host of the calling thread's network namespace.
struct ThisHost;

impl NetworkChecks {
    /// Checks, and logs what is not as it should be and was not logged before. The families in use
    /// are those of which there is a ClusterIP: one of each.
    pub fn look(&mut self, cluster_ips: &[IpAddr]) {
        let found = faults(&ThisHost, cluster_ips);
        for (subject, text) in &found {
            if self.said.get(subject) != Some(text) {
                warn!("{text}");
            }
        }
        for text in
            self.said.iter().filter(|(subject, _)| !found.contains_key(subject)).map(|it| it.1)
        {
            info!("no longer: {text}");
        }
        self.said = found;
    }
}

fn faults(host: &impl Host, cluster_ips: &[IpAddr]) -> BTreeMap<CheckedSetting, String> {
    let mut faults = BTreeMap::new();
    // All interfaces are looked at for that.
    let bridges = OnceCell::new();
    for &address in cluster_ips {
        let family = Family::of(address);
        let (forwarding, bridged) = match family {
            Family::Ipv4 => ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"),
            Family::Ipv6 => ("net.ipv6.conf.all.forwarding", "net.bridge.bridge-nf-call-ip6tables"),
        };
        let value = |name: &str| host.setting(&name.replace('.', "/"));
        if value(forwarding) == Some(0) {
            let text = format!(
                "{forwarding} is 0: the node forwards nothing, so that neither Pods nor others reach \
                 endpoints by way of it; set it to 1"
            );
            faults.insert(CheckedSetting::Forwarding(family), text);
        }
        let passes = value(bridged);
        if passes.is_none_or(|value| value == 0)
            && let Some(bridge) = bridges.get_or_init(|| host.bridges()).first()
        {
            let state = match passes {
                Some(_) => format!("{bridged} is 0: set it to 1"),
                None => format!("there is no {bridged}: load br_netfilter and set it to 1"),
            };
            let text = format!(
                "{state}, if Pods are behind the bridge {bridge}: one that is sent to an endpoint on \
                 its own bridge gets the answers untranslated"
            );
            faults.insert(CheckedSetting::Bridges(family), text);
        }
        if host.has_route(address) == Some(false) {
            let text = format!(
                "there is no route to ClusterIPs such as {address}: the node's own connections fail \
                 before they are translated; add a default route, or one to the network of ClusterIPs"
            );
            faults.insert(CheckedSetting::Route(family), text);
        }
    }
    faults
}

impl Host for ThisHost {
    fn setting(&self, path: &str) -> Option<i64> {
        fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?.trim().parse().ok()
    }

    fn bridges(&self) -> Vec<String> {
        bridges_with_ports().unwrap_or_default()
    }

    fn has_route(&self, to: IpAddr) -> Option<bool> {
        has_route(to).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these settings, bridges and families that have routes.
    struct FakeHost {
        settings: Vec<(&'static str, i64)>,
        bridges: Vec<&'static str>,
        routed: Vec<Family>,
    }

    impl Host for FakeHost {
        fn setting(&self, path: &str) -> Option<i64> {
            self.settings.iter().find(|(name, _)| *name == path).map(|(_, value)| *value)
        }

        fn bridges(&self) -> Vec<String> {
            self.bridges.iter().map(|name| (*name).to_owned()).collect()
        }

        fn has_route(&self, to: IpAddr) -> Option<bool> {
            Some(self.routed.contains(&Family::of(to)))
        }
    }

    fn good() -> FakeHost {
        FakeHost {
            settings: vec![
                ("net/ipv4/ip_forward", 1),
                ("net/ipv6/conf/all/forwarding", 1),
                ("net/bridge/bridge-nf-call-iptables", 1),
                ("net/bridge/bridge-nf-call-ip6tables", 1),
            ],
            bridges: vec!["cni0"],
            routed: Family::ALL.into(),
        }
    }

    const ADDRESSES: [&str; 2] = ["10.96.0.1", "fd00:10:96::1"];

    #[test]
    fn each_fault_is_of_a_family_in_use_and_names_itself() {
        let with = |setting: &'static str, value: Option<i64>| {
            let mut host = good();
            host.settings.retain(|(name, _)| *name != setting);
            host.settings.extend(value.map(|value| (setting, value)));
            host
        };
        let without_route = |family| FakeHost { routed: vec![family], ..good() };
        let (v4, v6) = (Family::Ipv4, Family::Ipv6);
        let (bridge_v4, bridge_v6) =
            ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables");
        let cases = [
            (good(), None, ""),
            (with("net/ipv4/ip_forward", Some(0)), Some(v4), "net.ipv4.ip_forward is 0"),
            (with("net/ipv4/ip_forward", None), None, ""),
            (
                with("net/ipv6/conf/all/forwarding", Some(0)),
                Some(v6),
                "net.ipv6.conf.all.forwarding is 0",
            ),
            (with(bridge_v4, Some(0)), Some(v4), "net.bridge.bridge-nf-call-iptables is 0"),
            (with(bridge_v6, None), Some(v6), "load br_netfilter"),
            (FakeHost { bridges: vec![], ..with(bridge_v4, Some(0)) }, None, ""),
            (without_route(v6), Some(v4), "10.96.0.1"),
            (without_route(v4), Some(v6), "fd00:10:96::1"),
        ];
        for (host, expected, text) in cases {
            let both = ADDRESSES.map(|address| address.parse().unwrap());
            let found = faults(&host, &both);
            assert_eq!(found.len(), usize::from(expected.is_some()), "{found:?}");
            assert!(found.values().all(|fault| fault.contains(text)), "{found:?}");
            for address in both {
                let is_its = expected == Some(Family::of(address));
                assert_eq!(faults(&host, &[address]).len(), usize::from(is_its), "{found:?}");
            }
            assert!(faults(&host, &[]).is_empty(), "no family is in use");
        }
    }
}

//! Limits on what one Service may use of a node: kernel memory, time in each transaction, and weir's own
//! memory.
//!
//! Whoever may edit Services can ask for thousands of ports at hundreds of addresses. What is beyond the
//! limits is left out, the least of its claims first; everything else of the Service is served.

use crate::cluster::{Family, Service};

/// How many keys a Service has at most: its ports times its addresses, and its node ports. 2,000 ports
/// at eight addresses are fewer.
pub const DEFAULT_MAX_SERVICE_KEYS: usize = 16_384;

/// How many elements the endpoints of a Service take at most in one family: each key has all those of
/// its port. Those of policy Local are lists of their own, with a limit of their own.
/// 131,072 endpoints of one port at two addresses are as many. An element takes the kernel some 180 bytes.
pub const DEFAULT_MAX_SERVICE_ELEMENTS: usize = 262_144;

impl Service {
    /// Leaves out what is beyond so many keys: external IPs from the last on, then load balancers'
    /// addresses, node ports, and in the end ports.
    pub fn limit_keys(&mut self, max_keys: usize) {
        let before = self.keys();
        let mut excess = before.saturating_sub(max_keys);
        if excess == 0 {
            return;
        }
        let ports = self.ports.len().max(1);
        for addresses in [&mut self.external_ips, &mut self.load_balancer_ips] {
            let gone = excess.div_ceil(ports).min(addresses.len());
            addresses.truncate(addresses.len() - gone);
            excess = excess.saturating_sub(gone * ports);
        }
        for port in self.ports.iter_mut().rev().filter(|port| port.node_port.is_some()) {
            if excess == 0 {
                break;
            }
            port.node_port = None;
            excess -= 1;
        }
        if excess > 0 {
            self.ports.truncate(max_keys / self.cluster_ips.len().max(1));
        }
        self.excess_keys += u32::try_from(before - self.keys()).unwrap_or(u32::MAX);
    }

    /// How many keys it has: each port at each address, and node ports.
    pub fn keys(&self) -> usize {
        let addresses = [&self.cluster_ips, &self.external_ips, &self.load_balancer_ips];
        let addresses: usize = addresses.iter().map(|list| list.len()).sum();
        addresses * self.ports.len() + self.node_ports()
    }

    /// How many keys it has in a family.
    fn keys_of(&self, family: Family) -> usize {
        let addresses = [&self.cluster_ips, &self.external_ips, &self.load_balancer_ips];
        let addresses = addresses.into_iter().flatten();
        let of_family = addresses.filter(|address| Family::of(**address) == family).count();
        of_family * self.ports.len() + self.node_ports()
    }

    fn node_ports(&self) -> usize {
        self.ports.iter().filter(|port| port.node_port.is_some()).count()
    }

    /// How many endpoints a port of it has at most in a family.
    pub(crate) fn max_endpoints(&self, family: Family, max_elements: usize) -> usize {
        (max_elements / self.keys_of(family).max(1)).max(1)
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;

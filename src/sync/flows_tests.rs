use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use weir_rules::cluster::{ChangeSet, Endpoint, EndpointPort, EndpointSlice};
use weir_rules::cluster::{Cluster, Family, NamespacedName, Protocol, Service, ServicePort};
use weir_rules::compile::compile;
use weir_rules::config::Config;
use weir_rules::facts::DerivedState;
use weir_rules::transaction::Transaction;
use weir_rules::transaction::diff::diff;

use super::*;

/// A table of flows with scripted failures.
#[derive(Default)]
struct FakeFlows {
    /// By source.
    flows: BTreeMap<SocketAddr, Flow>,
    /// What is still to be read of it.
    unread: Option<Vec<Flow>>,
    reads: u32,
    /// How many were read at once, at most.
    most_read: usize,
    addresses_fail: bool,
    read_fails: bool,
    delete_fails_from: Option<u16>,
    vanish: bool,
}

struct FakeEntry(Flow);

impl AsRef<Flow> for FakeEntry {
    fn as_ref(&self) -> &Flow {
        &self.0
    }
}

fn failure() -> netlink::NetlinkError {
    netlink::NetlinkError::Refused(io::Error::from_raw_os_error(1))
}

impl Connections for &mut FakeFlows {
    type Entry = FakeEntry;

    fn own_addresses(&mut self) -> Result<BTreeSet<IpAddr>, netlink::NetlinkError> {
        if self.addresses_fail { Err(failure()) } else { Ok(BTreeSet::new()) }
    }

    fn begin(&mut self) -> Result<(), netlink::NetlinkError> {
        self.reads += 1;
        self.unread = Some(self.flows.values().copied().collect());
        Ok(())
    }

    fn read_on(
        &mut self,
        count: usize,
        is_wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Option<Vec<FakeEntry>>, netlink::NetlinkError> {
        if self.read_fails {
            return Err(failure());
        }
        let Some(unread) = &mut self.unread else { return Ok(None) };
        let next = unread.split_off(unread.len() - count.min(unread.len()));
        if next.is_empty() {
            self.unread = None;
            return Ok(None);
        }
        self.most_read = self.most_read.max(next.len());
        // Those that have gone since are not returned.
        let there = next.into_iter().filter(|flow| self.flows.contains_key(&flow.source));
        Ok(Some(there.filter(|flow| is_wanted(flow)).map(FakeEntry).collect()))
    }

    fn delete(&mut self, FakeEntry(flow): &FakeEntry) -> Result<bool, netlink::NetlinkError> {
        if self.delete_fails_from == Some(flow.source.port()) {
            return Err(failure());
        }
        let was_there = self.flows.remove(&flow.source).is_some();
        Ok(was_there && !self.vanish)
    }
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A Service with one endpoint, or no Service.
fn cluster(endpoint: Option<&str>) -> Cluster {
    let mut cluster = Cluster::default();
    let Some(endpoint) = endpoint else { return cluster };
    let name = NamespacedName::new("default", "dns");
    let service = Service {
        cluster_ips: vec![[10, 96, 0, 10].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Udp,
            port: port(53),
            node_port: None,
        }],
        ..Service::default()
    };
    let slice = EndpointSlice {
        service: name.clone(),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Udp, port: port(8080) }],
        endpoints: vec![Endpoint::new(endpoint.parse().unwrap())],
    };
    cluster.services.insert(name.clone(), service);
    cluster.slices.insert(name, slice);
    cluster
}

const OLD: Option<&str> = Some("10.244.0.2");
const NEW: Option<&str> = Some("10.244.0.3");

fn serving(endpoint: Option<&str>) -> ServedDestinations {
    ServedDestinations::new(&cluster(endpoint), &Config::new("node-a"))
}

/// What the change means, whatever is known of its commit.
fn effect(from: Option<&str>, to: Option<&str>) -> FlowImpact {
    let (from, to, config) = (cluster(from), cluster(to), Config::new("node-a"));
    DerivedState::of(&from, &config).update(&to, &config, &ChangeSet::between(&from, &to)).effect
}

fn transaction(from: Option<&str>, to: Option<&str>) -> Transaction {
    let compiled = |endpoint| compile(&cluster(endpoint), &Config::new("node-a"));
    diff(&compiled(from), &compiled(to))
}

/// Flows from these ports to the old endpoint.
fn flows(ports: &[u16]) -> BTreeMap<SocketAddr, Flow> {
    let from = |&port| Flow {
        protocol: Protocol::Udp,
        source: SocketAddr::from(([10, 244, 0, 9], port)),
        destination: SocketAddr::from(([10, 96, 0, 10], 53)),
        reply_source: SocketAddr::from(([10, 244, 0, 2], 8080)),
        is_translated: true,
        is_in_default_zone: true,
    };
    ports.iter().map(from).map(|flow| (flow.source, flow)).collect()
}

/// So many flows to the old endpoint.
fn many_flows(count: u32) -> BTreeMap<SocketAddr, Flow> {
    let flow = *flows(&[1]).values().next().unwrap();
    let from = |number: u32| {
        let [a, b, high, low] = number.to_be_bytes();
        let source = SocketAddr::from(([10, 244, a, b], u16::from_be_bytes([high, low])));
        (source, Flow { source, ..flow })
    };
    (0..count).map(from).collect()
}

#[test]
fn the_table_is_read_at_first_and_then_only_when_something_changed_for_udp() {
    let mut fake = FakeFlows { flows: flows(&[1, 2]), ..FakeFlows::default() };
    let mut cleaner = Flows::new(&mut fake);
    assert_eq!(cleaner.clean(&serving(OLD)).unwrap(), 0);
    assert_eq!(cleaner.connections.reads, 1);
    cleaner.note(FlowImpact::default());
    assert_eq!(cleaner.take_cleaning(), Some(Cleaning::default()));
    assert_eq!(cleaner.clean(&serving(OLD)).unwrap(), 0);
    assert_eq!(cleaner.connections.reads, 1, "nothing has changed");
    assert_eq!(cleaner.take_cleaning(), None);
    // Somebody had emptied the map, and it was repaired.
    cleaner.note(FlowImpact::of(&transaction(None, OLD)));
    assert_eq!(cleaner.clean(&serving(OLD)).unwrap(), 0);
    assert_eq!(cleaner.connections.reads, 2);
    // Who serves may change without a commit.
    cleaner.note(effect(OLD, NEW));
    assert_eq!(cleaner.clean(&serving(NEW)).unwrap(), 2);
    assert_eq!(cleaner.take_cleaning(), Some(Cleaning { removed: [2, 0], failed: false }));
    assert_eq!(cleaner.connections.reads, 3);
    assert_eq!(cleaner.clean(&serving(NEW)).unwrap(), 0);
    assert_eq!(cleaner.connections.reads, 3);
}

/// Also of what a commit removed, which no later one says again.
#[test]
fn what_failed_is_tried_again_until_it_succeeds() {
    let break_it: [fn(&mut FakeFlows); 3] = [
        |fake| fake.addresses_fail = true,
        |fake| fake.read_fails = true,
        |fake| fake.delete_fails_from = Some(2),
    ];
    for break_it in break_it {
        for (after, is_answered) in [(None, true), (NEW, true), (None, false), (NEW, false)] {
            let mut fake = FakeFlows::default();
            let mut cleaner = Flows::new(&mut fake);
            cleaner.clean(&serving(OLD)).unwrap();
            cleaner.connections.flows = flows(&[1, 2, 3]);
            break_it(cleaner.connections);
            if is_answered {
                cleaner.note(FlowImpact::of(&transaction(OLD, after)));
            } else {
                cleaner.note(effect(OLD, after));
            }
            for _ in 0..2 {
                cleaner.clean(&serving(after)).unwrap_err();
            }
            let left = std::mem::take(&mut cleaner.connections.flows);
            *cleaner.connections = FakeFlows { flows: left.clone(), ..FakeFlows::default() };
            assert_eq!(cleaner.clean(&serving(after)).unwrap(), left.len());
            assert_eq!(cleaner.connections.flows, flows(&[]));
            cleaner.connections.flows = flows(&[4]);
            assert_eq!(cleaner.clean(&serving(after)).unwrap(), 0, "done");
        }
    }
}

/// Whether the commit was made was not known at first, and later nothing was left to commit.
#[test]
fn a_commit_without_an_answer_is_made_up_for() {
    let mut fake = FakeFlows::default();
    let mut cleaner = Flows::new(&mut fake);
    cleaner.clean(&serving(OLD)).unwrap();
    cleaner.connections.flows = flows(&[1, 2]);
    cleaner.note(effect(OLD, None));
    assert_eq!(cleaner.clean(&serving(None)).unwrap(), 2);
}

#[test]
fn one_entry_that_is_stuck_does_not_keep_the_others() {
    let mut fake =
        FakeFlows { flows: flows(&[1, 2, 3]), delete_fails_from: Some(2), ..FakeFlows::default() };
    let error = Flows::new(&mut fake).clean(&serving(NEW)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot remove the connection-tracking entry from 10.244.0.9:2 to 10.96.0.10:53 \
         (1 of 3 failed)"
    );
    assert_eq!(fake.flows, flows(&[2]));
}

#[test]
fn an_entry_that_went_by_itself_is_not_counted() {
    let mut fake = FakeFlows { flows: flows(&[1, 2]), vanish: true, ..FakeFlows::default() };
    assert_eq!(Flows::new(&mut fake).clean(&serving(NEW)).unwrap(), 0);
}

/// Others wait while a part is done.
#[test]
fn a_long_table_is_looked_through_in_parts_each_by_what_serves_then() {
    let mut fake = FakeFlows { flows: many_flows(200_000), ..FakeFlows::default() };
    let mut cleaner = Flows::new(&mut fake);
    let mut parts = 0;
    let mut removed = 0;
    // The first half goes to an endpoint that has gone; then it is back, and what is left may stay.
    while parts < 50 {
        assert_eq!(cleaner.clean_some(&serving(NEW)).unwrap(), Progress::Begun);
        let left = cleaner.connections.flows.len();
        let now = 200_000 - left - removed;
        assert!(now > 0 && now <= BITE, "{now} in a part");
        removed += now;
        parts += 1;
        assert_eq!(cleaner.take_cleaning(), None, "it goes on");
    }
    cleaner.note(effect(NEW, OLD));
    assert_eq!(cleaner.clean(&serving(OLD)).unwrap(), removed);
    assert_eq!(cleaner.take_cleaning(), Some(Cleaning { removed: [removed, 0], failed: false }));
    assert_eq!(cleaner.connections.flows.len(), 200_000 - removed);
    assert!(cleaner.connections.most_read <= BITE);
    // What has changed meanwhile may concern what was read before.
    let reads = cleaner.connections.reads;
    assert_eq!(cleaner.clean(&serving(OLD)).unwrap(), 0);
    assert_eq!(cleaner.connections.reads, reads + 1);
    assert_eq!(cleaner.clean(&serving(OLD)).unwrap(), 0);
    assert_eq!(cleaner.connections.reads, reads + 1, "nothing has changed since");
}

#[test]
fn flows_that_turn_bad_behind_the_place_that_was_read_go_at_the_next_look() {
    let mut fake = FakeFlows { flows: many_flows(10_000), ..FakeFlows::default() };
    let mut cleaner = Flows::new(&mut fake);
    assert_eq!(cleaner.clean_some(&serving(OLD)).unwrap(), Progress::Begun);
    cleaner.note(effect(OLD, NEW));
    let first = cleaner.clean(&serving(NEW)).unwrap();
    assert_eq!(first, 10_000 - BITE);
    assert_eq!(cleaner.clean(&serving(NEW)).unwrap(), BITE);
    assert!(fake.flows.is_empty());
}

/// What was noted while a look was under way that then failed, and what it was for, both count.
#[test]
fn a_look_that_fails_on_its_way_is_made_again_for_all_reasons() {
    let mut fake = FakeFlows { flows: many_flows(10_000), ..FakeFlows::default() };
    let mut cleaner = Flows::new(&mut fake);
    cleaner.clean(&serving(OLD)).unwrap();
    cleaner.note(effect(OLD, None));
    assert_eq!(cleaner.clean_some(&serving(None)).unwrap(), Progress::Begun);
    cleaner.connections.read_fails = true;
    cleaner.clean_some(&serving(None)).unwrap_err();
    assert_eq!(cleaner.take_cleaning(), Some(Cleaning { removed: [BITE, 0], failed: true }));
    cleaner.connections.read_fails = false;
    assert_eq!(cleaner.clean(&serving(None)).unwrap(), 10_000 - BITE);
}

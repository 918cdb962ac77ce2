//! Many changes, as fast as weir takes them: neither memory nor file descriptors grow.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use weir_apiserver::Resource;
use weir_testbed::eventually;

use crate::running::{LIMIT, Running, slice};

/// How many changes there are where `CHURN_CHANGES` does not say otherwise.
const CHANGES: usize = 10_000;
const SERVICES: usize = 100;

/// After so many changes weir must have taken them all: they are not to pile up in the test.
const BATCH: usize = 100;

/// How much memory may grow behind the second quarter, in KiB: allocators do not give all back.
const GROWTH_KIB: usize = 2048;
/// How many descriptors there may be more: the connection that sends Events comes and goes.
const MORE_DESCRIPTORS: usize = 2;

/// What a process takes.
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// `VmRSS`, in KiB.
    memory: usize,
    descriptors: usize,
}

impl Usage {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
        Self { memory: memory.expect("the kernel tells"), descriptors }
    }

    fn max(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

#[test]
fn memory_and_descriptors_are_flat_whatever_the_number_of_changes() {
    let changes = std::env::var("CHURN_CHANGES").ok();
    let changes = changes.map_or(CHANGES, |text| text.parse().expect("CHURN_CHANGES is a number"));
    let mut running = Running::new();
    let mut churn = Churn::new(&running);
    running.start();
    let pid = running.weir.as_mut().expect("it runs").child().id();
    let start = Instant::now();
    let mut highest = [None::<Usage>; 4];
    let mut done = 0;
    while done < changes {
        done += churn.batch(&running);
        let quarter = &mut highest[(4 * done / changes).min(3)];
        let now = Usage::of(pid);
        *quarter = Some(quarter.map_or(now, |before| before.max(now)));
    }
    println!("{done} changes in {:.1?}, at most {highest:?} in each quarter", start.elapsed());
    let [_, Some(early), _, Some(late)] = highest else { panic!("too few changes: {highest:?}") };
    assert!(late.memory <= early.memory + GROWTH_KIB, "{highest:?}");
    assert!(late.descriptors <= early.descriptors + MORE_DESCRIPTORS, "{highest:?}");
}

/// Services that change in turn.
struct Churn {
    /// How many changes there have been.
    count: usize,
    /// The number in the name of each Service: a Service that is made anew has a new one.
    names: Vec<usize>,
}

impl Churn {
    fn new(running: &Running) -> Self {
        running.server.apply(crate::running::service());
        let mut churn = Self { count: 0, names: (0..SERVICES).collect() };
        for index in 0..SERVICES {
            churn.apply(running, churn.service(index, false));
            churn.apply(running, churn.slice(index));
        }
        churn
    }

    /// Makes so many changes, and waits until weir has programmed them; gives how many there were.
    fn batch(&mut self, running: &Running) -> usize {
        let before = self.count;
        while self.count < before + BATCH {
            self.change(running);
        }
        // What tells that comes last, in one watch with the endpoints.
        let is_even = (before / BATCH).is_multiple_of(2);
        let (address, name) = if is_even { ("10.244.0.2", "b1") } else { ("10.244.0.3", "b2") };
        self.apply(running, slice(address));
        let answers = eventually(LIMIT, || (running.ask().server() == Some(name)).then_some(()));
        assert!(answers.is_some(), "no answer of {name} within {LIMIT:?}; log:\n{}", running.log());
        self.count - before
    }

    /// Changes the endpoints of a Service, or its affinity; or replaces it by one of another name.
    fn change(&mut self, running: &Running) {
        let (index, round) = (self.count % SERVICES, self.count / SERVICES);
        match round % 4 {
            0 | 2 => self.apply(running, self.slice(index)),
            1 => self.apply(running, self.service(index, round % 8 == 1)),
            _ => {
                let name = format!("s{}", self.names[index]);
                running.server.delete(Resource::Services, "default", &name);
                running.server.delete(Resource::EndpointSlices, "default", &name);
                self.count += 2;
                self.names[index] = self.count;
                self.apply(running, self.service(index, false));
                self.apply(running, self.slice(index));
            }
        }
    }

    fn apply(&mut self, running: &Running, object: Value) {
        running.server.apply(object);
        self.count += 1;
    }

    fn service(&self, index: usize, is_sticky: bool) -> Value {
        let address = format!("10.96.1.{index}");
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{}", self.names[index]), "namespace": "default"},
            "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                     "sessionAffinity": if is_sticky { "ClientIP" } else { "None" },
                     "ports": [{"port": 80}]},
        })
    }

    /// Two to four endpoints that it has not had lately.
    fn slice(&self, index: usize) -> Value {
        let address = |number: usize| {
            let number = 3 * self.count + number;
            format!("10.244.{}.{}", 1 + number / 250 % 200, 1 + number % 250)
        };
        let endpoints: Vec<Value> =
            (0..2 + self.count % 3).map(|number| json!({"addresses": [address(number)]})).collect();
        let name = format!("s{}", self.names[index]);
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "default",
                         "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
        })
    }
}

//! Which endpoint served when, counted in writes to the API server.

use std::collections::BTreeSet;

/// How many writes there had been.
pub(super) type Generation = u64;

/// The endpoints of each Service from each generation at which they changed.
pub(super) struct History {
    now: Generation,
    programmed: Generation,
    services: Vec<Vec<(Generation, BTreeSet<usize>)>>,
}

impl History {
    /// Services with these endpoints, of which nothing is programmed yet.
    pub(super) fn new(services: Vec<BTreeSet<usize>>) -> Self {
        let services = services.into_iter().map(|endpoints| vec![(0, endpoints)]).collect();
        Self { now: 0, programmed: 0, services }
    }

    /// The generation of the last write.
    pub(super) fn now(&self) -> Generation {
        self.now
    }

    /// The last generation that is known to be programmed: nothing from before it is asked any more.
    pub(super) fn programmed(&self) -> Generation {
        self.programmed
    }

    /// All that has been written is known to be programmed.
    pub(super) fn all_is_programmed(&mut self) {
        self.programmed = self.now;
    }

    /// The endpoints that a Service has now.
    pub(super) fn endpoints(&self, service: usize) -> &BTreeSet<usize> {
        &self.services[service].last().expect("there is one from the beginning").1
    }

    /// An endpoint moves from one Service to another, in one write.
    pub(super) fn moves(&mut self, endpoint: usize, from: usize, to: usize) {
        self.now += 1;
        for service in [from, to] {
            let mut endpoints = self.endpoints(service).clone();
            let changed = match service == from {
                true => endpoints.remove(&endpoint),
                false => endpoints.insert(endpoint),
            };
            assert!(changed, "{endpoint} moves from {from} to {to}");
            self.services[service].push((self.now, endpoints));
        }
    }

    /// Who may answer for a Service, if this was programmed when it was asked, and that had been
    /// written when the answer came.
    pub(super) fn may_answer(
        &self,
        service: usize,
        programmed: Generation,
        written: Generation,
    ) -> BTreeSet<usize> {
        let history = &self.services[service];
        let begin = history.partition_point(|(generation, _)| *generation <= programmed) - 1;
        let until = history.partition_point(|(generation, _)| *generation <= written);
        history[begin..until].iter().flat_map(|(_, endpoints)| endpoints.iter().copied()).collect()
    }

    /// Whether a Service is the same in all of these generations.
    pub(super) fn is_unchanged(&self, service: usize, from: Generation, to: Generation) -> bool {
        let changes = self.services[service].iter();
        !changes.map(|(generation, _)| *generation).any(|at| from < at && at <= to)
    }
}

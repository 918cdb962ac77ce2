//! A metrics registry that can list its descriptors.

use prometheus::core::{Atomic, GenericCounterVec, GenericGaugeVec};
use prometheus::core::{Collector, GenericCounter, GenericGauge};
use prometheus::{Histogram, HistogramOpts, HistogramVec, Opts, Registry};

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// Its help text.
    pub help: String,
}

/// A registry, and a list of what is in it: a registry itself knows only what has values already.
///
/// A name that is there twice or is none panics; the tests make every metric.
#[derive(Debug, Default)]
pub(crate) struct MetricsBuilder {
    registry: Registry,
    entries: Vec<Descriptor>,
}

impl MetricsBuilder {
    pub(crate) fn counter<P: Atomic + 'static>(
        &mut self,
        name: &str,
        help: &str,
    ) -> GenericCounter<P> {
        self.add("counter", name, help, &[], GenericCounter::with_opts(Opts::new(name, help)))
    }

    pub(crate) fn counters<P: Atomic + 'static>(
        &mut self,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> GenericCounterVec<P> {
        let made = GenericCounterVec::new(Opts::new(name, help), labels);
        self.add("counter", name, help, labels, made)
    }

    pub(crate) fn gauge<P: Atomic + 'static>(&mut self, name: &str, help: &str) -> GenericGauge<P> {
        self.add("gauge", name, help, &[], GenericGauge::with_opts(Opts::new(name, help)))
    }

    pub(crate) fn gauges<P: Atomic + 'static>(
        &mut self,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> GenericGaugeVec<P> {
        let made = GenericGaugeVec::new(Opts::new(name, help), labels);
        self.add("gauge", name, help, labels, made)
    }

    pub(crate) fn histogram(&mut self, name: &str, buckets: Vec<f64>, help: &str) -> Histogram {
        let made = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets));
        self.add("histogram", name, help, &[], made)
    }

    pub(crate) fn histograms(
        &mut self,
        name: &str,
        labels: &[&str],
        buckets: Vec<f64>,
        help: &str,
    ) -> HistogramVec {
        let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels);
        self.add("histogram", name, help, labels, made)
    }

    /// The registry, and what is in it.
    pub(crate) fn close(self) -> (Registry, Vec<Descriptor>) {
        (self.registry, self.entries)
    }

    fn add<C: Collector + Clone + 'static>(
        &mut self,
        kind: &'static str,
        name: &str,
        help: &str,
        labels: &[&str],
        made: prometheus::Result<C>,
    ) -> C {
        let metric = made.expect("names and labels are constants and valid");
        self.registry.register(Box::new(metric.clone())).expect("metric names are unique");
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.entries.push(Descriptor {
            name: name.to_owned(),
            kind,
            labels,
            help: help.to_owned(),
        });
        metric
    }
}

//! The JSON of /healthz, /livez and /readyz.

use k8s_openapi::jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Health, Moment};

/// The body of an answer. The order of its fields is kube-proxy's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthReport {
    /// When the kernel last held all, or now while all is well. `None` is Go's zero time.
    #[serde(serialize_with = "go_time")]
    pub last_updated: Option<Timestamp>,
    /// Now.
    pub current_time: Timestamp,
    /// Whether the node is to stay; only /healthz depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_eligible: Option<bool>,
    /// Whether all work is done or not late.
    pub healthy: bool,
    /// Whether something has been programmed besides; only /readyz depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// The process for whose end this one waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The families, once something is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<FamilyStatus>,
}

/// The health of each family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FamilyStatus {
    /// IPv4.
    #[serde(rename = "IPv4")]
    pub ipv4: FamilyHealth,
    /// IPv6.
    #[serde(rename = "IPv6")]
    pub ipv6: FamilyHealth,
}

/// The health of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyHealth {
    /// When the kernel last held all.
    #[serde(serialize_with = "go_time")]
    pub last_updated: Option<Timestamp>,
    /// Whether all work is done or not late.
    pub healthy: bool,
}

impl HealthReport {
    /// The report of /healthz, and whether it is healthy. A weir that waits for another is not, because it does
    /// not manage the node, and the other reports for it.
    pub fn healthz(health: &Health, now: Moment) -> (bool, Self) {
        let mut report = Self::new(health, now, health.is_healthy(now.at));
        let is_good = report.healthy && health.is_eligible() && health.waits_for().is_none();
        report.node_eligible = Some(health.is_eligible());
        (is_good, report.recent_if(is_good, now))
    }

    /// The report of /livez, and whether it is healthy: a node that is to go may well be alive, and so
    /// may one that has much to do, and a weir that waits for another.
    pub fn livez(health: &Health, now: Moment) -> (bool, Self) {
        let report = Self::new(health, now, health.is_alive(now.at));
        let is_good = report.healthy;
        (is_good, report.recent_if(is_good, now))
    }

    /// The report of /readyz, and whether it is healthy: whether this weir serves, for those who
    /// replace one weir by another. kube-proxy has none; its /healthz is bad also on nodes that are to
    /// go, and its /livez good where the API server has never answered.
    pub fn readyz(health: &Health, now: Moment) -> (bool, Self) {
        let mut report = Self::new(health, now, health.is_healthy(now.at));
        let is_good = report.healthy && health.was_updated() && health.waits_for().is_none();
        report.ready = Some(is_good);
        (is_good, report.recent_if(is_good, now))
    }

    fn new(health: &Health, now: Moment, healthy: bool) -> Self {
        let family = FamilyHealth { last_updated: health.updated, healthy };
        // While it starts there is nothing to tell, unless the start takes too long.
        let is_known = health.updated.is_some() || !healthy;
        Self {
            last_updated: health.updated,
            current_time: now.wall,
            node_eligible: None,
            healthy,
            ready: None,
            waits_for: health.waits_for().map(str::to_owned),
            status: is_known.then_some(FamilyStatus { ipv4: family, ipv6: family }),
        }
    }

    /// Where nothing has changed for long all is as good as just done.
    fn recent_if(self, is_good: bool, now: Moment) -> Self {
        let last_updated = if is_good { Some(now.wall) } else { self.last_updated };
        Self { last_updated, ..self }
    }
}

/// RFC 3339 with as many decimals as there are, as Go's `time.Time` is written in JSON; never is
/// Go's zero time.
#[allow(clippy::ref_option, reason = "serde gives a reference to the field")]
fn go_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => time.serialize(serializer),
        None => serializer.serialize_str("0001-01-01T00:00:00Z"),
    }
}

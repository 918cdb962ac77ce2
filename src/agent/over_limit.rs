//! Reports each Service that exceeds a limit, once.

use std::collections::BTreeMap;

use weir_rules::cluster::{ChangeSet, Cluster, NamespacedName};
use weir_rules::config::Config;
use weir_rules::facts::excess::{Excess, excess};

/// The Services over their limits that have been reported.
#[derive(Debug, Default)]
pub(super) struct OverLimit {
    told: BTreeMap<NamespacedName, Excess>,
}

impl OverLimit {
    /// What is new of these Services; nothing of one that is within its limits again.
    pub(super) fn update(
        &mut self,
        cluster: &Cluster,
        config: &Config,
        change_set: &ChangeSet,
    ) -> Vec<(NamespacedName, Option<Excess>)> {
        let mut news = Vec::new();
        for name in &change_set.services {
            let service = cluster.services.get(name);
            let found = service.and_then(|it| excess(it, &cluster.slices.of(name), config));
            let before = match found {
                Some(excess) => self.told.insert(name.clone(), excess),
                None => self.told.remove(name),
            };
            if before != found && service.is_some() {
                news.push((name.clone(), found));
            }
        }
        news
    }

    /// How many Services there are of these.
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }
}

#[cfg(test)]
mod tests {
    use weir_rules::cluster::{Protocol, Service, ServicePort};

    use super::*;

    #[test]
    fn what_is_left_out_is_told_once_and_so_is_its_end() {
        let name = NamespacedName::new("default", "big");
        let with = |external: u8| Service {
            cluster_ips: vec![[10, 96, 0, 1].into()],
            external_ips: (0..external).map(|number| [203, 0, 113, number].into()).collect(),
            ports: vec![ServicePort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: 80.try_into().unwrap(),
                node_port: None,
            }],
            ..Service::default()
        };
        let mut cluster = Cluster::default();
        cluster.services.limit(10);
        let mut over = OverLimit::default();
        let mut told = |external: Option<u8>| {
            match external {
                Some(external) => drop(cluster.services.insert(name.clone(), with(external))),
                None => drop(cluster.services.remove(&name)),
            }
            let change_set = ChangeSet::services([name.clone()]);
            let news = over.update(&cluster, &Config::new("node-a"), &change_set);
            let keys = news.into_iter().map(|(_, excess)| excess.map(|excess| excess.keys));
            (keys.collect::<Vec<_>>(), over.len())
        };
        assert_eq!(told(Some(9)), (vec![], 0));
        assert_eq!(told(Some(11)), (vec![Some(2)], 1));
        assert_eq!(told(Some(11)), (vec![], 1));
        assert_eq!(told(Some(12)), (vec![Some(3)], 1));
        assert_eq!(told(Some(1)), (vec![None], 0));
        assert_eq!(told(Some(20)), (vec![Some(11)], 1));
        assert_eq!(told(None), (vec![], 0));
    }
}

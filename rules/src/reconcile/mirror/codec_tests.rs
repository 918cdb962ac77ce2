use proptest::prelude::*;

use super::*;
use crate::cluster::Family;
use crate::compile::Skeleton;
use crate::testing::random::{cluster, config, seeded};

/// A list of endpoints at slots.
fn list(map: Map, slots: &[u32]) -> Vec<Entry> {
    let entry = |slot: &u32| {
        let key = RawKey::from_bytes(&[10, 96, 0, 1]).unwrap().slot(*slot);
        let endpoint = RawValue::from_bytes(&[*slot as u8; 8]).unwrap();
        (map, key, Element::new(Data::Values(endpoint)))
    };
    slots.iter().map(entry).collect()
}

fn there_and_back(fragment: &Fragment) -> Fragment {
    let mut bytes = Vec::new();
    let rest = pack(fragment.clone(), &mut bytes);
    unpack(&bytes, rest)
}

fn is_as_it_was(elements: Vec<Entry>) {
    let fragment = Fragment { elements: elements.into(), ..Fragment::default() };
    assert_eq!(there_and_back(&fragment), fragment);
}

/// As the kernel may hold it, when others have changed it.
#[test]
fn lists_with_gaps_and_odd_elements_come_back() {
    is_as_it_was(vec![]);
    is_as_it_was(list(Map::Endpoints, &[0, 1, 3, 65535, 65536, u32::MAX]));
    let mut elements = list(Map::Endpoints, &[0, 1, 2, 3]);
    elements[1].2.comment = Some("of others".into());
    elements[2].2.data = Data::Values(RawValue::from_bytes(&[1; 20]).unwrap());
    elements[3].2.data = Data::Nothing;
    elements.extend(list(Map::NodePortEndpoints, &[4]));
    is_as_it_was(elements);
    let long = "x".repeat(300);
    for comment in [None, Some(""), Some("default/web"), Some(&*long)] {
        for verdict in [
            Verdict::Goto("lb-1".into()),
            Verdict::Jump("a".into()),
            Verdict::Goto(Name::new(&*long)),
            Verdict::Drop,
            Verdict::Accept,
            Verdict::Return,
            Verdict::Continue,
        ] {
            let key = RawKey::from_bytes(&[10, 96, 0, 1]).unwrap();
            let comment = comment.map(Box::from);
            is_as_it_was(vec![(
                Map::Services,
                key,
                Element { data: Data::Verdict(verdict), comment },
            )]);
        }
    }
}

#[test]
fn a_list_takes_little_more_than_its_endpoints() {
    let slots: Vec<u32> = (0..100).collect();
    let elements = list(Map::Endpoints, &slots);
    let mut bytes = Vec::new();
    let rest = pack(Fragment { elements: elements.into(), ..Fragment::default() }, &mut bytes);
    assert!(rest.is_empty());
    assert!(bytes.len() < 8 * 100 + 20, "{}", bytes.len());
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn what_any_service_adds_comes_back(cluster in cluster(), config in config()) {
        for family in Family::ALL {
            let frame = Skeleton::new(family, &cluster, &config);
            for name in cluster.services.keys() {
                let fragment = frame.fragment(name, &cluster);
                prop_assert_eq!(there_and_back(&fragment), fragment);
            }
        }
    }
}

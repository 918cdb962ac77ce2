use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::compile::Map;
use crate::nft::{Data, Element, RawKey, RawValue};
use crate::testing::random::seeded;

/// A fragment with so many endpoints.
fn fragment(endpoints: u32) -> Fragment {
    let entry = |slot: u32| {
        let endpoint = RawValue::from_bytes(&slot.to_be_bytes()).unwrap();
        (Map::Endpoints, RawKey::new().slot(slot), Element::new(Data::Values(endpoint)))
    };
    let own = endpoints.is_multiple_of(7).then(Box::<Table>::default);
    Fragment {
        elements: (0..endpoints).map(entry).collect(),
        own: own.filter(|_| endpoints > 0),
        ..Fragment::default()
    }
}

proptest! {
    #![proptest_config(seeded(16))]

    /// However often they change, at the cost of little more than what there is.
    #[test]
    fn fragments_are_what_was_put_last(changes in vec((0..20u8, 0..2000u32), 200)) {
        let (mut store, mut expected) = (FragmentStore::default(), HashMap::new());
        for (number, endpoints) in changes {
            let name = NamespacedName::new("default", format!("web-{number}"));
            let before = store.get(&name);
            store.replace(name.clone(), fragment(endpoints));
            prop_assert_eq!(before, expected.insert(name, fragment(endpoints)).unwrap_or_default());
        }
        expected.retain(|_, fragment| !fragment.is_empty());
        let all: HashMap<_, _> = store.iter().map(|(name, it)| (name.clone(), it)).collect();
        prop_assert_eq!(&all, &expected);
        prop_assert_eq!(store.names().count(), expected.len());
        prop_assert_eq!(
            store.own().count(),
            expected.values().filter(|it| it.own.is_some()).count()
        );
        let live: u32 = store.places.values().map(|place| place.length).sum();
        prop_assert!(store.bytes.len() <= (live as usize + FEW) * 2, "{} of {live}", store.bytes.len());
    }
}

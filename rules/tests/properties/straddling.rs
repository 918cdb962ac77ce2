//! What holds for a packet that is on its way through the ruleset while a transaction takes effect:
//! it comes with the verdict from before it and meets the endpoints from behind it.

use super::split::{NODE_ADDRESSES, packets, well_served};
use super::*;

/// The slot that a key of an endpoint map ends with, counted from the first of its list.
fn place_in_list(key: &RawKey) -> u32 {
    let place = key.as_bytes().last_chunk::<2>().expect("a slot");
    u16::from_be_bytes(*place).into()
}

/// The ruleset with no more than the first so many endpoints of each list, of which the verdicts
/// still say that all are there. `None` if nothing is gone then.
fn cut(ruleset: &Ruleset, length: u32) -> Option<Ruleset> {
    let mut shorter = ruleset.clone();
    for table in shorter.tables.values_mut() {
        for map in [names::ENDPOINTS, names::NODEPORT_ENDPOINTS] {
            let elements = &mut table.sets.get_mut(map).expect("it is always there").elements;
            elements.retain(|key, _| place_in_list(key) < length);
        }
    }
    (shorter != *ruleset).then_some(shorter)
}

fn outcomes(ruleset: &Ruleset, packet: &Packet, own: &BTreeSet<IpAddr>) -> Vec<FinalVerdict> {
    simulate(ruleset, packet, own).outcomes.into_iter().map(|end| end.outcome).collect()
}

proptest! {
    #![proptest_config(seeded(256))]

    /// Were it not translated, it would be refused, or pass to a virtual address.
    #[test]
    fn a_packet_finds_an_endpoint_as_long_as_the_list_has_any(
        cluster in cluster(),
        config in config(),
    ) {
        let cluster = well_served(cluster);
        let own = BTreeSet::from(NODE_ADDRESSES.map(|address| address.parse().expect("one")));
        let ruleset = compile(&cluster, &config);
        let packets = packets(&cluster, &config, &own);
        for shorter in (1..).map_while(|length| cut(&ruleset, length)) {
            for packet in &packets {
                let right = outcomes(&ruleset, packet, &own);
                for outcome in outcomes(&shorter, packet, &own) {
                    prop_assert!(right.contains(&outcome), "{:?}\n{:?}\n{:?}", packet, outcome, right);
                }
            }
        }
    }
}

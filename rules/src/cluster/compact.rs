//! Maps without spare capacity.

use std::collections::BTreeMap;
use std::mem;

/// Builds a map anew. One that is filled key after key in order, as a list of the API server comes,
/// has nodes that are half full; one that is built at once has full ones.
pub(crate) fn compact<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = mem::take(map).into_iter().collect();
}

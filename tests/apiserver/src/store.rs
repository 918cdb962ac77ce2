//! The objects and how they came to be what they are.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::Resource;
use crate::selector::Selector;

/// A kind, a namespace and a name.
pub(crate) type Key = (Resource, String, String);

/// How many changes are remembered. A real server forgets all but the latest, too, and tells a
/// watcher who needs others to list again.
const REMEMBERED: usize = 10_000;

/// All objects and all changes that have not been forgotten.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    history: VecDeque<Change>,
    /// How many changes there were before the history.
    before: usize,
    version: u64,
    /// The last version that is forgotten.
    forgotten: u64,
}

/// A change, or a bookmark where there is no key.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    key: Option<Key>,
    before: Option<Value>,
    after: Option<Value>,
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum Told {
    Object(&'static str, Value),
    Bookmark,
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The version that is too old to watch from.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Puts an object in the place of what was there.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) {
        self.version += 1;
        let before = self.objects.get(&key).cloned();
        let is_same = |field: &str| before.as_ref().map(|before| before["metadata"][field].clone());
        let uid = is_same("uid").unwrap_or_else(|| json!(uid(self.version)));
        let created = is_same("creationTimestamp").unwrap_or_else(|| json!("2026-11-21T09:32:32Z"));
        object["metadata"]["uid"] = uid;
        object["metadata"]["creationTimestamp"] = created;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let after = Some(object.clone());
        self.objects.insert(key.clone(), object);
        self.remember(Some(key), before, after);
    }

    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        let Some(mut before) = self.objects.remove(key) else { return false };
        self.version += 1;
        before["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.remember(Some(key.clone()), Some(before), None);
        true
    }

    pub(crate) fn bookmark(&mut self) {
        self.remember(None, None, None);
    }

    fn remember(&mut self, key: Option<Key>, before: Option<Value>, after: Option<Value>) {
        self.history.push_back(Change { version: self.version, key, before, after });
        if self.history.len() > REMEMBERED
            && let Some(change) = self.history.pop_front()
        {
            self.before += 1;
            self.forgotten = self.forgotten.max(change.version);
        }
    }

    /// Forgets how the present state came to be.
    pub(crate) fn compact(&mut self) {
        // A version of its own, so that nobody has the one that is forgotten last.
        self.version += 1;
        self.forgotten = self.version - 1;
    }

    /// Goes back to a version of long ago, though with the objects of today.
    pub(crate) fn set_back(&mut self) {
        self.history.clear();
        self.before = 0;
        self.version = 1;
        self.forgotten = 0;
    }

    /// Those that a selector selects, by name, as they were in a version.
    pub(crate) fn select(
        &self,
        resource: Resource,
        selector: &Selector,
        version: u64,
    ) -> Vec<(Key, Value)> {
        let mut objects = self.objects.clone();
        for change in self.history.iter().rev().filter(|change| change.version > version) {
            match (&change.key, &change.before) {
                (Some(key), Some(before)) => objects.insert(key.clone(), before.clone()),
                (Some(key), None) => objects.remove(key),
                (None, _) => None,
            };
        }
        objects.retain(|(of, ..), object| *of == resource && selector.selects(object));
        objects.into_iter().collect()
    }

    /// The changes after this place in the history, and the place to go on from; `None` if some of
    /// them are forgotten.
    pub(crate) fn changes(&self, place: usize) -> Option<(impl Iterator<Item = &Change>, usize)> {
        let begin = place.checked_sub(self.before)?;
        Some((self.history.range(begin..), self.end()))
    }

    /// The place behind the history.
    pub(crate) fn end(&self) -> usize {
        self.before + self.history.len()
    }

    /// The place in the history from which a version goes on.
    pub(crate) fn place(&self, version: u64) -> usize {
        let is_older = |change: &&Change| change.version <= version;
        self.before + self.history.iter().filter(is_older).count()
    }
}

impl Change {
    pub(crate) fn is_bookmark(&self) -> bool {
        self.key.is_none()
    }

    /// What a watcher with this selector is told of it: an object that leaves the selection is gone
    /// for it.
    pub(crate) fn told(&self, resource: Resource, selector: &Selector) -> Option<Told> {
        let Some((of, ..)) = &self.key else { return Some(Told::Bookmark) };
        if *of != resource {
            return None;
        }
        let selected = |object: &Option<Value>| {
            object.as_ref().filter(|object| selector.selects(object)).cloned()
        };
        match (selected(&self.before), selected(&self.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(Told::Object("ADDED", after)),
            (Some(_), Some(after)) => Some(Told::Object("MODIFIED", after)),
            (Some(mut before), None) => {
                before["metadata"]["resourceVersion"] = json!(self.version.to_string());
                Some(Told::Object("DELETED", before))
            }
        }
    }
}

fn uid(version: u64) -> String {
    format!("00000000-0000-4000-8000-{version:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_changes_are_remembered() {
        let mut store = Store::default();
        let key: Key = (Resource::Services, "default".to_owned(), "web".to_owned());
        let beyond = 5;
        (0..REMEMBERED + beyond).for_each(|_| store.put(key.clone(), json!({"metadata": {}})));
        assert_eq!(store.forgotten(), beyond as u64);
        assert!(store.changes(beyond - 1).is_none(), "a watcher that is behind is told so");
        let (changes, end) = store.changes(beyond).expect("these are there");
        assert_eq!(changes.count(), REMEMBERED);
        assert_eq!(end, REMEMBERED + beyond);
        assert_eq!(store.place(beyond as u64), beyond);
        assert_eq!(store.place(store.version()), end);
    }
}

//! The objects and their history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::Resource;
use crate::object::Object;
use crate::selector::Selector;

/// A kind, a namespace and a name.
pub(crate) type Key = (Resource, String, String);

/// How many changes are remembered. A real server forgets all but the latest, too, and tells a
/// watcher who needs others to list again.
const REMEMBERED: usize = 10_000;

/// All objects and all changes that have not been forgotten.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Arc<Object>>,
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
    before: Option<Arc<Object>>,
    after: Option<Arc<Object>>,
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum Told {
    Object(&'static str, Arc<Object>),
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

    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.objects.get(key).map(|object| object.value())
    }

    /// Puts an object in the place of what was there.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) {
        self.version += 1;
        let before = self.objects.get(&key).cloned();
        let is_same =
            |field: &str| before.as_ref().map(|before| before.head()["metadata"][field].clone());
        let uid = is_same("uid").unwrap_or_else(|| json!(uid(self.version)));
        let created = is_same("creationTimestamp").unwrap_or_else(|| json!("2026-11-21T09:32:32Z"));
        object["metadata"]["uid"] = uid;
        object["metadata"]["creationTimestamp"] = created;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(Object::new(key.0, &object));
        self.objects.insert(key.clone(), object.clone());
        self.remember(Some(key), before, Some(object));
    }

    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        let Some(before) = self.objects.remove(key) else { return false };
        self.version += 1;
        let before = before.at_version(key.0, self.version);
        self.remember(Some(key.clone()), Some(Arc::new(before)), None);
        true
    }

    pub(crate) fn bookmark(&mut self) {
        self.remember(None, None, None);
    }

    fn remember(
        &mut self,
        key: Option<Key>,
        before: Option<Arc<Object>>,
        after: Option<Arc<Object>>,
    ) {
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
    ) -> Vec<(&Key, &Object)> {
        let is_of_it = |key: &Key| key.0 == resource;
        let first = (resource, String::new(), String::new());
        let now = self.objects.range(first..).take_while(|(key, _)| is_of_it(key));
        let mut objects: BTreeMap<&Key, &Arc<Object>> = now.collect();
        for change in self.history.iter().rev().take_while(|change| change.version > version) {
            match (change.key.as_ref().filter(|key| is_of_it(key)), &change.before) {
                (Some(key), Some(before)) => objects.insert(key, before),
                (Some(key), None) => objects.remove(key),
                (None, _) => None,
            };
        }
        let selected = objects.into_iter().map(|(key, object)| (key, &**object));
        selected.filter(|(_, object)| selector.selects(object.head())).collect()
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
        let selected = |object: &Option<Arc<Object>>| {
            object.as_ref().filter(|object| selector.selects(object.head())).cloned()
        };
        match (selected(&self.before), selected(&self.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(Told::Object("ADDED", after)),
            (Some(_), Some(after)) => Some(Told::Object("MODIFIED", after)),
            (Some(before), None) => {
                let before = before.at_version(resource, self.version);
                Some(Told::Object("DELETED", Arc::new(before)))
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

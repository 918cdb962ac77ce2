//! Namespaced names.

use std::fmt;
use std::sync::Arc;

/// A namespace and a name: the identity of a namespaced object of one kind.
///
/// The text is shared by all copies, since each is in many maps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// Both, with a [`BETWEEN`]. So the order of the text is by namespace, and in one by name.
    text: Arc<str>,
}

/// Is before all characters that names have.
const BETWEEN: char = '\0';

impl NamespacedName {
    /// Joins a namespace and a name.
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self { text: format!("{}{BETWEEN}{}", namespace.as_ref(), name.as_ref()).into() }
    }

    /// What no name is less than: to compare with, and not for a name.
    pub(crate) fn least() -> Self {
        Self { text: Arc::default() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.text.split_once(BETWEEN).expect("`new` joins the two parts with a separator")
    }
}

impl fmt::Display for NamespacedName {
    /// `namespace/name`, as kubectl and kube-proxy write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = self.parts();
        write!(f, "{namespace}/{name}")
    }
}

impl fmt::Debug for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_namespace_are_together() {
        let name = NamespacedName::new;
        let mut names = [name("a-b", "a"), name("a", "z"), name("a0", "b"), name("a", "b")];
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["a/b", "a/z", "a-b/a", "a0/b"]);
    }
}

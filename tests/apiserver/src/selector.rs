//! Label and field selectors, as far as proxies use them: `key`, `!key`, `key=value`, `key!=value`.

use serde_json::Value;

use crate::Resource;
use crate::query::Query;

/// Which objects a request is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    Absent,
    Is(String),
    IsNot(String),
}

impl Selector {
    /// The selectors of a query, or the message of the refusal.
    pub(crate) fn parse(
        resource: Resource,
        namespace: Option<&str>,
        query: &Query,
    ) -> Result<Self, String> {
        let terms = |name: &str| -> Vec<Term> {
            let terms = query.get(name).unwrap_or_default().split(',');
            terms.filter(|term| !term.is_empty()).map(Term::parse).collect()
        };
        let mut fields = terms("fieldSelector");
        for Term { key, .. } in &fields {
            let is_common = matches!(key.as_str(), "metadata.name" | "metadata.namespace");
            if !is_common && !resource.selectable_fields().contains(&key.as_str()) {
                return Err(format!("field label not supported: {key}"));
            }
        }
        fields.extend(namespace.map(|name| Term {
            key: "metadata.namespace".to_owned(),
            test: Test::Is(name.to_owned()),
        }));
        Ok(Self { labels: terms("labelSelector"), fields })
    }

    pub(crate) fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
        let field = |key: &str| {
            let value = key.split('.').fold(object, |value, part| &value[part]);
            Some(value.as_str().unwrap_or_default().to_owned())
        };
        self.labels.iter().all(|term| term.holds(label(&term.key)))
            && self.fields.iter().all(|term| term.holds(field(&term.key)))
    }
}

impl Term {
    fn parse(text: &str) -> Self {
        let (key, test) = if let Some((key, value)) = text.split_once("!=") {
            (key, Test::IsNot(value.to_owned()))
        } else if let Some((key, value)) = text.split_once('=') {
            (key, Test::Is(value.trim_start_matches('=').to_owned()))
        } else if let Some(key) = text.strip_prefix('!') {
            (key, Test::Absent)
        } else {
            (text, Test::Exists)
        };
        Self { key: key.to_owned(), test }
    }

    fn holds(&self, value: Option<String>) -> bool {
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Is(expected) => value.as_ref() == Some(expected),
            Test::IsNot(other) => value.as_ref() != Some(other),
        }
    }
}

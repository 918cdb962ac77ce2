//! Authentication and authorisation.

use serde_json::Value;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::tls::{self, Verifier};
use crate::{Resource, Verb};

/// What is asked of those who ask. To begin with, nothing.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) token: Option<String>,
    pub(crate) certificates: Option<Verifier>,
    /// The rules of a ClusterRole that all users have; without any, everything is allowed.
    pub(crate) rules: Option<Vec<Value>>,
    /// How often somebody was refused.
    pub(crate) refusals: usize,
}

impl Admission {
    /// Whether these are the credentials of a user: one kind is enough.
    pub(crate) fn knows(
        &self,
        authorization: Option<&str>,
        shown: &[CertificateDer<'static>],
    ) -> bool {
        let has_token = self
            .token
            .as_ref()
            .is_some_and(|token| authorization == Some(&*format!("Bearer {token}")));
        let has_certificate =
            self.certificates.as_ref().is_some_and(|verifier| tls::is_good(verifier, shown));
        has_token || has_certificate || (self.token.is_none() && self.certificates.is_none())
    }

    /// Whether a user may ask for this (`ruleMatches` of kubernetes'
    /// plugin/pkg/auth/authorizer/rbac/rbac.go).
    pub(crate) fn allows(&self, resource: Resource, verb: Verb) -> bool {
        let names = |rule: &Value, field: &str, name: &str| {
            let names = rule[field].as_array().map(Vec::as_slice).unwrap_or_default();
            names.iter().any(|of| of == name || of == "*")
        };
        self.rules.as_ref().is_none_or(|rules| {
            rules.iter().any(|rule| {
                names(rule, "apiGroups", resource.group())
                    && names(rule, "resources", resource.plural())
                    && names(rule, "verbs", verb.word())
            })
        })
    }
}

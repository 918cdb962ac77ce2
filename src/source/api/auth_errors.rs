//! Classifies failures of authentication and TLS.

use std::error::Error;
use std::io;

use kube::client::AuthError;

use super::transport::cause;

/// Whether newer credentials may help: the server does not know us (401), or one of the two does not
/// take the other's certificate. The certificate authority counts as a credential, because it is in the
/// same file and changes, too.
pub(super) fn may_be_outdated(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 401,
        other => is_tls_failure(other),
    }
}

/// Whether other credentials than these are needed.
pub(super) fn is_for_credentials(error: &kube::Error) -> bool {
    may_be_outdated(error) || has_no_credentials(error)
}

/// Whether there was nothing to show to the server, because a plugin did not give it.
pub(super) fn has_no_credentials(error: &kube::Error) -> bool {
    match error {
        kube::Error::Auth(_) => true,
        kube::Error::Service(error) => error.is::<AuthError>(),
        _ => false,
    }
}

/// Whether TLS has failed, in the handshake or, where the server dislikes a certificate, right after.
pub(super) fn is_tls_failure(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| cause(error)).any(|error| {
        // As tokio-rustls wraps errors of rustls.
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
    })
}

//! Certificates, and the server's side of TLS.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

/// Issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: String,
}

impl Authority {
    /// A new one, that nobody trusts yet.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key());
        Self { issuer: issuer.expect("the parameters are good") }
    }

    /// Its own certificate, as PEM: what those who trust it have.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// The certificate of a server at 127.0.0.1, and at `localhost`.
    pub fn server(&self) -> Identity {
        let mut params = params("kube-apiserver", &["127.0.0.1", "localhost"]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    /// The certificate of a user, who may be of a group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Identity {
        self.issue(&client(user, group))
    }

    /// A user's certificate that has expired.
    pub fn expired_client(&self, user: &str) -> Identity {
        let mut params = client(user, None);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Identity {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are good");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn params(name: &str, addresses: &[&str]) -> CertificateParams {
    let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
    let mut params = CertificateParams::new(addresses).expect("names and addresses are good");
    params.not_before = date_time_ymd(2019, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// kube-apiserver takes the user's name from CN, and the group from O.
fn client(user: &str, group: Option<&str>) -> CertificateParams {
    let mut params = params(user, &[]);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Tells whether a client's certificate is good.
pub(crate) type Verifier = Arc<dyn ClientCertVerifier>;

/// Who trusts certificates of this authority.
pub(crate) fn verifier(authority: &Authority) -> Verifier {
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).expect("it is good");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.build().expect("there is a root")
}

/// Whether the certificates that a client has shown are good now.
pub(crate) fn is_good(verifier: &Verifier, shown: &[CertificateDer<'static>]) -> bool {
    shown.split_first().is_some_and(|(own, others)| {
        verifier.verify_client_cert(own, others, UnixTime::now()).is_ok()
    })
}

/// The server's side of TLS, with this certificate. Clients may show what they want.
pub(crate) fn config(identity: &Identity) -> Arc<ServerConfig> {
    config_for(identity, Arc::new(Later(provider())))
}

/// The same for those only whom the verifier knows: others meet with the end of the handshake.
pub(crate) fn config_for(identity: &Identity, clients: Verifier) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
        .expect("they belong together");
    Arc::new(config)
}

/// Asks for a certificate and takes what comes: as by kube-apiserver (`tls.RequestClientCert` of
/// apiserver's pkg/server/secure_serving.go), it is looked at when a request comes, and a bad one is
/// answered by 401 and not by an end of the handshake.
#[derive(Debug)]
struct Later(Arc<CryptoProvider>);

impl ClientCertVerifier for Later {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

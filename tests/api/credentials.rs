//! Who weir is to the server, and how it knows the server: over TLS, with every kind of credentials
//! that a kubeconfig has, and with what becomes of them while weir runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use weir::config::Limits;
use weir::source::api::{ApiClient, ClientSource, ClientSourceError};
use weir_apiserver::{Authority, Break, Identity, Resource};

use crate::world::{World, has_service, service};

/// A server that speaks TLS, and a folder for a kubeconfig and what it names.
struct Secured {
    world: World,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Secured {
    fn new() -> Self {
        let world = World::new();
        let authority = Authority::new("cluster");
        world.server.apply(service("web", "10.96.0.10"));
        world.server.use_tls(&authority);
        Self { world, authority, folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    }

    /// Writes the kubeconfig of a user with these fields, who trusts the server.
    fn write_kubeconfig(&self, user: &str) {
        let authority = self.write("ca.crt", &self.authority.certificate());
        let cluster = format!("certificate-authority: {authority}");
        self.write("kubeconfig", &self.world.server.kubeconfig_with(&cluster, user));
    }

    /// Writes a client certificate and its key; gives the fields that name them.
    fn write_identity(&self, identity: &Identity) -> String {
        let certificate = self.write("client.crt", &identity.certificate);
        let key = self.write("client.key", &identity.key);
        format!("client-certificate: {certificate}, client-key: {key}")
    }

    /// Writes a program that says what a file says, and counts how often it was asked; gives the
    /// fields that have it run.
    fn write_plugin(&self) -> String {
        let (says, asked) = (self.path("says"), self.path("asked"));
        let script = format!("#!/bin/sh\necho >>'{}'\ncat '{}'\n", asked.display(), says.display());
        let path = self.write("plugin", &script);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
        format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1, command: {path}, \
             interactiveMode: Never}}"
        )
    }

    /// Has the plugin give credentials.
    fn plugin_says(&self, status: &str) {
        self.write(
            "says",
            &format!(
                r#"{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                    "status": {status}}}"#
            ),
        );
    }

    fn access(&self) -> ClientSource {
        ClientSource::Kubeconfig { path: self.path("kubeconfig"), master: None }
    }

    /// All is known, with the credentials of the kubeconfig.
    async fn is_followed(&mut self) {
        self.world.watch_as(&self.access()).await;
        self.world.until("all is known", |state| state.cluster().is_some()).await;
        assert_eq!(self.world.services(), ["web"]);
    }

    /// Changes something while all connections are lost, and lets time pass. Nothing is known of the
    /// change then.
    async fn is_locked_out(&mut self) {
        self.world.server.break_watches(Break::Reset);
        self.world.server.apply(service("more", "10.96.0.11"));
        self.world.pass(Duration::from_secs(300)).await;
        assert!(!has_service(&self.world.state, "more"));
    }

    /// The client's certificate has expired; a new one takes its place.
    async fn is_let_in_by_a_new_certificate(&mut self) {
        self.write_kubeconfig(&self.write_identity(&self.authority.expired_client("node")));
        self.world.watch_as(&self.access()).await;
        self.world.pass(Duration::from_secs(300)).await;
        assert!(self.world.state.cluster().is_none());
        self.write_identity(&self.authority.client("node", None));
        self.world.until("all is known", |state| state.cluster().is_some()).await;
    }

    /// Well before the ten minutes after which weir would list anew in any case.
    async fn is_let_in_again(&mut self) {
        let start = Instant::now();
        self.world.until("the change", |state| has_service(state, "more")).await;
        assert!(start.elapsed() < Duration::from_secs(500), "{:?}", start.elapsed());
        assert_eq!(self.world.services(), ["more", "web"]);
    }
}

fn inline(text: &str) -> String {
    STANDARD.encode(text)
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_is_shown_by_file_and_by_data() {
    for by_file in [true, false] {
        let mut secured = Secured::new();
        secured.world.server.require_certificate_of(&secured.authority);
        let identity = secured.authority.client("system:kube-proxy", None);
        if by_file {
            secured.write_kubeconfig(&secured.write_identity(&identity));
        } else {
            let cluster =
                format!("certificate-authority-data: {}", inline(&secured.authority.certificate()));
            let user = format!(
                "client-certificate-data: {}, client-key-data: {}",
                inline(&identity.certificate),
                inline(&identity.key)
            );
            secured.write("kubeconfig", &secured.world.server.kubeconfig_with(&cluster, &user));
        }
        secured.is_followed().await;
        assert_eq!(secured.world.server.refusals(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_client_certificate_takes_the_place_of_one_that_has_expired() {
    let mut secured = Secured::new();
    secured.world.server.require_certificate_of(&secured.authority);
    secured.is_let_in_by_a_new_certificate().await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_somebody_else_is_not_good_enough() {
    let mut secured = Secured::new();
    secured.world.server.require_certificate_of(&secured.authority);
    let stranger = Authority::new("somebody else").client("admin", Some("system:masters"));
    secured.write_kubeconfig(&secured.write_identity(&stranger));
    secured.world.watch_as(&secured.access()).await;
    secured.world.pass(Duration::from_secs(300)).await;
    assert!(secured.world.state.cluster().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_again_and_the_white_space_around_the_token_does_not_count() {
    for (old, new) in [("old", "new"), ("old\n", "new\n"), (" old", "\tnew\r\n")] {
        let mut secured = Secured::new();
        secured.world.server.require_token("old");
        let path = secured.write("token", old);
        // The file comes before a token beside it.
        secured.write_kubeconfig(&format!("token: neither, tokenFile: {path}"));
        secured.is_followed().await;
        secured.world.server.require_token("new");
        secured.is_locked_out().await;
        secured.write("token", new);
        secured.is_let_in_again().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_asked_again_when_its_token_is_refused() {
    let mut secured = Secured::new();
    secured.world.server.require_token("old");
    secured.plugin_says(r#"{"token": "old"}"#);
    secured.write_kubeconfig(&secured.write_plugin());
    secured.is_followed().await;
    secured.world.server.require_token("new");
    secured.is_locked_out().await;
    secured.plugin_says(r#"{"token": "new"}"#);
    secured.is_let_in_again().await;
}

/// kube's client runs the plugin before each request then.
#[tokio::test(start_paused = true)]
async fn a_plugin_is_asked_before_its_token_expires() {
    let mut secured = Secured::new();
    secured.world.server.require_token("old");
    let status = |token: &str| {
        format!(r#"{{"token": "{token}", "expirationTimestamp": "2020-01-01T00:00:00Z"}}"#)
    };
    secured.plugin_says(&status("old"));
    secured.write_kubeconfig(&secured.write_plugin());
    secured.is_followed().await;
    secured.world.server.require_token("new");
    secured.plugin_says(&status("new"));
    secured.world.server.break_watches(Break::Reset);
    secured.world.server.apply(service("more", "10.96.0.11"));
    secured.is_let_in_again().await;
    assert_eq!(secured.world.server.refusals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_gives_certificates_and_newer_ones_when_they_are_refused() {
    let mut secured = Secured::new();
    secured.world.server.require_certificate_of(&secured.authority);
    let status = |identity: &Identity| {
        let certificate = serde_json::to_string(&identity.certificate).expect("text");
        let key = serde_json::to_string(&identity.key).expect("text");
        format!(r#"{{"clientCertificateData": {certificate}, "clientKeyData": {key}}}"#)
    };
    secured.plugin_says(&status(&secured.authority.client("node", None)));
    secured.write_kubeconfig(&secured.write_plugin());
    secured.is_followed().await;
    let other = Authority::new("the next");
    secured.world.server.require_certificate_of(&other);
    secured.is_locked_out().await;
    secured.plugin_says(&status(&other.client("node", None)));
    secured.is_let_in_again().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_is_an_error_at_first_and_is_tried_again_later() {
    let mut secured = Secured::new();
    secured.world.server.require_token("old");
    secured.write_kubeconfig(&secured.write_plugin());
    let failed = ApiClient::new(secured.access(), Limits::default()).await;
    let error = failed.err().expect("`cat` finds nothing");
    assert!(matches!(&error, ClientSourceError::Credentials(_)), "{error:?}");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("auth exec") && cause.contains("plugin"), "{cause}");

    secured.plugin_says(r#"{"token": "old"}"#);
    secured.is_followed().await;
    secured.world.server.require_token("new");
    fs::remove_file(secured.path("says")).expect("it is there");
    secured.is_locked_out().await;
    secured.plugin_says(r#"{"token": "new"}"#);
    secured.is_let_in_again().await;
}

/// It may be a server of its own that gives out tokens, and has as many clients as there are nodes.
#[tokio::test(start_paused = true)]
async fn a_plugin_is_asked_once_for_all_watches() {
    let mut secured = Secured::new();
    secured.world.server.require_token("old");
    secured.plugin_says(r#"{"token": "old"}"#);
    secured.write_kubeconfig(&secured.write_plugin());
    secured.is_followed().await;
    let asked = |secured: &Secured| {
        fs::read_to_string(secured.path("asked")).expect("it was asked").lines().count()
    };
    let for_one_client = asked(&secured);
    secured.plugin_says(r#"{"token": "new"}"#);
    secured.world.server.require_token("new");
    secured.world.server.break_watches(Break::Reset);
    secured.world.server.apply(service("more", "10.96.0.11"));
    secured.is_let_in_again().await;
    secured.world.pass(Duration::from_secs(60)).await;
    assert!(secured.world.server.refusals() >= Resource::ALL.len(), "each has met with a 401");
    assert_eq!(asked(&secured), 2 * for_one_client);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_vouches_for_is_not_talked_to() {
    let mut secured = Secured::new();
    secured.write_kubeconfig("token: secret");
    secured.write("ca.crt", &Authority::new("somebody else").certificate());
    secured.world.watch_as(&secured.access()).await;
    secured.world.pass(Duration::from_secs(300)).await;
    assert!(secured.world.state.cluster().is_none());
    assert_eq!(secured.world.server.requests(), [], "nothing was told to a stranger");
    // And once the right one is in the file, weir need not be restarted.
    secured.write("ca.crt", &secured.authority.certificate());
    secured.world.until("all is known", |state| state.cluster().is_some()).await;
}

/// As when the authority of a cluster is replaced: there is no 401 to tell that files have changed.
#[tokio::test(start_paused = true)]
async fn a_new_authority_is_trusted_as_soon_as_it_is_in_the_file() {
    let mut secured = Secured::new();
    secured.write_kubeconfig("token: secret");
    secured.is_followed().await;
    let next = Authority::new("the next");
    secured.world.server.use_tls(&next);
    // New connections are made, as after a restart of the server.
    secured.world.server.close();
    secured.world.pass(Duration::from_secs(1)).await;
    secured.world.server.open();
    secured.is_locked_out().await;
    secured.write("ca.crt", &next.certificate());
    secured.is_let_in_again().await;
}

/// There is no 401 either: the connection ends while weir asks.
#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_refused_in_the_handshake_is_read_again() {
    let mut secured = Secured::new();
    secured.world.server.use_mutual_tls(&secured.authority);
    secured.is_let_in_by_a_new_certificate().await;
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_that_is_not_there_says_which() {
    let path = Path::new("/nowhere/kubeconfig").to_owned();
    let access = ClientSource::Kubeconfig { path, master: None };
    let error = ApiClient::new(access, Limits::default()).await.err().expect("there is none");
    assert_eq!(error.to_string(), "--kubeconfig /nowhere/kubeconfig");
}

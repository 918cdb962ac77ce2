//! Runs a control plane's programs on loopback, with the files that they need.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use weir_apiserver::{Authority, Identity};

/// A program that ends when this is dropped.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts what a variable of the environment names, with a log in the folder.
    fn start(variable: &str, folder: &Path, arguments: &[String]) -> Self {
        let path = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is the path of a program: see `make test-apiserver`")
        });
        let log = folder.join(format!("{variable}.log"));
        let output = File::create(&log).expect("it can be written");
        let child = Command::new(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{variable}={path}: {error}"));
        Self { child, log }
    }

    /// # Panics
    /// If it has ended, with its last words.
    pub(crate) fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("it is a child") {
            panic!("it has ended, {status}: {}", self.last_words());
        }
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!("{}:\n{}", self.log.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail where it has ended and been waited for, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts etcd; gives its URL.
pub(crate) fn start_etcd(folder: &Path) -> (Program, String) {
    let (clients, peers) = (loopback_url("http"), loopback_url("http"));
    let arguments = [
        "--name=default".to_owned(),
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ];
    (Program::start("ETCD", folder, &arguments), clients)
}

/// Starts kube-apiserver; gives its URL.
pub(crate) fn start_apiserver(
    folder: &Path,
    authority: &Authority,
    storage: &str,
) -> (Program, String) {
    let url = loopback_url("https");
    let port = url.rsplit_once(':').expect("a port").1;
    let authority_path = folder.join("ca.crt");
    fs::write(&authority_path, authority.certificate()).expect("it can be written");
    let (certificate, key) = write_identity(folder, "apiserver", &authority.server());
    // Tokens are verified with the key that is in a certificate.
    let signer = authority.client("service-accounts", None);
    let (verify, sign) = write_identity(folder, "service-accounts", &signer);
    let arguments = [
        format!("--etcd-servers={storage}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", folder.display()),
        format!("--tls-cert-file={certificate}"),
        format!("--tls-private-key-file={key}"),
        format!("--client-ca-file={}", authority_path.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={verify}"),
        format!("--service-account-signing-key-file={sign}"),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
        // It would have to announce an address of loopback, which no endpoint can have.
        "--endpoint-reconciler-type=none".to_owned(),
    ];
    (Program::start("KUBE_APISERVER", folder, &arguments), url)
}

/// The URL of a port of loopback that nobody has: nobody else is in this network namespace.
fn loopback_url(scheme: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    format!("{scheme}://{}", listener.local_addr().expect("it is bound"))
}

/// Writes a certificate and its key; gives the two paths.
pub(crate) fn write_identity(folder: &Path, name: &str, identity: &Identity) -> (String, String) {
    let write = |extension: &str, text: &str| {
        let path = folder.join(format!("{name}.{extension}"));
        fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    };
    (write("crt", &identity.certificate), write("key", &identity.key))
}

pub(crate) fn write_kubeconfig(folder: &Path, name: &str, url: &str, user: &str) {
    let authority = folder.join("ca.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: \"{url}\", certificate-authority: {}}}}}]\n\
         users: [{{name: test, user: {{{user}}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
        authority.display()
    );
    fs::write(folder.join(name), text).expect("it can be written");
}

//! `weir run` with what every Pod is given: a token, an authority and the server's address.

use std::fs;

use weir_apiserver::{Authority, Break};

use crate::common::weir;
use crate::packets::CLUSTER_CIDR;
use crate::running::{Running, service, slice};

/// Where the files of a service account are, below `/run` since that is what `/var/run` links to.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Starts weir with a folder of the test's in the place of its service account's, in a mount namespace
/// of its own.
fn start_in_cluster(running: &mut Running) {
    let script = format!(
        "mount -t tmpfs tmpfs /var/run/ && mkdir -p {FOLDER} && \
         mount --bind \"$1\" {FOLDER} && shift && exec \"$@\""
    );
    let weir = weir();
    let mut command = weir_testbed::tool("unshare");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(running.folder.path())
        .arg(weir.get_program())
        .args(["run", "--hostname-override", "node-a"])
        .args(CLUSTER_CIDR)
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", running.server.port().to_string());
    running.spawn(command);
}

fn write(running: &Running, name: &str, text: &str) {
    fs::write(running.folder.path().join(name), text).expect("it can be written");
}

#[test]
fn a_service_account_is_enough_and_its_token_may_change() {
    let mut running = Running::new();
    let authority = Authority::new("cluster");
    running.server.use_tls(&authority);
    running.server.require_token("old");
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    write(&running, "ca.crt", &authority.certificate());
    write(&running, "namespace", "kube-system");
    write(&running, "token", "old");
    start_in_cluster(&mut running);
    running.wait_for_answer_of("b1");

    running.server.require_token("new");
    running.server.break_watches(Break::Reset);
    running.server.apply(slice("10.244.0.3"));
    running.wait_until_logged("watching EndpointSlices: Unauthorized (401)");
    running.wait_for_answer_of("b1");
    write(&running, "token", "new");
    running.wait_for_answer_of("b2");
    running.wait_until_logged("watching EndpointSlices works again");
    running.stop();
}

#[test]
fn a_server_that_is_not_vouched_for_is_said_to_be_so() {
    let mut running = Running::new();
    running.server.use_tls(&Authority::new("cluster"));
    write(&running, "ca.crt", &Authority::new("somebody else").certificate());
    write(&running, "namespace", "kube-system");
    write(&running, "token", "secret");
    start_in_cluster(&mut running);
    running.wait_until_logged("no trust between the server and weir");
    running.wait_until_logged("invalid peer certificate: UnknownIssuer");
    assert_eq!(running.server.requests(), []);
    running.stop();
}

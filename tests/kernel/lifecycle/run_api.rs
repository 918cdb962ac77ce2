//! `weir run --kubeconfig`: an API server, followed.

use weir_apiserver::{Break, Fault, Resource, Verb};
use weir_testbed::{Outcome, wait_for};

use crate::common::weir;
use crate::drift::serving;
use crate::running::{LIMIT, Running, service, slice};

#[test]
fn packets_follow_the_api_server_and_outlive_weir() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.start();
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    // A broken connection in between loses nothing.
    running.server.break_watches(Break::Half);
    running.server.apply(slice("10.244.0.2"));
    running.wait_for_answer_of("b1");
    running.server.delete(Resource::EndpointSlices, "default", "web-1");
    wait_for("a refusal", LIMIT, || matches!(running.ask(), Outcome::Refused));
    running.server.apply(slice("10.244.0.2"));
    running.wait_for_answer_of("b1");
    running.stop();
    running.wait_for_answer_of("b1");
}

#[test]
fn kube_proxys_configuration_file_runs_a_node() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.write_config("mode: nftables\nnftables: {masqueradeBit: 20}\n");
    running.start_as_proxy();
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    let listed = running.listed();
    assert!(listed.contains("meta mark set meta mark | 0x00100000"), "{listed}");
    running.stop();
}

#[test]
fn the_log_names_the_services_and_the_generation_of_a_commit() {
    let mut running = serving("");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    running.stop();
    let log = running.log();
    let line = log.lines().rfind(|line| line.contains("added ") && line.contains("removed "));
    let line = line.expect("a line for the endpoint that was replaced");
    let generation = line.split("generation=").nth(1).expect("the generation");
    let generation: u32 = generation.split(' ').next().unwrap_or("").parse().expect("a number");
    assert!(line.contains("cause=\"API server\" services=\"default/web\""), "{line}");
    assert!(generation > 0, "{line}");
}

/// A restart while the server is away, or has only half of the state, must not empty the node.
#[test]
fn a_restart_touches_nothing_until_all_is_known() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.start();
    running.wait_for_answer_of("b1");
    running.stop();
    let before = running.listed();

    for verb in [Verb::List, Verb::Watch] {
        running.server.fail(Resource::EndpointSlices, verb, Fault::InternalError);
    }
    running.start();
    running.wait_until_logged("watching EndpointSlices: Internal error occurred (500)");
    assert_eq!(running.listed(), before);
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.server.heal();
    running.wait_for_answer_of("b2");
}

#[test]
fn no_credentials_are_an_error() {
    let running = Running::new();
    let mut command = weir();
    command.args(["run", "--hostname-override", "node-a"]).env_remove("KUBERNETES_SERVICE_HOST");
    let output = crate::listing::output(running.bed.node(), command);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("in-cluster"), "{errors}");
}

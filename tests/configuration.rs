//! The program as kubeadm's DaemonSet starts kube-proxy: with flags and no command.

use std::path::Path;
use std::process::{Command, Output};

use weir::config::decode;

const CONFIG: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
iptables:
  syncPeriod: 0s
mode: \"\"
";

fn weir(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(line).output().expect("weir starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn config_flag(directory: &Path, text: &str) -> String {
    let file = directory.join("config.conf");
    std::fs::write(&file, text).expect("the file is written");
    format!("--config={}", file.display())
}

#[test]
fn version_is_printed_in_each_form() {
    let version = env!("CARGO_PKG_VERSION");
    for (flag, line) in [
        ("--version", format!("weir {version}\n")),
        ("-V", format!("weir {version}\n")),
        ("--version=true", format!("weir {version}\n")),
        ("--version=raw", format!("{version}\n")),
    ] {
        let output = weir(&[flag]);
        assert!(output.status.success(), "{flag}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), line, "{flag}");
    }
}

#[test]
fn the_configuration_is_written_with_defaults_and_reads_back_equal() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = config_flag(directory.path(), CONFIG);
    let written = directory.path().join("written.yaml");
    let write = format!("--write-config-to={}", written.display());
    let output = weir(&[&config, &write]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    let first = std::fs::read_to_string(&written).expect("it is there");
    assert!(first.contains("clusterCIDR: 10.244.0.0/16\n"), "{first}");
    assert!(first.contains("  syncPeriod: 30s\n"), "{first}");
    let decoded = decode(&first).expect("it reads back");
    assert_eq!(decoded.ignored, Vec::<String>::new());
    // And is written once more as it is.
    let again = directory.path().join("again.yaml");
    let config = format!("--config={}", written.display());
    let output = weir(&[&config, "--write-config-to", &again.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&again).expect("it is there"), first);
}

#[test]
fn every_invalid_field_is_a_line_and_the_exit_status_is_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = format!("{CONFIG}oomScoreAdj: 5000\nconfigSyncPeriod: -1s\n");
    let output = weir(&[&config_flag(directory.path(), &text)]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "weir: KubeProxyConfiguration.KubeProxyLinuxConfiguration.OOMScoreAdj: \
         Invalid value: 5000: must be within the range [-1000, 1000]\n\
         weir: KubeProxyConfiguration.ConfigSyncPeriod: \
         Invalid value: -1s: must be greater than 0\n"
    );
}

#[test]
fn what_is_ignored_is_warned_of_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = format!("{CONFIG}udpIdleTimeout: 250ms\n");
    let written = directory.path().join("written.yaml");
    let write = format!("--write-config-to={}", written.display());
    let output = weir(&[&config_flag(directory.path(), &text), &write]);
    assert_eq!(output.status.code(), Some(0));
    let warnings = stderr(&output);
    assert!(warnings.contains("unknown field \"udpIdleTimeout\"; ignored"), "{warnings}");
    assert!(warnings.contains("weir uses nftables all the same"), "{warnings}");
}

#[test]
fn flags_and_a_command_do_not_go_together() {
    let output = weir(&["--config=/c", "print", "-f", "-"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

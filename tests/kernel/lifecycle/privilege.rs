//! weir in a container such as the manifests in deploy/ ask for: the image's files, read-only;
//! /proc/sys read-only; of all capabilities, CAP_NET_ADMIN; no way to gain another.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use weir_apiserver::ApiServer;
use weir_testbed::{Process, Protocol, REFUSAL, Testbed, ask, tool, wait_for};

use crate::image::image;
use crate::packets::CLUSTER_CIDR;
use crate::running::node_with_pods;
use crate::running::{LIMIT, service, slice};

/// A node with two pods, and a container on its network.
struct Container {
    bed: Testbed,
    root: tempfile::TempDir,
    /// What the container has at /etc/weir.
    config: tempfile::TempDir,
    log: tempfile::NamedTempFile,
    weir: Option<Process>,
}

impl Container {
    fn new() -> Self {
        let bed = node_with_pods();
        let root = image();
        // A container runtime makes mount points where they are missing.
        for folder in ["proc", "etc/weir"] {
            fs::create_dir_all(root.path().join(folder)).expect("it can be made");
        }
        let config = tempfile::tempdir().expect("a folder");
        let log = tempfile::NamedTempFile::new().expect("a file");
        Self { bed, root, config, log, weir: None }
    }

    /// Starts weir as the container's only process.
    fn start(&mut self, arguments: &[&str]) {
        let mut command = tool("unshare");
        command.args(["--mount", "--propagation=private", "bash", "-euc", ENTER, "enter"]);
        command.arg(self.root.path()).arg(self.config.path()).args(arguments);
        let log = self.log.reopen().expect("it is there");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.weir = Some(Process::spawn(self.bed.node(), command));
    }

    fn configure(&self, name: &str, text: &str) {
        // By a rename, so that weir never reads half a file.
        let part = self.config.path().join("part");
        fs::write(&part, text).expect("it can be written");
        fs::rename(part, self.config.path().join(name)).expect("it can be renamed");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("it can be read")
    }

    fn wait_for_answer_of(&self, backend: &str) {
        let service: SocketAddr = "10.96.0.10:80".parse().expect("an address");
        wait_for(&format!("{backend} to answer; log:\n{}", self.log()), LIMIT, || {
            ask(self.bed.ns("client"), Protocol::Tcp, service, REFUSAL).server() == Some(backend)
        });
    }

    /// Panics if weir could do more than it is meant to.
    fn assert_contained(&mut self) {
        let weir = self.weir.as_mut().expect("it runs");
        let process = Path::new("/proc").join(weir.child().id().to_string());
        let status = fs::read_to_string(process.join("status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        };
        assert!(field("Name:").starts_with("kube-proxy"), "{status}");
        // CAP_NET_ADMIN is 12 in uapi/linux/capability.h.
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(1 << 12), "{set}");
        }
        assert_eq!(field("CapAmb:"), "0000000000000000");
        assert_eq!(field("NoNewPrivs:"), "1");
        let mounts = fs::read_to_string(process.join("mountinfo")).expect("it runs");
        for point in ["/", "/proc/sys", "/etc/weir"] {
            // The fifth and the sixth field: where, and how. The last mount is the one on top.
            let mount = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
            let mount = mount.into_iter().find(|fields| fields[4] == point);
            let mount = mount.unwrap_or_else(|| panic!("{point} is no mount: {mounts}"));
            assert!(mount[5].split(',').any(|option| option == "ro"), "{point}: {mount:?}");
        }
        assert!(weir.ended().is_none(), "{}", self.log());
    }

    fn stop(&mut self) {
        let process = self.weir.take().expect("it runs");
        assert!(process.terminate(LIMIT).success(), "{}", self.log());
    }
}

/// Enters a container: ROOT CONFIG ARGUMENT… Every step becomes the next, so that weir has the pid that
/// the test knows. setpriv leaves what the last step needs, and capsh drops that, too.
const ENTER: &str = r#"
root=$1 config=$2; shift 2
mount --bind "$root" "$root"
mount --rbind /proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/sys"
mount --bind "$config" "$root/etc/weir"
mount -o remount,bind,ro "$root/etc/weir"
mount -o remount,bind,ro "$root"
exec setpriv --bounding-set=-all,+net_admin,+sys_chroot,+setpcap --inh-caps=-all -- \
    capsh --chroot="$root" --drop=cap_sys_chroot,cap_setpcap --caps=cap_net_admin=ep \
    --no-new-privs --shell=/usr/local/bin/kube-proxy -- "$@"
"#;

/// As kubeadm's DaemonSet starts it, with a configuration that asks for more than it may do.
#[test]
fn a_node_is_served_with_cap_net_admin_alone() {
    let mut container = Container::new();
    let listener = container.bed.node().run(|| TcpListener::bind("127.0.0.1:0"));
    let server = ApiServer::start_on(listener.expect("loopback is up"));
    server.apply(service());
    server.apply(slice("10.244.0.2"));
    container.configure("kubeconfig.conf", &server.kubeconfig(None));
    container.configure("config.conf", CONFIG);
    container.start(&["--config=/etc/weir/config.conf", "--hostname-override=node-a"]);
    container.wait_for_answer_of("b1");
    container.assert_contained();
    for asked in ["proc/self/oom_score_adj", "nf_conntrack_tcp_timeout_close_wait"] {
        let log = container.log();
        let refused = |line: &&str| line.contains("cannot set this") && line.contains(asked);
        assert_eq!(log.lines().filter(refused).count(), 1, "{asked}: {log}");
    }
    server.apply(slice("10.244.0.3"));
    container.wait_for_answer_of("b2");
    container.stop();
}

/// The defaults of conntrack and oomScoreAdj want a writable /proc/sys and CAP_SYS_RESOURCE.
const CONFIG: &str = "
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
clientConnection: {kubeconfig: /etc/weir/kubeconfig.conf}
";

#[test]
fn manifests_are_followed_with_cap_net_admin_alone() {
    let mut container = Container::new();
    container.configure("service.json", &service().to_string());
    container.configure("slice.json", &slice("10.244.0.2").to_string());
    let mut line = vec!["run", "--manifests=/etc/weir", "--hostname-override=node-a"];
    line.extend(CLUSTER_CIDR);
    container.start(&line);
    container.wait_for_answer_of("b1");
    container.assert_contained();
    // Nor does it need more to have the lock, for which another weir on the node waits.
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["run", "--hostname-override=node-a", "--manifests"]).arg(container.config.path());
    command.stdout(Stdio::null()).stderr(log.reopen().expect("it is there"));
    let waiting = Process::spawn(container.bed.node(), command);
    let said = || fs::read_to_string(log.path()).expect("it can be read");
    wait_for("the other to wait", LIMIT, || said().contains("kube-proxy (pid "));
    assert!(waiting.terminate(LIMIT).success(), "{}", said());
    container.configure("slice.json", &slice("10.244.0.3").to_string());
    container.wait_for_answer_of("b2");
    container.stop();
}

#[test]
fn weir_says_what_it_lacks_without_cap_net_admin() {
    let bed = Testbed::new();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]);
    command.arg(env!("CARGO_BIN_EXE_weir")).arg("cleanup");
    let output = crate::listing::output(bed.node(), command);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CAP_NET_ADMIN"), "{said}");
}

//! The commands, as a person and a script meet them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use weir_testbed::{Netns, Process, tool, wait_for};

use crate::common::weir;
use crate::listing::{json, output};

/// A Service with this name, ClusterIP and number of endpoints.
pub(crate) fn service(name: &str, cluster_ip: &str, endpoints: u8) -> String {
    let endpoints: String =
        (1..=endpoints).map(|i| format!("- addresses: [10.244.7.{i}]\n")).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  clusterIP: {cluster_ip}
  ports: [{{port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: \"\", protocol: TCP, port: 8080}}]
endpoints:
{endpoints}---
"
    )
}

/// A namespace, and manifest files to apply in it.
struct Case {
    ns: Netns,
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { ns: Netns::new("commands"), folder: tempfile::tempdir().expect("a folder") }
    }

    fn manifests(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("manifests.yaml");
        fs::write(&path, text).expect("it can be written");
        path
    }

    /// Runs `weir COMMAND -f FILE` on this text.
    fn weir(&self, args: &[&str], text: &str) -> Output {
        let mut weir = weir();
        weir.args(args).arg("-f").arg(self.manifests(text)).args(["--hostname-override", "node-a"]);
        output(&self.ns, weir)
    }

    fn tables(&self) -> String {
        self.ns.cmd("nft", ["list", "tables"])
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn ok(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// For a Pod that only has to be there: with no privilege, and whoever ends it is obeyed at once.
#[test]
fn pause_does_nothing_until_it_is_told_to_end() {
    const SIGTERM: u64 = 1 << 14;
    let limit = Duration::from_secs(20);
    let mut pause = weir();
    pause.arg("pause");
    let mut process = Process::spawn(&Netns::new("pause"), pause);
    let id = process.child().id();
    let is_listening = || {
        let status = fs::read_to_string(format!("/proc/{id}/status"));
        let status = status.expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a number") & SIGTERM != 0
    };
    wait_for("a handler of SIGTERM", limit, is_listening);
    assert!(process.terminate(limit).success());
}

#[test]
fn apply_counts_what_it_changed_and_a_second_run_sends_nothing() {
    let case = Case::new();
    let web = service("web", "10.96.0.10", 3);
    let first = ok(case.weir(&["apply"], &web));
    assert!(first.starts_with("added 2 tables, 26 sets, "), "{first}");
    assert!(first.contains("; removed nothing (one transaction of "), "{first}");
    let generation = generation(&case.ns);
    assert_eq!(ok(case.weir(&["apply", "-v"], &web)), "nothing to change\n");
    assert_eq!(self::generation(&case.ns), generation, "nothing was committed");
}

/// A number that every commit to nf_tables counts up.
fn generation(ns: &Netns) -> u32 {
    ns.run(|| weir::kernel::Kernel::open().unwrap().generation().unwrap())
}

#[test]
fn a_service_with_an_endpoint_count_in_use_adds_elements_only() {
    let case = Case::new();
    let web = service("web", "10.96.0.10", 3);
    ok(case.weir(&["apply"], &web));
    let both = web.clone() + &service("more", "10.96.0.11", 3);
    let changed = ok(case.weir(&["apply", "-v"], &both));
    let lines: Vec<&str> = changed.lines().collect();
    let expected = [
        "+ element ip weir cluster-ips { 10.96.0.11 }",
        "+ element ip weir endpoints { 10.96.0.11 . tcp . 80 . 0 : 10.244.7.1 . 8080 }",
        "+ element ip weir endpoints { 10.96.0.11 . tcp . 80 . 1 : 10.244.7.2 . 8080 }",
        "+ element ip weir endpoints { 10.96.0.11 . tcp . 80 . 2 : 10.244.7.3 . 8080 }",
        "+ element ip weir services { 10.96.0.11 . tcp . 80 counter comment \"default/more\" : goto lb-3 }",
    ];
    assert_eq!(&lines[..expected.len()], expected);
    assert!(lines[expected.len()].starts_with("added 5 elements; removed nothing"), "{lines:?}");
    // And back.
    let changed = ok(case.weir(&["apply"], &web));
    assert!(changed.starts_with("added nothing; removed 5 elements"), "{changed}");
}

/// Endpoints keep their slots, wherever in the order of addresses the others are.
#[test]
fn a_changed_endpoint_costs_its_own_elements_only() {
    let case = Case::new();
    let web = service("web", "10.96.0.10", 50);
    ok(case.weir(&["apply"], &web));
    let element = |sign, slot, endpoint: &str| {
        format!(
            "{sign} element ip weir endpoints {{ 10.96.0.10 . tcp . 80 . {slot} : {endpoint} . 8080 }}"
        )
    };
    let lines = |text: &str| -> Vec<String> {
        let changed = ok(case.weir(&["apply", "-v"], text));
        changed.lines().filter(|l| l.contains(" endpoints ")).map(str::to_owned).collect()
    };
    let replaced = web.replace("10.244.7.3]", "10.244.9.9]");
    let expected = [element('-', 2, "10.244.7.3"), element('+', 2, "10.244.9.9")];
    assert_eq!(lines(&replaced), expected);
    assert_eq!(ok(case.weir(&["diff"], &replaced)), "");
    let fewer = replaced.replace("- addresses: [10.244.7.5]\n", "");
    let expected = [
        element('-', 4, "10.244.7.5"),
        element('-', 49, "10.244.7.50"),
        element('+', 4, "10.244.7.50"),
    ];
    assert_eq!(lines(&fewer), expected);
    let back = replaced.replace("10.244.7.5]", "10.244.7.200]");
    assert_eq!(lines(&back), [element('+', 49, "10.244.7.200")]);
}

#[test]
fn diff_shows_both_sides_and_exits_like_diff() {
    let case = Case::new();
    let web = service("web", "10.96.0.10", 1);
    let missing = case.weir(&["diff"], &web);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stdout(&missing).lines().all(|line| line.starts_with("+ ")), "{}", stdout(&missing));
    assert!(case.tables().is_empty(), "diff changes nothing");

    ok(case.weir(&["apply"], &web));
    assert_eq!(ok(case.weir(&["diff"], &web)), "");

    case.ns.cmd("nft", ["delete", "element", "ip", "weir", "cluster-ips", "{", "10.96.0.10", "}"]);
    case.ns.cmd("nft", ["insert", "rule", "ip", "weir", "services", "counter", "drop"]);
    case.ns.cmd("nft", ["add", "set", "ip6", "weir", "strange", "{", "type", "mark;", "}"]);
    let different = case.weir(&["diff"], &web);
    assert_eq!(different.status.code(), Some(1));
    let expected = "\
- rule ip weir services # [ counter pkts 0 bytes 0 ] [ immediate drop ]
+ element ip weir cluster-ips { 10.96.0.10 }
- set ip6 weir strange { typeof ; # flags 0x0, key type 0x13; }
";
    assert_eq!(stdout(&different), expected);

    let bad = case.weir(&["diff"], "kind: Service\nmetadata: 5\n");
    assert_eq!(bad.status.code(), Some(2));
    assert_eq!(stdout(&bad), "");

    ok(case.weir(&["apply"], &web));
    assert_eq!(ok(case.weir(&["diff"], &web)), "");
}

#[test]
fn apply_undoes_what_others_did_to_the_tables_and_leaves_other_tables_alone() {
    let case = Case::new();
    let web = service("web", "10.96.0.10", 2);
    case.ns.nft("add table ip other; add chain ip other some; add rule ip other some accept");
    ok(case.weir(&["apply"], &web));
    let before = json(&case.ns, "nft");
    let edits = [
        "flush table ip weir",
        "delete table ip6 weir",
        "delete chain ip weir filter-input",
        "add rule ip weir services accept",
        "flush map ip weir services",
        "add chain ip weir strange; add rule ip weir services jump strange",
        "add element ip weir service-cidrs { 10.0.0.1-10.0.0.7, 10.1.0.0/16 }",
        "add element ip weir nodeport-addresses { 0.0.0.0/0 }",
        "flush chain ip weir services; add rule ip weir services ip daddr { 10.0.0.1, 10.0.0.2 } drop",
        "delete chain ip weir nat-prerouting; add chain ip weir nat-prerouting { type nat hook prerouting priority -90; }",
        // What weir has no words for.
        "add element ip weir services { * : drop }",
        "add element ip weir cluster-ips { * }",
        "add set ip6 weir long { typeof ip6 saddr . ip6 daddr . ip6 saddr; elements = { fd00::1 . fd00::2 . fd00::3 }; }",
        "add set ip weir timed { type ipv4_addr; timeout 1h; elements = { 10.0.0.1 }; }",
        "add table ip weir { flags dormant; }",
        "add rule ip weir services ip daddr 1.2.3.4 jump { accept; }",
        "add counter ip weir some",
        "add quota ip6 weir some over 1 mbytes",
    ];
    for edit in edits {
        case.ns.nft(edit);
        let changed = ok(case.weir(&["apply"], &web));
        assert!(!changed.starts_with("nothing"), "{edit}");
        assert_eq!(ok(case.weir(&["diff"], &web)), "", "{edit}");
        // What weir puts back it puts at the end, so that the order may be another.
        let sorted = |value: &serde_json::Value| {
            let mut objects: Vec<String> =
                value["nftables"].as_array().unwrap().iter().map(|o| o.to_string()).collect();
            objects.sort();
            objects
        };
        assert_eq!(sorted(&json(&case.ns, "nft")), sorted(&before), "{edit}");
    }
}

/// As when the program in front of a pipe has failed.
#[test]
fn an_input_without_a_document_is_an_error_and_changes_nothing() {
    let case = Case::new();
    assert!(case.weir(&["apply"], &service("web", "10.96.0.10", 2)).status.success());
    let before = case.ns.cmd("nft", ["list", "ruleset"]);
    let output = case.weir(&["apply"], "\n");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("there is nothing in the input"), "{errors}");
    assert_eq!(case.ns.cmd("nft", ["list", "ruleset"]), before);
}

#[test]
fn cleanup_removes_weirs_tables_and_nothing_else() {
    let case = Case::new();
    case.ns.nft("add table ip other; add table inet weir");
    let others = case.tables();
    // The command, and kube-proxy's flag.
    for name in ["cleanup", "--cleanup"] {
        ok(case.weir(&["apply"], &service("web", "10.96.0.10", 2)));
        let cleanup = || {
            let mut weir = weir();
            weir.arg(name);
            ok(output(&case.ns, weir))
        };
        assert_eq!(cleanup(), "removed table ip weir\nremoved table ip6 weir\n", "{name}");
        assert_eq!(case.tables(), others, "{name}");
        assert_eq!(cleanup(), "nothing to remove\n", "{name}");
    }
}

#[test]
fn bad_manifests_are_named_and_nothing_is_programmed() {
    let case = Case::new();
    let good = service("web", "10.96.0.10", 2);
    let bad = [
        ("\tnot yaml", "manifests.yaml"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: 'a\"b'}\nspec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}\n",
            "metadata.name",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.9, ports: [{port: 80, name: 'a\"b'}]}\n",
            "spec.ports[0].name",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.999, ports: [{port: 80}]}\n",
            "spec.clusterIP",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.9, ports: [{port: eighty}]}\n",
            "spec.ports[0].port",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n",
            "default/web",
        ),
    ];
    for (text, named) in bad {
        let text = format!("{good}{text}");
        for (args, code) in [(&["print"][..], 1), (&["apply"], 1), (&["diff"], 2)] {
            let failed = case.weir(args, &text);
            assert_eq!(failed.status.code(), Some(code), "{args:?} {named}");
            assert_eq!(stdout(&failed), "", "{args:?} {named}");
            let errors = stderr(&failed);
            assert!(errors.contains("manifests.yaml") && errors.contains(named), "{errors}");
        }
        assert_eq!(case.tables(), "");
    }
}

#[test]
fn standard_input_is_read_as_kubectl_prints_it() {
    let case = Case::new();
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web, namespace: default}\n  spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n";
    let path = case.manifests(list);
    let print = |from: &str| {
        let mut weir = weir();
        weir.args(["print", "--hostname-override", "node-a", "-f", from]);
        weir.stdin(fs::File::open(&path).expect("the file"));
        ok(output(&case.ns, weir))
    };
    assert_eq!(print("-"), print(path.to_str().unwrap()));
    assert!(
        print("-").contains("10.96.0.10 . tcp . 80 comment \"default/web\" : goto reject-chain")
    );
}

/// Without the capability: one line that says so, and exit 1.
#[test]
fn a_missing_capability_is_named() {
    let case = Case::new();
    let path = case.manifests(&service("web", "10.96.0.10", 1));
    let without = |args: &[&str]| {
        let mut setpriv = tool("setpriv");
        setpriv
            .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
            .arg(weir().get_program())
            .args(args);
        output(&case.ns, setpriv)
    };
    let file = path.to_str().unwrap();
    let run = ["run", "--manifests", case.folder.path().to_str().unwrap()];
    for (args, code) in
        [(&["apply", "-f", file][..], 1), (&["cleanup"], 1), (&run, 1), (&["diff", "-f", file], 2)]
    {
        let failed = without(args);
        let expected = "weir: not permitted to use nf_tables: CAP_NET_ADMIN is missing\n";
        assert_eq!((failed.status.code(), stderr(&failed).as_str()), (Some(code), expected));
    }
    // Printing needs no capability.
    ok(without(&["print", "-f", file]));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let case = Case::new();
    let cases = [
        (&["--cluster-cidr", "10.0.0.0/8,10.1.0.0/16"][..], "more than one network of a family"),
        (&["--cluster-cidr", "10.0.0.0/33"], "--cluster-cidr"),
        (&["--nodeport-addresses", "primary,10.0.0.0/8"], "`primary` cannot be combined"),
        (&["--nodeport-addresses", "10.0.0.1"], "`10.0.0.1` is not a CIDR"),
        (&["--iptables-masquerade-bit", "32"], "32"),
        (&["--detect-local-mode", "BridgeInterface"], "--pod-bridge-interface is needed"),
        (
            &["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "a*b"],
            "--pod-interface-name-prefix is needed",
        ),
    ];
    for (options, message) in cases {
        let failed = case.weir(&[&["print"], options].concat(), "");
        assert!(!failed.status.success(), "{options:?}");
        assert!(stderr(&failed).contains(message), "{options:?}: {}", stderr(&failed));
    }
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let case = Case::new();
    let path = case.manifests(&service("web", "10.96.0.10", 200));
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", "\"$0\" print -f \"$1\" | head -n 1"]);
    shell.arg(weir().get_program()).arg(path);
    assert_eq!(ok(output(&case.ns, shell)), "table ip weir {\n");
}

/// Others change their tables without rest, faster than weir can read its own.
#[test]
fn a_busy_neighbour_keeps_weir_from_nothing() {
    let case = Case::new();
    let many: String =
        (1..=200).map(|i| service(&format!("s{i}"), &format!("10.96.1.{i}"), 100)).collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let mut commits = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                case.ns.nft("add table ip other; add chain ip other c; flush chain ip other c; add rule ip other c accept");
                commits += 1;
            }
            commits
        });
        let first = case.weir(&["apply"], &many);
        let second = case.weir(&["diff"], &many);
        let third = case.weir(&["apply"], &(many.clone() + &service("one-more", "10.96.0.9", 3)));
        let mut cleanup = weir();
        cleanup.arg("cleanup");
        let fourth = output(&case.ns, cleanup);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(neighbour.join().expect("no panic") > 3);
        ok(first);
        assert_eq!(ok(second), "");
        let changed = ok(third);
        assert!(
            changed.starts_with("added 1 chain, 2 rules, 5 elements; removed nothing"),
            "{changed}"
        );
        ok(fourth);
    });
}

/// Runs a script in a user namespace with weir as `$0` and more Services than a socket can send there
/// at once as `$1`: net.core.wmem_max, doubled. Each has the address and port that it is given.
fn with_too_many(script: &str, place: impl Fn(usize) -> (String, usize)) -> Output {
    let limit = fs::read_to_string("/proc/sys/net/core/wmem_max").expect("the limit");
    let limit: usize = limit.trim().parse().expect("a number");
    // An endpoint takes more than 40 bytes.
    let services = 2 * limit / (40 * 200) + 1;
    let many: String = (0..services)
        .map(|i| {
            let (address, port) = place(i);
            let port = format!("{{port: {port}}}");
            service(&format!("s{i}"), &address, 200).replace("{port: 80}", &port)
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("many.yaml");
    fs::write(&path, many).expect("it can be written");
    let mut unshare = tool("unshare");
    unshare.args(["--map-root-user", "--net", "sh", "-c", script]);
    unshare.arg(weir().get_program()).arg(&path);
    unshare.output().expect("it runs")
}

#[test]
fn what_a_user_namespace_does_not_send_at_once_goes_in_parts() {
    let address = |i: usize| (format!("10.96.{}.{}", i / 256, i % 256), 80);
    let script = "\"$0\" apply -f \"$1\" && \"$0\" diff -f \"$1\"";
    let applied = ok(with_too_many(script, address));
    let commits = applied.lines().filter(|line| line.contains("added ")).count();
    assert!(commits > 1, "{applied}");
}

/// What an address has is not torn apart, so that with many ports it goes beyond that.
#[test]
fn an_address_that_does_not_fit_a_user_namespace_is_refused_whole() {
    let port = |i: usize| ("10.96.0.10".to_owned(), i + 1);
    let script = "\"$0\" apply -f \"$1\"; code=$?; nft list map ip weir services; exit $code";
    let failed = with_too_many(script, port);
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("raise net.core.wmem_max"), "{}", stderr(&failed));
    let listed = stdout(&failed);
    assert!(listed.contains("map services") && !listed.contains("goto"), "{listed}");
}

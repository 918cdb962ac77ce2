//! The network between a node and its API server fails silently: no RST, no FIN.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::config::Limits;
use weir::source::api::{ApiClient, ClientSource, Liveness, Reflectors, Store};
use weir::telemetry::metrics::Metrics;
use weir_apiserver::ApiServer;
use weir_testbed::{Testbed, wait_for};

use crate::running::{LIMIT, Running, service, slice};

/// As by default, but ten times as fast.
const FAST: Liveness = Liveness {
    idle: Duration::from_secs(3),
    interval: Duration::from_secs(1),
    limit: Duration::from_millis(3500),
};

/// A node, and an API server on a host beyond it.
fn remote() -> (Testbed, ApiServer) {
    let bed = Testbed::new().outside("server", "198.51.100.7", "2001:db8:7::7");
    let ns = bed.ns("server");
    let listener = ns.run(|| TcpListener::bind("198.51.100.7:0").expect("its own address"));
    let server = ApiServer::start_on(listener);
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": Testbed::NODE_V4}]},
    });
    let cidr: Value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12"]},
    });
    for object in [node, cidr, service(), slice("10.244.0.2")] {
        server.apply(object);
    }
    (bed, server)
}

fn cut(bed: &Testbed) {
    bed.ns("server").nft(
        "table inet cut {
             chain in { type filter hook input priority 0; policy drop; }
             chain out { type filter hook output priority 0; policy drop; }
         }",
    );
}

fn mend(bed: &Testbed) {
    bed.ns("server").nft("delete table inet cut");
}

/// The watches have nothing to say, and nothing to send either.
#[test]
fn a_connection_that_has_died_is_noticed_and_made_anew() {
    let (bed, server) = remote();
    let follow = async || {
        let (metrics, mut state) = (Metrics::default(), Store::default());
        let access = ClientSource::Master(server.url());
        let client =
            ApiClient::with_liveness(access, Limits::default(), FAST).await.expect("a client");
        let mut watches = Reflectors::start(&client, "node-a", metrics.api());
        while state.cluster().is_none() {
            for update in watches.next().await.expect("watches never end") {
                state.apply(update);
            }
        }
        cut(&bed);
        let start = Instant::now();
        let dead = "weir_api_watch_restarts_total{kind=\"Service\",reason=\"silent\"} 1";
        while !metrics.text().expect("metrics are text").contains(dead) {
            let took = start.elapsed();
            assert!(took < LIMIT, "not noticed: {}", metrics.text().expect("metrics are text"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = start.elapsed();
        assert!((FAST.limit - FAST.interval..Duration::from_secs(6)).contains(&took), "{took:?}");
        let mut changed = service();
        changed["spec"]["ports"][0]["port"] = json!(81);
        server.apply(changed);
        mend(&bed);
        // Whatever pauses have grown meanwhile.
        let has_changed = |state: &Store| {
            let services = &state.cluster().expect("all is known").services;
            services.values().any(|service| service.ports[0].port.get() == 81)
        };
        while !has_changed(&state) {
            let next = tokio::time::timeout(3 * LIMIT, watches.next()).await;
            for update in next.expect("it follows again").expect("watches never end") {
                state.apply(update);
            }
        }
    };
    bed.node().run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(follow());
    });
}

/// A request that nobody acknowledges is no different: its answer is waited for in vain.
#[test]
fn weirs_own_connections_are_watched_over_within_45_s() {
    let mut running = Running::new();
    running.server.apply(service());
    running.start();
    let port = running.server.port();
    let pid = running.weir.as_mut().expect("it runs").child().id();
    let filter = format!("dport = :{port}");
    let list = || running.bed.node().cmd("ss", ["-tnpo", "state", "established", &filter]);
    wait_for("the watches' connections", LIMIT, || {
        let listed = list();
        listed.lines().filter(|line| line.contains(&format!("pid={pid},"))).count() >= 4
    });
    let mut seen = 0;
    for line in list().lines().filter(|line| line.contains(&format!("pid={pid},"))) {
        let fd = line.split("fd=").nth(1).and_then(|rest| rest.split(')').next());
        let fd = fd.and_then(|fd| fd.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        let socket = borrow(pid, fd);
        let idle = option(&socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE);
        let interval = option(&socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL);
        let limit = option(&socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT);
        assert_eq!(option(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1, "{line}");
        // The kernel looks when it asks: the first time at which nothing has come for the limit.
        let asks = (limit - 1000 * idle + 1000 * interval - 1) / (1000 * interval);
        let noticed = idle + asks.max(1) * interval;
        assert!(noticed <= 45 && limit <= 45_000, "{idle} {interval} {limit}: {noticed} s");
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
}

/// A file descriptor of another process.
fn borrow(pid: u32, fd: libc::c_int) -> OwnedFd {
    let pid = libc::pid_t::try_from(pid).expect("a pid");
    // SAFETY: both make a new descriptor of this process or fail, and touch no memory.
    let made = unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let process = OwnedFd::from_raw_fd(i32::try_from(process).expect("a descriptor"));
        libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0)
    };
    assert!(made >= 0, "pidfd_getfd: {}", std::io::Error::last_os_error());
    // SAFETY: it is new, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(made).expect("a descriptor")) }
}

fn option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int) -> i32 {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).expect("4");
    // SAFETY: the pointers are to a value of this length, and to the length.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    value
}

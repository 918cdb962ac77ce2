use std::io::ErrorKind::WouldBlock;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use weir_rules::cluster::{
    Cluster, Endpoint, EndpointPlace, EndpointPort, EndpointSlice, Family, NamespacedName,
    Protocol, Service, ServicePort,
};
use weir_rules::config::{Config, NodePortAddresses};
use weir_rules::facts::DerivedState;

use super::*;
use crate::error::chain;

const LIMIT: Duration = Duration::from_secs(60);

fn observed() -> Arc<AgentStatus> {
    AgentStatus::new(r#"{"kubeproxy.config.k8s.io":{}}"#.to_owned(), LIMIT)
}

fn start_servers(serving: Serving, observed: &Arc<AgentStatus>) -> Result<Servers, ListenError> {
    Servers::start(serving, observed, Box::new(|_, _| {}))
}

/// A port of loopback that nobody listens on.
fn free_port() -> SocketAddr {
    taken_port().local_addr().unwrap()
}

fn taken_port() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Serves on loopback; ends with the set.
fn start(handler: Handler) -> (SocketAddr, JoinSet<()>) {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Families::Both).unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, handler));
    (address, tasks)
}

/// Asks with a method and a path; returns the complete answer, except for its date and its line ends.
async fn ask(address: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    let talk = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: std::io::Result<String> = tokio::task::spawn_blocking(talk).await.unwrap();
    let is_kept = |line: &&str| !line.starts_with("Date: ") && *line != "Connection: close\r\n";
    Ok(answer?.split_inclusive('\n').filter(is_kept).collect::<String>().replace("\r\n", "\n"))
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, "GET", path).await.unwrap()
}

#[tokio::test]
async fn health_is_told_as_kube_proxy_tells_it() {
    let observed = observed();
    let (address, _tasks) = start(health::handler(&observed));
    let answer = get(address, "/livez?verbose").await;
    let (head, body) = answer.split_once("\n\n").unwrap();
    let expected = format!(
        "HTTP/1.1 200 OK\nContent-Type: application/json\nX-Content-Type-Options: nosniff\n\
         Content-Length: {}",
        body.len()
    );
    assert_eq!(head, expected);
    assert!(body.starts_with(r#"{"lastUpdated":""#) && body.ends_with(r#","healthy":true}"#));

    // The node is not known yet.
    let answer = get(address, "/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\nContent-Type: application/json\n")
    );
    assert!(answer.contains(r#""nodeEligible":false,"healthy":true}"#), "{answer}");
    observed.source_read(None);
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 OK\n"));

    let metrics = observed.metrics().text().unwrap();
    for line in [
        r#"kubeproxy_proxy_healthz_total{code="200"} 1"#,
        r#"kubeproxy_proxy_healthz_total{code="503"} 1"#,
        r#"kubeproxy_proxy_livez_total{code="200"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_gos_words_and_methods_do_not_matter() {
    let observed = observed();
    let servers = [start(health::handler(&observed)), start(metrics::handler(&observed))];
    for (address, _) in &servers {
        for path in ["/", "/healthz/", "/nothing?here=1"] {
            assert_eq!(
                get(*address, path).await,
                "HTTP/1.1 404 Not Found\nContent-Type: text/plain; charset=utf-8\n\
                 X-Content-Type-Options: nosniff\nContent-Length: 19\n\n404 page not found\n"
            );
        }
    }
    let (address, _) = servers[1];
    let head = ask(address, "HEAD", "/proxyMode").await.unwrap();
    let whole = ask(address, "POST", "/proxyMode").await.unwrap();
    assert_eq!(
        whole,
        "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\n\
         X-Content-Type-Options: nosniff\nContent-Length: 8\n\nnftables"
    );
    assert_eq!(head, whole.strip_suffix("nftables").unwrap());
}

#[tokio::test]
async fn the_metrics_address_tells_metrics_mode_configuration_and_that_it_answers() {
    let observed = observed();
    let (address, _tasks) = start(metrics::handler(&observed));
    let body = |answer: String| answer.split_once("\n\n").unwrap().1.to_owned();
    assert_eq!(body(get(address, "/healthz").await), "ok");
    assert_eq!(body(get(address, "/healthz?verbose").await), "[+]ping ok\nhealthz check passed\n");
    assert_eq!(body(get(address, "/healthz/ping").await), "ok");
    assert_eq!(body(get(address, "/configz").await), r#"{"kubeproxy.config.k8s.io":{}}"#);
    observed.config_is_good("{}".to_owned(), LIMIT);
    observed.config_is_bad();
    assert_eq!(body(get(address, "/configz").await), "{}");
    let answer = get(address, "/metrics").await;
    assert!(answer.contains("\nContent-Type: text/plain; version=0.0.4; charset=utf-8\n"));
    assert!(answer.contains("\nweir_config_last_reload_successful 0\n"), "{answer}");
    let slis = body(get(address, "/metrics/slis").await);
    let line = r#"kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 2"#;
    assert!(slis.lines().any(|found| found == line), "{slis}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_bind_tries_again() {
    let holder = taken_port();
    let address = holder.local_addr().unwrap();
    let serving = Serving { healthz: Some(address), ..Serving::default() };
    let servers = start_servers(serving, &observed()).unwrap();
    tokio::time::sleep(RETRY_INTERVAL + Duration::from_secs(1)).await;
    drop(holder);
    let error = ask(address, "GET", "/livez").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    tokio::time::sleep(RETRY_INTERVAL).await;
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 OK\n"));
    // All ends with what started it.
    drop(servers);
    tokio::task::yield_now().await;
    assert!(ask(address, "GET", "/livez").await.is_err());
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_fatal_where_that_is_asked_for() {
    let holder = taken_port();
    let address = holder.local_addr().unwrap();
    let serving =
        Serving { metrics: Some(address), bind_address_hard_fail: true, ..Serving::default() };
    let error = start_servers(serving, &observed()).unwrap_err();
    let text = chain(&error);
    let expected = format!("cannot listen on {address} for /metrics: Address already in use");
    assert!(text.starts_with(&expected), "{text}");
}

/// A Service whose health is asked for at this port, with endpoints on these nodes.
fn cluster(port: u16, nodes: &[&str]) -> Cluster {
    let name = NamespacedName::new("default", "web");
    let number = |number| std::num::NonZeroU16::new(number).unwrap();
    let service = Service {
        cluster_ips: vec![[10, 96, 0, 10].into()],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: number(80),
            node_port: None,
        }],
        health_check_node_port: Some(number(port)),
        ..Service::default()
    };
    let endpoint = |(index, node): (usize, &&str)| Endpoint {
        place: EndpointPlace::on(node),
        ..Endpoint::new(IpAddr::from([10, 244, 0, 2 + index as u8]))
    };
    let slice = EndpointSlice {
        service: name.clone(),
        family: Family::Ipv4,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: number(8080) }],
        endpoints: nodes.iter().enumerate().map(endpoint).collect(),
    };
    let (services, slices) = ([(name.clone(), service)].into(), [(name, slice)].into());
    Cluster { services, slices, ..Cluster::default() }
}

/// Programs a cluster on a node whose node ports are at 127.0.0.1.
fn program(observed: &AgentStatus, cluster: &Cluster) {
    let loopback = ["127.0.0.1/32", "::1/128"].map(|text| text.parse().unwrap());
    let config = Config {
        node_port_addresses: NodePortAddresses::Cidrs(loopback.into()),
        ..Config::new("node-a")
    };
    let own = ["127.0.0.1", "::1"].map(|address| address.parse().unwrap());
    let facts = DerivedState::of(cluster, &config);
    observed.checks_programmed(&facts, cluster, &config, Some(&own.into()));
}

/// Asks until the answer is as it should be, for the server follows what is programmed in its own
/// time; gives it.
#[allow(clippy::disallowed_methods, reason = "real connections take real time")]
async fn until(
    address: SocketAddr,
    what: &str,
    is_it: impl Fn(&std::io::Result<String>) -> bool,
) -> std::io::Result<String> {
    // Of the real clock: while anybody asks, virtual time stands still.
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(address, "GET", "/any/path").await;
        if is_it(&answer) {
            return answer;
        }
        assert!(std::time::Instant::now() < end, "never {what}, but {answer:?}");
        tokio::task::yield_now().await;
    }
}

/// Asks until the answer begins so.
async fn answer(address: SocketAddr, start: &str) -> String {
    let is_it = |answer: &std::io::Result<String>| {
        answer.as_ref().is_ok_and(|answer| answer.starts_with(start))
    };
    until(address, start, is_it).await.unwrap()
}

#[tokio::test]
async fn a_load_balancer_learns_of_local_endpoints_for_as_long_as_the_service_exists() {
    let (observed, address) = (observed(), free_port());
    let _servers = start_servers(Serving::default(), &observed).unwrap();
    program(&observed, &cluster(address.port(), &["node-a", "node-b", "node-a"]));
    let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\t\
                \"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
    let expected = format!(
        "HTTP/1.1 200 OK\nContent-Type: application/json\nX-Content-Type-Options: nosniff\n\
         X-Load-Balancing-Endpoint-Weight: 2\nContent-Length: {}\n\n{body}",
        body.len()
    );
    assert_eq!(answer(address, "HTTP/1.1 200").await, expected);

    program(&observed, &cluster(address.port(), &["node-b"]));
    let answer = answer(address, "HTTP/1.1 503 Service Unavailable\n").await;
    assert!(answer.contains("\nX-Load-Balancing-Endpoint-Weight: 0\n"), "{answer}");
    assert!(answer.contains("\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": true"), "{answer}");

    program(&observed, &Cluster::default());
    until(address, "closed", Result::is_err).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_node_gets_no_traffic_whatever_it_has() {
    let (observed, address) = (observed(), free_port());
    let _servers = start_servers(Serving::default(), &observed).unwrap();
    program(&observed, &cluster(address.port(), &["node-a"]));
    answer(address, "HTTP/1.1 200 OK\n").await;
    // A step that never ends.
    observed.step_started();
    tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
    answer(address, "HTTP/1.1 200 OK\n").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answer = answer(address, "HTTP/1.1 503 Service Unavailable\n").await;
    assert!(
        answer.contains("\"localEndpoints\": 1,\n\t\"serviceProxyHealthy\": false"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_health_check_port_that_is_taken_is_tried_again() {
    let (observed, holder) = (observed(), taken_port());
    let address = holder.local_addr().unwrap();
    let _servers = start_servers(Serving::default(), &observed).unwrap();
    program(&observed, &cluster(address.port(), &["node-a"]));
    tokio::time::sleep(RETRY_INTERVAL + Duration::from_secs(1)).await;
    drop(holder);
    assert!(ask(address, "GET", "/").await.is_err());
    tokio::time::sleep(RETRY_INTERVAL).await;
    assert!(get(address, "/").await.starts_with("HTTP/1.1 200 OK\n"));
}

#[tokio::test]
async fn whoever_keeps_connections_open_keeps_nobody_else_out() {
    let (address, _tasks) = start(health::handler(&observed()));
    let connect = || tokio::net::TcpStream::connect(address);
    let oldest = connect().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..listen::MAX_CONNECTIONS {
        others.push(connect().await.unwrap());
    }
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 OK\n"));
    // Less than a client may be silent for.
    let closed = tokio::time::timeout(Duration::from_secs(20), oldest.readable()).await;
    closed.expect("it is closed").unwrap();
    assert_eq!(oldest.try_read(&mut [0]).unwrap(), 0);
    assert_eq!(others.pop().unwrap().try_read(&mut [0]).unwrap_err().kind(), WouldBlock);
}

/// A probe that has connected and takes its time is not the one that has to go.
#[tokio::test]
async fn a_flood_of_connections_takes_the_place_of_no_probe() {
    let (address, _tasks) = start(health::handler(&observed()));
    let from = |last: u8| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
        socket.connect(address)
    };
    let probe = from(1).await.unwrap();
    let mut flood = Vec::new();
    for _ in 0..10 * listen::MAX_CONNECTIONS {
        flood.push(from(2).await.unwrap());
    }
    // Also one that comes into the flood.
    let second = from(3).await.unwrap();
    for _ in 0..2 * listen::MAX_CONNECTIONS {
        flood.push(from(2).await.unwrap());
    }
    for stream in [probe, second] {
        let mut stream = stream.into_std().unwrap();
        let talk = move || {
            stream.set_nonblocking(false).unwrap();
            write!(stream, "GET /livez HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer: std::io::Result<String> = tokio::task::spawn_blocking(talk).await.unwrap();
        let is_good = answer.as_ref().is_ok_and(|text| text.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(is_good, "{answer:?}");
    }
}

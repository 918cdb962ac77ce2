//! Answers by the kernel, as `weir apply` has programmed it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use weir_testbed::{ANSWER, Family, Outcome, Protocol, REFUSAL, SILENCE, Testbed, ask};

use crate::case::{Answer, EndOfIt, Expect, File, Question, SERVER_PORTS, SERVERS};
use crate::case::{Situation, Source, faults, word};
use crate::interpreter::{self, HOSTS};

/// A TCP refusal may show only after the first SYN was sent again, 1 s later.
const TCP_SILENCE: Duration = Duration::from_millis(1300);

/// The least number of questions where servers are expected: also one that should not be there
/// must have its chance.
const LEAST: usize = 8;

/// Of so many questions one of four servers gets none with a chance of 4 * (3/4)^80 < 1e-9.
const MOST: usize = 80;

/// Runs all cases of a file on one node and says what failed.
pub(crate) fn run(file: &File) -> Vec<String> {
    let bed = testbed();
    let mut failures = Vec::new();
    for (number, situation) in (0..).zip(file.situations()) {
        apply(&bed, &situation);
        use_ports(&bed, number);
        let answers = answers(&bed, &situation.questions);
        for (index, fault) in faults(&situation.questions, &answers) {
            let question = &situation.questions[index];
            let mut node = interpreter::Node::new(&situation);
            failures.push(format!(
                "{situation}\n  {question}\n  kernel: {fault}\n  interpreter: {:?}\n    {}",
                node.answer(question, true),
                node.way(question)
            ));
        }
    }
    failures
}

fn testbed() -> Testbed {
    let mut bed = Testbed::new();
    for (name, v4, v6, interface) in HOSTS {
        bed = match interface {
            "uplink" => bed.outside(name, v4, v6),
            _ => bed.pod(name, v4, v6),
        };
    }
    for server in SERVERS {
        for port in SERVER_PORTS {
            bed.serve(server, port);
        }
    }
    // By default a host sends one ICMP error a second to another.
    for host in all_hosts() {
        bed.ns(host).sysctl("net/ipv4/icmp_ratelimit", "0");
        bed.ns(host).sysctl("net/ipv6/icmp/ratelimit", "0");
    }
    bed
}

/// Has TCP and UDP ask from ports that no situation before this one asked from: the kernel would go
/// on with the flow of an earlier question from the same port.
fn use_ports(bed: &Testbed, number: u16) {
    const FIRST: u16 = 32768;
    const EACH: u16 = 400;
    let first = EACH.checked_mul(number).and_then(|ports| ports.checked_add(FIRST));
    let last = first.and_then(|first| first.checked_add(EACH - 1)).expect("ports for all cases");
    for host in all_hosts() {
        let range = format!("{} {last}", last - (EACH - 1));
        bed.ns(host).sysctl("net/ipv4/ip_local_port_range", &range);
    }
}

fn all_hosts() -> impl Iterator<Item = &'static str> {
    HOSTS.into_iter().map(|(name, ..)| name).chain(["node"])
}

fn apply(bed: &Testbed, situation: &Situation<'_>) {
    let is_sticky = situation.questions.iter().any(|question| question.sticky.is_some());
    if is_sticky && !situation.continues {
        // What an earlier case has learned.
        let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
        let cleaned = bed.node().run(|| weir.arg("cleanup").output()).expect("weir runs");
        assert!(cleaned.status.success(), "{situation}");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    write!(file, "{}", situation.manifests).expect("it can be written");
    let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
    weir.args(["apply", "-f"]).arg(file.path()).args(&situation.options);
    let output = bed.node().run(|| weir.output()).expect("weir runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{situation}: {errors}");
}

/// Asks all questions, those of different hosts and those that wait for silence at the same time.
///
/// One host asks for servers one question after the other: two connections from one source port to
/// two addresses of a Service that meet at the same endpoint have the same reply tuple, and if both
/// are confirmed in the same instant the kernel drops one SYN (`insert_failed` of `conntrack -S`;
/// `__nf_conntrack_confirm` of net/netfilter/nf_conntrack_core.c resolves such a clash for UDP only).
fn answers(bed: &Testbed, questions: &[Question]) -> Vec<Answer> {
    let mut turns: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, question) in questions.iter().enumerate() {
        let alone = matches!(question.expect, Expect::Outcome(_)).then_some(index);
        turns.entry((&question.from, alone)).or_default().push(index);
    }
    let mut answers: Vec<_> = thread::scope(|scope| {
        let ask = |turn: Vec<usize>| {
            let one = |index: usize| (index, answer(bed, &questions[index]));
            scope.spawn(move || turn.into_iter().map(one).collect::<Vec<_>>())
        };
        let asked: Vec<_> = turns.into_values().map(ask).collect();
        asked.into_iter().flat_map(|it| it.join().expect("asking does not panic")).collect()
    });
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Asks until each server that is expected has answered, or often enough to know better.
fn answer(bed: &Testbed, question: &Question) -> Answer {
    let Question { from, to, protocol, expect, .. } = question;
    let (patience, most) = match (expect, protocol) {
        (Expect::Servers(_), _) => (ANSWER, MOST),
        (Expect::Outcome(EndOfIt::Refused), _) => (REFUSAL, 1),
        (Expect::Outcome(EndOfIt::Dropped), Protocol::Tcp) => (TCP_SILENCE, 1),
        (Expect::Outcome(EndOfIt::Dropped), _) => (SILENCE, 1),
    };
    let mut answer = Answer::default();
    for asked in 0..most {
        let complete = match expect {
            Expect::Servers(_) if question.sticky.is_some() => true,
            Expect::Servers(names) => names.iter().all(|name| answer.servers.contains_key(name)),
            Expect::Outcome(_) => false,
        };
        if complete && asked >= LEAST || !answer.other.is_empty() {
            break;
        }
        match ask(bed.ns(from), *protocol, *to, patience) {
            Outcome::Answered { server, source } => {
                match seen(bed, from, source) {
                    Some(source) => drop(answer.servers.entry(server).or_default().insert(source)),
                    None => drop(answer.other.insert(format!("{server} sees {source}"))),
                };
            }
            Outcome::Refused => drop(answer.other.insert(word(EndOfIt::Refused))),
            Outcome::Silent => drop(answer.other.insert(word(EndOfIt::Dropped))),
            Outcome::Failed(error) => drop(answer.other.insert(error.to_string())),
        }
    }
    answer
}

fn seen(bed: &Testbed, from: &str, source: SocketAddr) -> Option<Source> {
    let (family, gateway): (_, IpAddr) = match source {
        SocketAddr::V4(_) => (Family::V4, Testbed::GATEWAY_V4.into()),
        SocketAddr::V6(_) => (Family::V6, Testbed::GATEWAY_V6.into()),
    };
    let own = bed.host(from).address(family);
    let node = bed.host("node").address(family);
    match source.ip() {
        ip if ip == own => Some(Source::Own),
        ip if ip == gateway || ip == node => Some(Source::Node),
        _ => None,
    }
}

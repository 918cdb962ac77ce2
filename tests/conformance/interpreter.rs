//! Answers by the packet interpreter, on the ruleset that is compiled from the manifests.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::num::NonZeroU16;

use clap::Parser;
use weir::cli::{Cli, Command};
use weir::source::manifest::load;
use weir_rules::cluster::{Family, Protocol};
use weir_rules::compile::compile;
use weir_rules::nft::{Data, Element, Lifetime, Name, RawKey, RawValue, Ruleset};
use weir_rules::simulate::{FinalVerdict, Learned, Packet, Probability, Step, Trace, simulate};
use weir_rules::transaction::carry_over::carry_over;
use weir_testbed::Testbed;

use crate::case::{
    Answer, EndOfIt, Expect, Question, SERVER_PORTS, SERVERS, Situation, Source, word,
};

/// Every host's IPv4 and IPv6 address, and the interface by which its packets reach the node.
pub(crate) const HOSTS: [(&str, &str, &str, &str); 7] = [
    ("client", "10.244.0.9", "fd00:10:244::9", "pod1"),
    ("b1", "10.244.0.2", "fd00:10:244::2", "pod2"),
    ("b2", "10.244.0.3", "fd00:10:244::3", "pod3"),
    ("b3", "10.244.0.4", "fd00:10:244::4", "pod4"),
    ("r1", "10.244.1.5", "fd00:10:244:1::5", "uplink"),
    ("visitor", "198.51.100.7", "2001:db8:51::7", "uplink"),
    ("stranger", "198.51.100.9", "2001:db8:51::9", "uplink"),
];

/// An element as it is right after it was learned.
fn element(learned: &Learned<'_>) -> (Name, RawKey, Element) {
    let timeout = 1000 * u64::from(learned.timeout);
    let lifetime = Lifetime { timeout, expires: timeout };
    let element = Element::new(Data::Learned(
        RawValue::from_bytes(learned.data.as_bytes()).expect("an endpoint"),
        lifetime,
    ));
    (learned.map.clone(), learned.key, element)
}

/// The testbed's node with a situation's ruleset.
pub(crate) struct Node {
    ruleset: Ruleset,
    local: BTreeSet<IpAddr>,
    hosts: BTreeMap<IpAddr, &'static str>,
}

impl Node {
    pub(crate) fn new(situation: &Situation<'_>) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
        write!(file, "{}", situation.manifests).expect("it can be written");
        let path = file.path().to_string_lossy().into_owned();
        let words = ["weir", "print", "-f", &path].map(str::to_owned);
        let cli = Cli::try_parse_from(words.iter().chain(&situation.options))
            .unwrap_or_else(|error| panic!("{situation}: {error}"));
        let Some(Command::Print(args)) = cli.command else { panic!("it is print") };
        let config = args.node.config().unwrap_or_else(|error| panic!("{situation}: {error}"));
        let loaded = load(&args.inputs(), &config.node_name, config.max_service_keys);
        assert!(loaded.problems.is_empty(), "{situation}: {:#?}", loaded.problems);
        let local = [
            Testbed::NODE_V4.into(),
            Testbed::NODE_V6.into(),
            Testbed::GATEWAY_V4.into(),
            Testbed::GATEWAY_V6.into(),
        ];
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let hosts = HOSTS
            .into_iter()
            .flat_map(|(name, v4, v6, _)| [(address(v4), name), (address(v6), name)])
            .chain([(Testbed::NODE_V4.into(), "node"), (Testbed::NODE_V6.into(), "node")]);
        Self {
            ruleset: compile(&loaded.cluster, &config),
            local: local.into(),
            hosts: hosts.collect(),
        }
    }

    /// Takes over what packets have put into the maps of the node as it was before.
    pub(crate) fn go_on_from(&mut self, before: &Node) {
        self.ruleset = carry_over(&before.ruleset, Cow::Borrowed(&self.ruleset)).into_owned();
    }

    /// What comes of questions, one after the other.
    pub(crate) fn answers(&mut self, questions: &[Question]) -> Vec<Answer> {
        let mut row = None;
        let mut answer = |question: &Question| {
            let is_first = std::mem::replace(&mut row, question.sticky) != question.sticky;
            self.answer(question, is_first)
        };
        questions.iter().map(&mut answer).collect()
    }

    /// What comes of a question. An uneven choice among servers is told as something else. Of the
    /// first of a sticky row, what comes of it in the last of the possible ways, if each is to a
    /// server that it may reach.
    pub(crate) fn answer(&mut self, question: &Question, is_first: bool) -> Answer {
        let mut walk = self.simulate(question);
        let mut answer = self.tell(&walk);
        if let (Some(_), Expect::Servers(names)) = (question.sticky, &question.expect)
            && is_first
            && answer.other.is_empty()
            && answer.servers.keys().all(|server| names.contains(server))
        {
            walk.outcomes.drain(..walk.outcomes.len() - 1);
            answer = self.tell(&walk);
        }
        let learned: Vec<_> = match walk.outcomes.as_slice() {
            [only] => only.learned.iter().map(element).collect(),
            _ => Vec::new(),
        };
        let table = self.ruleset.tables.get_mut(&Family::of(question.to.ip()));
        let table = table.expect("there is a table of each family");
        for (map, key, learned) in learned {
            let map = table.sets.get_mut(&map).expect("what learns is there");
            map.elements.insert(key, learned);
        }
        answer
    }

    fn tell(&self, walk: &Trace<'_>) -> Answer {
        let mut answer = Answer::default();
        let mut chances: BTreeMap<&str, Probability> = BTreeMap::new();
        for end in &walk.outcomes {
            let delivery = match &end.outcome {
                FinalVerdict::Delivered(delivery) => delivery,
                FinalVerdict::Rejected => {
                    answer.other.insert(word(EndOfIt::Refused));
                    continue;
                }
                FinalVerdict::Dropped => {
                    answer.other.insert(word(EndOfIt::Dropped));
                    continue;
                }
                FinalVerdict::Unknown(text) => {
                    answer.other.insert(format!("unknown: {text}"));
                    continue;
                }
            };
            match self.hosts.get(&delivery.address) {
                Some(&host)
                    if SERVERS.contains(&host) && SERVER_PORTS.contains(&delivery.port.get()) =>
                {
                    let seen = if delivery.masqueraded { Source::Node } else { Source::Own };
                    answer.servers.entry(host.to_owned()).or_default().insert(seen);
                    chances
                        .entry(host)
                        .and_modify(|chance| *chance = *chance + end.probability)
                        .or_insert(end.probability);
                }
                // Nobody listens at a host's other ports, and nobody has any other address.
                Some(_) => drop(answer.other.insert(word(EndOfIt::Refused))),
                None if self.is_local(delivery.address) => {
                    answer.other.insert(word(EndOfIt::Refused));
                }
                None => drop(answer.other.insert(word(EndOfIt::Dropped))),
            }
        }
        if chances.values().collect::<BTreeSet<_>>().len() > 1 {
            answer.other.insert(format!("uneven: {chances:?}"));
        }
        answer
    }

    /// The rules that a question's packet matches, on the first of its ways.
    pub(crate) fn way(&self, question: &Question) -> String {
        let walk = self.simulate(question);
        let steps = walk.outcomes[0].steps.iter().map(Step::to_string);
        steps.collect::<Vec<_>>().join("\n    ")
    }

    fn simulate(&self, question: &Question) -> Trace<'_> {
        let destination = question.to.ip();
        let (source, input_interface) = match question.from.as_str() {
            "node" => (self.node_source(destination), None),
            host => {
                let (_, v4, v6, interface) = HOSTS
                    .into_iter()
                    .find(|(name, ..)| *name == host)
                    .unwrap_or_else(|| panic!("there is no host {host}"));
                let source = if destination.is_ipv4() { v4 } else { v6 };
                (source.parse().expect("an address"), Some(interface.to_owned()))
            }
        };
        let packet = Packet {
            source,
            destination,
            protocol: match question.protocol {
                weir_testbed::Protocol::Tcp => Protocol::Tcp,
                weir_testbed::Protocol::Udp => Protocol::Udp,
                weir_testbed::Protocol::Sctp => Protocol::Sctp,
            },
            port: NonZeroU16::new(question.to.port()).expect("a port"),
            input_interface,
            mark: 0,
        };
        simulate(&self.ruleset, &packet, &self.local)
    }

    /// The address that the kernel gives the node's own packets: the destination itself if it is
    /// the node's, towards pods that of their link.
    fn node_source(&self, destination: IpAddr) -> IpAddr {
        let to_pod = HOSTS.iter().any(|(name, _, _, interface)| {
            interface.starts_with("pod") && self.hosts.get(&destination) == Some(name)
        });
        match (destination, to_pod) {
            _ if self.is_local(destination) => destination,
            (IpAddr::V4(_), true) => Testbed::GATEWAY_V4.into(),
            (IpAddr::V4(_), false) => Testbed::NODE_V4.into(),
            (IpAddr::V6(_), true) => Testbed::GATEWAY_V6.into(),
            (IpAddr::V6(_), false) => Testbed::NODE_V6.into(),
        }
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local.contains(&address)
    }
}

//! The cases as they are written, and the situations and questions that they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use weir_testbed::{Family, Protocol};

use crate::{twin, yaml};

/// The objects that every case has, unless it says otherwise.
pub(crate) const CLUSTER: &str = "
- kind: Node
  metadata: {name: node-a, labels: {topology.kubernetes.io/zone: zone-a}}
  spec: {podCIDRs: [10.244.0.0/24]}
  status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
- kind: ServiceCIDR
  metadata: {name: kubernetes}
  spec: {cidrs: [10.96.0.0/16]}
";

/// The hosts that answer.
pub(crate) const SERVERS: [&str; 5] = ["b1", "b2", "b3", "r1", "node"];
/// The ports at which they do.
pub(crate) const SERVER_PORTS: [u16; 2] = [8080, 8081];

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(skip)]
    pub(crate) name: String,
    title: String,
    #[serde(default)]
    options: String,
    #[serde(default)]
    manifests: Vec<Value>,
    pub(crate) cases: Vec<Case>,
}

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Case {
    /// Its name, unique within its file.
    pub(crate) case: String,
    /// What it shows.
    says: String,
    #[serde(default)]
    families: Families,
    options: Option<String>,
    #[serde(default)]
    changes: Vec<Value>,
    #[serde(default)]
    delete: Vec<String>,
    #[serde(default)]
    packets: Vec<Packets>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Families {
    #[default]
    Both,
    AsWritten,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    step: String,
    options: Option<String>,
    #[serde(default)]
    changes: Vec<Value>,
    #[serde(default)]
    delete: Vec<String>,
    packets: Vec<Packets>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Packets {
    from: Some1<String>,
    to: Some1<String>,
    #[serde(default)]
    protocol: Some1<Proto>,
    expect: Expect,
    #[serde(default)]
    sticky: bool,
    seen_as: Option<SeenAs>,
}

/// One, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Some1<T> {
    One(T),
    Several(Vec<T>),
}

impl<T> Some1<T> {
    fn each(&self) -> &[T] {
        match self {
            Some1::One(one) => std::slice::from_ref(one),
            Some1::Several(several) => several,
        }
    }
}

impl Default for Some1<Proto> {
    fn default() -> Self {
        Some1::One(Proto::Tcp)
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Proto {
    Tcp,
    Udp,
    Sctp,
}

/// What comes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expect {
    /// Not a server.
    Outcome(EndOfIt),
    /// One of these servers.
    Servers(BTreeSet<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndOfIt {
    Refused,
    Dropped,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum SeenAs {
    All(Source),
    Each(BTreeMap<String, Source>),
}

/// Whose address a server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// The sender's own.
    #[serde(rename = "self")]
    Own,
    /// One of the node's.
    Node,
}

/// Objects and options, and the questions to ask then.
pub(crate) struct Situation<'a> {
    file: &'a File,
    case: &'a Case,
    step: Option<&'a Step>,
    /// The twin that it is; `None` for a case that runs as it is written.
    family: Option<Family>,
    /// Whether it goes on from the situation before it.
    pub(crate) continues: bool,
    /// `kind: List`.
    pub(crate) manifests: Value,
    pub(crate) options: Vec<String>,
    pub(crate) questions: Vec<Question>,
}

impl fmt::Display for Situation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.file.name, self.case.case, self.case.says)?;
        if let Some(step) = self.step {
            write!(f, ": {}", step.step)?;
        }
        match self.family {
            Some(family) => write!(f, " (IP{family:?})"),
            None => Ok(()),
        }
    }
}

/// One sender, destination and protocol.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) from: String,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) expect: Expect,
    /// In a row that has to reach one server with all its questions, the number of the row.
    pub(crate) sticky: Option<usize>,
    seen_as: Option<SeenAs>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = if self.sticky.is_some() { "one and the same of " } else { "" };
        let Self { from, to, protocol, expect, .. } = self;
        write!(f, "{from} to {to} {protocol}: expected {one}{expect:?}")?;
        match &self.seen_as {
            Some(seen_as) => write!(f, " seen as {seen_as:?}"),
            None => Ok(()),
        }
    }
}

/// What was found to come of a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Servers that answer, and whom they see.
    pub(crate) servers: BTreeMap<String, BTreeSet<Source>>,
    /// What else came of it.
    pub(crate) other: BTreeSet<String>,
}

impl Question {
    /// How an answer differs from what is expected.
    pub(crate) fn fault(&self, answer: &Answer) -> Option<String> {
        let Answer { servers, other } = answer;
        let as_expected = match &self.expect {
            Expect::Outcome(end) => servers.is_empty() && *other == BTreeSet::from([word(*end)]),
            Expect::Servers(names) if self.sticky.is_some() => {
                other.is_empty()
                    && servers.len() == 1
                    && servers.keys().all(|it| names.contains(it))
            }
            Expect::Servers(names) => other.is_empty() && servers.keys().eq(names),
        };
        let seen_right = servers.iter().all(|(server, seen)| match &self.seen_as {
            None => true,
            Some(SeenAs::All(source)) => *seen == BTreeSet::from([*source]),
            Some(SeenAs::Each(of)) => {
                of.get(server).is_some_and(|source| *seen == BTreeSet::from([*source]))
            }
        });
        (!as_expected || !seen_right).then(|| format!("{answer:?}"))
    }
}

/// Which questions have another answer than expected, by index, and how it differs.
pub(crate) fn faults(questions: &[Question], answers: &[Answer]) -> Vec<(usize, String)> {
    let mut rows: BTreeMap<usize, &Answer> = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, (question, answer)) in questions.iter().zip(answers).enumerate() {
        let first = question.sticky.map(|row| *rows.entry(row).or_insert(answer));
        let is_other = first.is_some_and(|first| !first.servers.keys().eq(answer.servers.keys()));
        let other = is_other.then(|| format!("{answer:?}, another server than before"));
        faults.extend(question.fault(answer).or(other).map(|fault| (index, fault)));
    }
    faults
}

/// How an end that is no server reads in an [`Answer`].
pub(crate) fn word(end: EndOfIt) -> String {
    match end {
        EndOfIt::Refused => "refused".to_owned(),
        EndOfIt::Dropped => "dropped".to_owned(),
    }
}

impl File {
    /// All files, by name.
    pub(crate) fn all() -> Vec<File> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be read").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .collect();
        paths.sort();
        let files: Vec<File> = paths.iter().map(|path| File::read(path)).collect();
        let cases: usize = files.iter().map(|file| file.cases.len()).sum();
        assert!(cases >= 185, "{cases} cases");
        files
    }

    fn read(path: &Path) -> File {
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("it can be read");
        let file: File = serde_json::from_value(yaml::parse(&name, &text))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!file.title.is_empty(), "{name} has a title");
        let names: BTreeSet<_> = file.cases.iter().map(|case| &case.case).collect();
        assert_eq!(names.len(), file.cases.len(), "{name}: two cases have one name");
        File { name, ..file }
    }

    /// Everything that its cases come to, in order, for each family.
    pub(crate) fn situations(&self) -> Vec<Situation<'_>> {
        self.cases.iter().flat_map(|case| self.situations_of(case)).collect()
    }

    fn situations_of<'a>(&'a self, case: &'a Case) -> Vec<Situation<'a>> {
        let families = match case.families {
            Families::Both => vec![Some(Family::V4), Some(Family::V6)],
            Families::AsWritten => vec![None],
        };
        let mut situations = Vec::new();
        for family in families {
            let mut objects: Vec<Value> = Vec::new();
            let base = yaml::parse("CLUSTER", CLUSTER);
            let base = base.as_array().expect("a list").clone();
            change(&mut objects, &base);
            change(&mut objects, &self.manifests);
            change(&mut objects, &case.changes);
            delete(&mut objects, &case.delete);
            let mut options = case.options.as_ref().unwrap_or(&self.options);
            let mut continues = false;
            let mut situation = |step, objects: &[Value], options: &str, packets: &[Packets]| {
                let mut situation = self.situation(case, step, family, objects, options, packets);
                situation.continues = std::mem::replace(&mut continues, true);
                assert!(!situation.questions.is_empty(), "{situation}: no packets");
                situation
            };
            if !case.packets.is_empty() || case.steps.is_empty() {
                situations.push(situation(None, &objects, options, &case.packets));
            }
            for step in &case.steps {
                change(&mut objects, &step.changes);
                delete(&mut objects, &step.delete);
                options = step.options.as_ref().unwrap_or(options);
                situations.push(situation(Some(step), &objects, options, &step.packets));
            }
        }
        situations
    }

    fn situation<'a>(
        &'a self,
        case: &'a Case,
        step: Option<&'a Step>,
        family: Option<Family>,
        objects: &[Value],
        options: &str,
        packets: &[Packets],
    ) -> Situation<'a> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let is_twin = family == Some(Family::V6);
        let manifests = if is_twin { twin::value(&list) } else { list };
        let options = if is_twin { twin::options(options) } else { options.to_owned() };
        let mut options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        if !options.iter().any(|option| option == "--hostname-override") {
            options.extend(["--hostname-override".to_owned(), "node-a".to_owned()]);
        }
        let mut questions = Vec::new();
        for (number, row) in packets.iter().enumerate() {
            for from in row.from.each() {
                for to in row.to.each() {
                    for protocol in row.protocol.each() {
                        let question = row.question(from, to, *protocol, is_twin);
                        let sticky = row.sticky.then_some(number);
                        questions.push(Question { sticky, ..question });
                    }
                }
            }
        }
        let continues = false;
        Situation { file: self, case, step, family, continues, manifests, options, questions }
    }
}

impl Packets {
    fn question(&self, from: &str, to: &str, protocol: Proto, is_twin: bool) -> Question {
        let (address, port) = to.rsplit_once(':').unwrap_or_else(|| panic!("{to}: no port"));
        let address = address.trim_matches(['[', ']']);
        let address = if is_twin { twin::text(address) } else { address.to_owned() };
        let address: IpAddr = address.parse().unwrap_or_else(|_| panic!("{to}: no address"));
        let port = port.parse().unwrap_or_else(|_| panic!("{to}: no port"));
        let protocol = match protocol {
            Proto::Tcp => Protocol::Tcp,
            Proto::Udp => Protocol::Udp,
            Proto::Sctp => Protocol::Sctp,
        };
        let unobservable =
            protocol == Protocol::Sctp && self.expect == Expect::Outcome(EndOfIt::Refused);
        assert!(!unobservable, "{to}: no socket tells that SCTP is refused");
        Question {
            from: from.to_owned(),
            to: SocketAddr::new(address, port),
            protocol,
            expect: self.expect.clone(),
            sticky: None,
            seen_as: self.seen_as.clone(),
        }
    }
}

/// `Kind/name`.
fn key(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{object}")).to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Patches the objects that are there, and adds the others.
fn change(objects: &mut Vec<Value>, changes: &[Value]) {
    for patch in changes {
        if let Some(object) = objects.iter_mut().find(|object| key(object) == key(patch)) {
            merge(object, patch);
            continue;
        }
        let (api_version, namespaced) = match patch["kind"].as_str() {
            Some("EndpointSlice") => ("discovery.k8s.io/v1", true),
            Some("ServiceCIDR") => ("networking.k8s.io/v1", false),
            Some("Service" | "Pod") => ("v1", true),
            _ => ("v1", false),
        };
        let mut object = json!({"apiVersion": api_version});
        if namespaced {
            object["metadata"] = json!({"namespace": "default"});
        }
        merge(&mut object, patch);
        objects.push(object);
    }
}

/// RFC 7396.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => drop(object.as_object_mut().expect("it is one").remove(name)),
            _ => merge(&mut object[name], value),
        }
    }
}

fn delete(objects: &mut Vec<Value>, names: &[String]) {
    for name in names {
        let before = objects.len();
        objects.retain(|object| key(object) != *name);
        assert!(objects.len() < before, "there is no {name} to delete");
    }
}

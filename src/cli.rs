//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use weir_rules::cluster::Family;
use weir_rules::cluster::address::parse_network;
use weir_rules::config::{Config, DEFAULT_MASQUERADE_BIT, DetectLocal, NodePortAddresses};
use weir_rules::nft::is_interface_name;

use crate::config::{Flags, LimitArgs, host_name};
use crate::source::api::ClientSource;
use crate::source::manifest::Input;
use crate::telemetry::serve::Serving;

/// A Kubernetes Service proxy on nftables.
#[derive(Debug, Parser)]
#[command(name = "weir", max_term_width = 100, args_override_self = true)]
#[command(disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without a command, weir does what kube-proxy does with these flags.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment would become the command's help")]
    pub flags: Flags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the ruleset that the manifests ask for, in nft syntax; touch nothing
    Print(ManifestArgs),
    /// Make the kernel equal to the manifests, at once: each destination is served as before or as after
    Apply {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment would become the command's help")]
        manifests: ManifestArgs,
        /// Print each change, in nft syntax
        #[arg(short, long)]
        verbose: bool,
    },
    /// Show how the kernel differs from the manifests: `-` has to go, `+` has to come.
    /// Exits with 0 when they are equal, 1 when they differ, 2 on error
    Diff(ManifestArgs),
    /// Keep the kernel equal to what an API server or a directory of manifests holds, until SIGTERM
    /// or SIGINT
    Run {
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment would become the command's help")]
        source: SourceArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment would become the command's help")]
        node: NodeArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "a doc comment would become the command's help")]
        serve: ServeArgs,
    },
    /// Remove weir's tables and nothing else, or what kube-proxy has left
    Cleanup {
        /// Remove what kube-proxy has left, and not weir's tables
        #[arg(long)]
        kube_proxy: bool,
    },
    /// Do nothing until SIGTERM or SIGINT, for a Pod whose init containers have done its work
    Pause,
}

/// Where the manifests are.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// File or directory of manifests, YAML or JSON, or `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    pub filenames: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment would become the command's help")]
    pub node: NodeArgs,
}

impl ManifestArgs {
    /// The inputs that `-f` names.
    pub fn inputs(&self) -> Vec<Input> {
        self.filenames.iter().map(|name| Input::from(name.as_str())).collect()
    }
}

/// Where the state of the cluster comes from: with none of these, from the API server of the cluster
/// that weir runs in as a Pod.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Directory of *.yaml, *.yml and *.json files to follow instead of an API server
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "master"])]
    pub manifests: Option<PathBuf>,
    /// File that says how to reach the API server; without it, what a Pod is given
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// URL of the API server, instead of that in the kubeconfig
    #[arg(long, value_name = "URL")]
    master: Option<String>,
}

impl SourceArgs {
    /// How to reach the API server. An empty value is none, as it is for kube-proxy.
    pub fn access(&self) -> ClientSource {
        ClientSource::new(self.kubeconfig.clone(), self.master.clone())
    }
}

/// What to serve over HTTP, by kube-proxy's names. Unlike kube-proxy, nothing by default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub struct ServeArgs {
    /// Where to serve /healthz, /livez and /readyz, as in 0.0.0.0:10256
    #[arg(long, value_name = "IP:PORT")]
    healthz_bind_address: Option<SocketAddr>,
    /// Where to serve /metrics, as in 127.0.0.1:10249
    #[arg(long, value_name = "IP:PORT")]
    metrics_bind_address: Option<SocketAddr>,
    /// An address that cannot be bound is fatal; otherwise it is tried again
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    bind_address_hard_fail: bool,
}

impl ServeArgs {
    /// What to serve where.
    pub fn serving(&self) -> Serving {
        Serving {
            healthz: self.healthz_bind_address,
            metrics: self.metrics_bind_address,
            bind_address_hard_fail: self.bind_address_hard_fail,
        }
    }
}

/// Settings of the node, by kube-proxy's names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Name of this Node; the host's name by default
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<String>,
    /// How to detect traffic of local Pods. Other traffic to a ClusterIP is masqueraded; where
    /// it cannot be detected, none is
    #[arg(long, value_name = "MODE", default_value = "ClusterCIDR")]
    detect_local_mode: DetectLocalMode,
    /// With ClusterCIDR: the network of Pods, or one of each family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    cluster_cidr: Vec<Option<IpNet>>,
    /// With BridgeInterface: the interface that Pods are behind
    #[arg(long, value_name = "NAME")]
    pod_bridge_interface: Option<String>,
    /// With InterfaceNamePrefix: how the names of Pods' interfaces begin
    #[arg(long, value_name = "PREFIX")]
    pod_interface_name_prefix: Option<String>,
    /// Networks of ClusterIPs, as kube-apiserver has them, beside those of ServiceCIDR objects.
    /// Traffic to an address in them that no Service has is dropped
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    service_cluster_ip_range: Vec<Option<IpNet>>,
    /// Networks at whose addresses of this node node ports are served (a family without one is
    /// served at all of its addresses), or `primary`: the Node object's first address of each
    /// family
    #[arg(long, value_name = "CIDR|primary", value_delimiter = ',', default_value = PRIMARY)]
    nodeport_addresses: Vec<String>,
    /// Masquerade all traffic to ClusterIPs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    masquerade_all: bool,
    /// Bit of the packet mark that asks for masquerade
    #[arg(long, value_name = "BIT", default_value_t = DEFAULT_MASQUERADE_BIT,
          value_parser = clap::value_parser!(u8).range(0..=31))]
    iptables_masquerade_bit: u8,
    #[command(flatten)]
    limits: LimitArgs,
}

/// kube-proxy's `--detect-local-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DetectLocalMode {
    /// By --cluster-cidr
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By the Node's spec.podCIDRs
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By --pod-bridge-interface
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By --pod-interface-name-prefix
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

/// kube-proxy's word for the Node's primary addresses, and its default in nftables mode.
const PRIMARY: &str = "primary";

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// kube-proxy uses only the first of a family, silently.
    #[error("--cluster-cidr: more than one network of a family: {0}")]
    ClusterCidrs(String),
    /// The mode needs an interface and none, or no possible one, is given.
    #[error("{option} is needed: 1 to 15 characters, without spaces, `/`, `*` and quotes")]
    Interface {
        /// The option.
        option: &'static str,
    },
    /// Neither `primary` nor a network.
    #[error("--nodeport-addresses: `{value}` is not a CIDR")]
    NodePortAddress {
        /// What was given.
        value: String,
    },
    /// `primary` beside networks.
    #[error("--nodeport-addresses: `primary` cannot be combined with networks")]
    PrimaryAndOthers,
    /// The host's name is needed and cannot be read.
    #[error("cannot read the host's name; give --hostname-override")]
    Hostname(#[source] std::io::Error),
}

impl NodeArgs {
    /// The settings, checked.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let node_name = match &self.hostname_override {
            Some(name) => name.clone(),
            None => host_name().map_err(ConfigError::Hostname)?,
        };
        Ok(self.limits.apply(Config {
            detect_local: self.detect_local()?,
            service_cidrs: self.service_cluster_ip_range.iter().flatten().copied().collect(),
            node_port_addresses: node_port_addresses(&self.nodeport_addresses)?,
            masquerade_all: self.masquerade_all,
            masquerade_bit: self.iptables_masquerade_bit,
            ..Config::new(node_name.trim().to_lowercase())
        }))
    }
}

impl NodeArgs {
    fn detect_local(&self) -> Result<DetectLocal, ConfigError> {
        Ok(match self.detect_local_mode {
            DetectLocalMode::ClusterCidr => {
                DetectLocal::ClusterCidr(one_of_each_family(&self.cluster_cidr)?)
            }
            DetectLocalMode::NodeCidr => DetectLocal::NodeCidr,
            DetectLocalMode::BridgeInterface => DetectLocal::BridgeInterface(interface(
                self.pod_bridge_interface.as_deref(),
                "--pod-bridge-interface",
            )?),
            DetectLocalMode::InterfaceNamePrefix => DetectLocal::InterfaceNamePrefix(interface(
                self.pod_interface_name_prefix.as_deref(),
                "--pod-interface-name-prefix",
            )?),
        })
    }
}

/// A name that an interface can have (`dev_valid_name` of the kernel's net/core/dev.c), and that
/// nft can show.
fn interface(name: Option<&str>, option: &'static str) -> Result<String, ConfigError> {
    name.filter(|name| is_interface_name(name))
        .map(str::to_owned)
        .ok_or(ConfigError::Interface { option })
}

/// A network; an empty value is none, as it is for kube-proxy.
fn network(value: &str) -> Result<Option<IpNet>, &'static str> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_network(value).map(Some).ok_or("it is not a network in CIDR form")
}

fn one_of_each_family(networks: &[Option<IpNet>]) -> Result<Vec<IpNet>, ConfigError> {
    let networks: Vec<IpNet> = networks.iter().flatten().copied().collect();
    let too_many = Family::ALL
        .into_iter()
        .any(|family| networks.iter().filter(|net| Family::of_net(net) == family).count() > 1);
    if too_many {
        let list: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        return Err(ConfigError::ClusterCidrs(list.join(",")));
    }
    Ok(networks)
}

fn node_port_addresses(values: &[String]) -> Result<NodePortAddresses, ConfigError> {
    if values.iter().any(|value| value == PRIMARY) {
        let alone = values.len() == 1;
        return if alone {
            Ok(NodePortAddresses::Primary)
        } else {
            Err(ConfigError::PrimaryAndOthers)
        };
    }
    let parse = |value: &String| {
        parse_network(value).ok_or_else(|| ConfigError::NodePortAddress { value: value.clone() })
    };
    values.iter().map(parse).collect::<Result<_, _>>().map(NodePortAddresses::Cidrs)
}

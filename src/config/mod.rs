//! kube-proxy's configuration: its file, its flags, and the settings that result from both.
//!
//! ```text
//! file ──▶ decode ──▶ defaults ─┐
//!                               ├─▶ KubeProxyConfiguration ──▶ validate ──▶ Settings
//! flags ──▶ defaults ───────────┘         │
//!                                         └─▶ notes: what does not apply to weir
//! ```
//!
//! The file is `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, as Kubernetes 1.36 has
//! it. Everything here but [`watch`] and the reading of a file is pure.

pub mod changes;
mod decode;
mod defaults;
mod duration;
mod encode;
pub mod flags;
mod limits;
mod logging;
mod net;
mod notes;
mod resolve;
mod settings;
mod types;
mod validate;
pub mod watch;

pub use decode::{DecodeError, DecodedConfiguration, decode};
pub use duration::{GoDuration, ParseDurationError};
pub use encode::{EncodeError, to_configz, to_yaml};
pub use flags::Flags;
pub use limits::LimitArgs;
pub use logging::{
    FlushFrequency, FormatOptions, LoggingConfiguration, OutputOptions, VModuleItem,
};
pub use notes::{closed_node_ports, notes};
pub(crate) use resolve::host_name;
pub use resolve::{ConfigurationError, Resolved, resolve};
pub use settings::{ClientConnection, Conntrack, Limits, Logging, Periods, Settings};
pub use types::*;
pub use validate::{FieldError, validate};

#[cfg(test)]
mod testing;

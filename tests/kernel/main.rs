//! weir on the real kernel, each test in network namespaces of its own.
//!
//! They need root or user namespaces, and fail without.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/image.rs"]
mod image;

mod affinity;
mod aside;
mod churn;
mod commands;
mod conntrack;
mod crash;
mod dead_connection;
mod deaf;
mod drift;
mod drift_goes_on;
mod host_network;
mod kernel_layer;
mod listing;
mod log_reader;
mod monitor;
mod oracle;
mod order;
mod own_commits;
mod own_commits_any;
mod pace;
mod packets;
mod parts;
mod patience;
mod policies;
mod privilege;
mod run;
mod run_api;
mod run_in_cluster;
mod running;
mod scale;
mod seccomp;
mod serve;
mod settings;
mod soak;
mod straddle;
mod takeover;
mod tenants;
mod two_weirs;

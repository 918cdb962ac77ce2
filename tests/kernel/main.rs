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

// What packets meet.
#[path = "packets/affinity.rs"]
mod affinity;
#[path = "packets/conntrack.rs"]
mod conntrack;
#[path = "packets/host_network.rs"]
mod host_network;
#[path = "packets/packets.rs"]
mod packets;
#[path = "packets/policies.rs"]
mod policies;
#[path = "packets/straddle.rs"]
mod straddle;
#[path = "packets/tenants.rs"]
mod tenants;

// What others change, what the kernel refuses, and who keeps the tables.
#[path = "drift/deaf.rs"]
mod deaf;
#[path = "drift/drift.rs"]
mod drift;
#[path = "drift/drift_goes_on.rs"]
mod drift_goes_on;
#[path = "drift/own_commits.rs"]
mod own_commits;
#[path = "drift/own_commits_any.rs"]
mod own_commits_any;
#[path = "drift/patience.rs"]
mod patience;
#[path = "drift/quarantine.rs"]
mod quarantine;
#[path = "drift/two_weirs.rs"]
mod two_weirs;

// Commands that run once, and what nft makes of their rulesets.
#[path = "commands/commands.rs"]
mod commands;
#[path = "commands/oracle.rs"]
mod oracle;
#[path = "commands/settings.rs"]
mod settings;

// weir as a process: start, follow, stop, take over; how much it takes.
#[path = "lifecycle/churn.rs"]
mod churn;
#[path = "lifecycle/crash/mod.rs"]
mod crash;
#[path = "lifecycle/dead_connection.rs"]
mod dead_connection;
#[path = "lifecycle/log_reader.rs"]
mod log_reader;
#[path = "lifecycle/pace.rs"]
mod pace;
#[path = "lifecycle/privilege.rs"]
mod privilege;
#[path = "lifecycle/run.rs"]
mod run;
#[path = "lifecycle/run_api.rs"]
mod run_api;
#[path = "lifecycle/run_in_cluster.rs"]
mod run_in_cluster;
#[path = "lifecycle/running.rs"]
mod running;
#[path = "lifecycle/scale.rs"]
mod scale;
#[path = "lifecycle/seccomp.rs"]
mod seccomp;
#[path = "lifecycle/serve.rs"]
mod serve;
#[path = "lifecycle/soak/mod.rs"]
mod soak;
#[path = "lifecycle/takeover/mod.rs"]
mod takeover;

// src/kernel and src/sync by themselves, on the real kernel.
#[path = "kernel_layer/kernel_layer.rs"]
mod kernel_layer;
#[path = "kernel_layer/listing.rs"]
mod listing;
#[path = "kernel_layer/monitor.rs"]
mod monitor;
#[path = "kernel_layer/order.rs"]
mod order;
#[path = "kernel_layer/parts.rs"]
mod parts;

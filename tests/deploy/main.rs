//! deploy/ and .github/: what the real kustomize, helm, kubectl and linters make of them.
//!
//! The tools are those that tests/tools/deploy-tools provides.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "only the program is needed of it")]
mod common;

mod chart;
mod config;
mod documentation;
mod image;
mod kubeadm;
mod manifests;
mod permissions;
mod privileges;
mod probes;
mod render;
#[path = "../common/image.rs"]
mod root;
mod tools;
mod workflows;
#[path = "../conformance/yaml.rs"]
mod yaml;

//! The agent: everything of weir that touches the world. The decisions are in `weir-rules`.

#![deny(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod config;
pub mod host;
pub mod kernel;
pub mod netlink;
pub mod source;
pub mod sync;
pub mod takeover;

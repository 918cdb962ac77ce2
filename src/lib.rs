//! The agent: everything of weir that touches the world. The decisions are in `weir-rules`.

#![deny(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod config;
pub mod health;
pub mod host;
pub mod kernel;
pub mod lock;
pub(crate) mod logging;
pub mod metrics;
pub mod netlink;
pub mod observe;
pub mod serve;
pub mod source;
pub mod sync;
pub mod takeover;
pub(crate) mod text;
pub mod watch;

//! The shell of weir: everything that does I/O. The decisions are made in `weir-rules`.

#![deny(unsafe_code)]

pub mod agent;
pub(crate) mod backoff;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod host;
pub mod kernel;
pub mod lock;
pub(crate) mod logging;
pub mod netlink;
pub mod registry;
pub mod source;
pub mod sync;
pub mod takeover;
pub mod telemetry;
pub(crate) mod text;
pub mod watch;
pub(crate) mod yaml;

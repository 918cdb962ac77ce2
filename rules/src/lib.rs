//! The pure part of weir: from cluster state to an nftables ruleset, and from two rulesets to the
//! transaction between them.
//!
//! Data flows one way:
//!
//! ```text
//! cluster::Cluster + config::Config ──compile──▶ nft::Ruleset ──align, diff──▶ transaction::Transaction
//! ```
//!
//! Nothing here reads a clock, a socket or a file, and equal input gives equal output: every
//! container that is walked is sorted.

#![forbid(unsafe_code)]

pub mod address;
pub mod align;
pub mod checks;
pub mod claims;
pub mod cluster;
mod compact;
pub mod compile;
pub mod config;
pub mod desired;
pub mod diff;
pub mod endpoints;
pub mod facts;
#[cfg(feature = "testing")]
pub mod large;
pub mod learned;
pub mod limits;
mod namespaced;
pub mod nft;
pub mod numbers;
pub mod pieces;
mod services;
mod slices;
pub mod stale;
#[cfg(feature = "testing")]
pub mod testing;
mod touched;
pub mod transaction;
pub mod walk;

//! The pure part of weir: from cluster state to an nftables ruleset, and from two rulesets to the
//! transaction between them.
//!
//! Data flows one way:
//!
//! ```text
//! cluster::Cluster + config::Config ──compile──▶ nft::Ruleset ──assign_slots, diff──▶ transaction::Transaction
//! ```
//!
//! Nothing here reads a clock, a socket or a file, and equal input gives equal output: every
//! container that is walked is sorted.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod compile;
pub mod config;
pub mod endpoints;
pub mod facts;
pub mod nft;
pub mod reconcile;
pub mod simulate;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transaction;

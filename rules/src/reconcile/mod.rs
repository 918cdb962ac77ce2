//! Keeps what the kernel should hold up to date with a cluster.

pub mod mirror;

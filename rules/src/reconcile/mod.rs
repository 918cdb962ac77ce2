//! Keeps track of what the kernel should hold.

pub mod mirror;

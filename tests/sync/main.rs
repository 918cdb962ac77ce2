//! The engine against a kernel in memory that fails at every point.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]

mod agent;
mod batches;
mod faults;
mod faulty;
mod meddling;
mod memory;
mod monitor;
mod order;
mod own_commits;
mod refusals;

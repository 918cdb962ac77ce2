//! The reconciler against an in-memory kernel that can fail at every point.

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

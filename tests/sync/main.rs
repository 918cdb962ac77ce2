//! The engine against a kernel in memory that fails at every point.

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

//! Clusters for tests and benchmarks.

pub mod random;
pub mod scale;

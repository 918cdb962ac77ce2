//! The API source against a real HTTP server. Time is virtual: what takes hours takes none.

mod faults;
mod follow;
mod metrics;
mod world;

//! The API source against a real HTTP server. Time is virtual: what takes hours takes none.

mod events;
mod faults;
mod follow;
mod metrics;
mod world;

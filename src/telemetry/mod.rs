//! Status, health, metrics, and the HTTP servers for them.

pub mod health;
pub mod metrics;
pub mod serve;
pub mod status;

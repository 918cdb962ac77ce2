//! What weir tells of itself: status, health, metrics, and the HTTP servers that answer for them.

pub mod health;
pub mod metrics;
pub mod serve;
pub mod status;

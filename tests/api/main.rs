//! The API source against a real HTTP server. Time is virtual: what takes hours takes none.

mod credentials;
mod events;
mod faults;
mod follow;
mod outages;
mod role;
mod world;

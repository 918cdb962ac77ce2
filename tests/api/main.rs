//! The API source against a real HTTP server. Time is virtual: what takes hours takes none.
//!
//! What any API server must do for weir is in `any_server`, and holds for kube-apiserver, too
//! (`make test-apiserver`). What only happens on command is tested with the server in the process of
//! the test.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]

mod any_server;
mod control_plane;
mod credentials;
mod events;
mod faults;
mod follow;
mod kube_apiserver;
mod metrics;
mod outages;
mod recovery;
mod role;
mod server;
mod world;

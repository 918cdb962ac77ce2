//! A Kubernetes API server for tests: a real HTTP server on loopback, in the process of the test.
//!
//! It lists (in pages), watches (with bookmarks, selectors and streamed lists), refuses as
//! kube-apiserver does, and fails on command. It holds Services, EndpointSlices, ServiceCIDRs and
//! Nodes, which only the test changes: [`ApiServer::apply`] and [`ApiServer::delete`]. It takes
//! Events from whom it serves. Nothing in it depends on time but the `timeoutSeconds` of a watch, and
//! whether a certificate has expired.
//!
//! It asks nobody who he is, until it is told to: [`ApiServer::use_tls`],
//! [`ApiServer::require_token`], [`ApiServer::require_certificate_of`], [`ApiServer::grant`].

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]
#![forbid(unsafe_code)]

mod admission;
mod answer;
mod connection;
mod cut;
mod fault;
mod handle;
mod object;
mod query;
mod resource;
mod selector;
mod server;
mod store;
mod stream;
mod tls;

pub use fault::{Break, Fault, Verb};
pub use resource::Resource;
pub use server::{ApiServer, Request};
pub use tls::{Authority, Identity};

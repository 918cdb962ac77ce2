//! Taking a node over from kube-proxy: nothing is lost meanwhile, and nothing of others is touched.

mod firewall;
mod kube_proxy;
mod large;
mod leftovers;
mod node;
mod policy;
mod traffic;
mod upgrade;

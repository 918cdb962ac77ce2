//! weir: a Kubernetes Service proxy on nftables.

fn main() {}

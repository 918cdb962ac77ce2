//! Network namespaces, veth links, echo servers and clients for tests and the demo.

//! Parses addresses with ports as Go does.

use std::net::IpAddr;

pub(super) use weir_rules::cluster::address::{parse_address as ip, parse_network as cidr};

/// Host and port of `host:port` or `[host]:port`, as Go's `net.SplitHostPort` cuts them.
pub(super) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => {
            let (host, port) = text.rsplit_once(':')?;
            (!host.contains(':')).then_some((host, port))?
        }
    };
    let is_bad = |part: &str| part.contains(['[', ']']);
    (!is_bad(host) && !is_bad(port) && !port.contains(':')).then_some((host, port))
}

/// An address with this port, unless it has one. What is no address is left as it is: validation
/// says so. (`AppendPortIfNeeded` of pkg/proxy/util/utils.go.)
pub(super) fn with_port(address: &str, port: i32) -> String {
    if split_host_port(address).is_some() {
        return address.to_owned();
    }
    match ip(address) {
        Some(IpAddr::V4(_)) if !address.contains(':') => format!("{address}:{port}"),
        Some(_) => format!("[{address}]:{port}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_a_port_where_there_is_none() {
        let cases = [
            ("1.2.3.4", "1.2.3.4:10256"),
            ("1.2.3.4:80", "1.2.3.4:80"),
            ("::1", "[::1]:10256"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]"),
            ("nonsense", "nonsense"),
        ];
        for (address, with) in cases {
            assert_eq!(with_port(address, 10256), with);
        }
    }
}

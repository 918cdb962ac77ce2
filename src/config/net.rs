//! Addresses as Go reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address; leading zeros of an IPv4 address are allowed and decimal, as in
/// `netutils.ParseIPSloppy`. An IPv4 address in IPv6's clothes is IPv4, as in Go.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        let parts: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
        return <[u8; 4]>::try_from(parts).ok().map(|octets| Ipv4Addr::from(octets).into());
    }
    Some(IpAddr::from(text.parse::<Ipv6Addr>().ok()?).to_canonical())
}

fn octet(text: &str) -> Option<u8> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// A network, its host bits cleared.
pub(super) fn cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    IpNet::new(ip(address)?, length.parse().ok()?).ok().map(|net| net.trunc())
}

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
    fn reads_addresses_as_go_does() {
        assert_eq!(ip("010.0.0.1"), Some([10, 0, 0, 1].into()));
        assert_eq!(ip("::ffff:10.0.0.1"), Some([10, 0, 0, 1].into()));
        assert_eq!(ip("::1"), Some(Ipv6Addr::LOCALHOST.into()));
        for text in ["", "10.0.0", "10.0.0.256", "10.0.0.+1", "[::1]", "host", "::1%lo"] {
            assert_eq!(ip(text), None, "{text}");
        }
        assert_eq!(cidr("10.1.2.3/8").map(|net| net.to_string()), Some("10.0.0.0/8".into()));
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "fd00::/129", "10.0.0.0/"] {
            assert_eq!(cidr(text), None, "{text}");
        }
    }

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

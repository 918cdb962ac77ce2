//! Addresses and networks as Kubernetes reads them.
//!
//! Kubernetes stores what Go read before version 1.17, and reads it so to this day (`ParseIPSloppy` and
//! `ParseCIDRSloppy` of k8s.io/utils/net): leading zeros are decimal, never octal, and an IPv4 address
//! that is mapped into IPv6 is that IPv4 address. There is one way to write each back: that of Rust's
//! `Display`, which is also Go's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The largest number that is read on: more digits are no octet, no group and no prefix length.
const TOO_LARGE: u32 = 0xff_ffff;

/// An address.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    // Whichever comes first decides.
    match text.bytes().find(|byte| matches!(byte, b'.' | b':'))? {
        b'.' => ipv4(text.as_bytes()).map(IpAddr::V4),
        _ => ipv6(text.as_bytes()).map(|address| IpAddr::V6(address).to_canonical()),
    }
}

/// A network, its host bits cleared. One within `::ffff:0:0/96` is an IPv4 network.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let (length, rest) = number(length.as_bytes(), 10)?;
    if !rest.is_empty() {
        return None;
    }
    let length = u8::try_from(length).ok()?;
    if let Some(address) = ipv4(address.as_bytes()) {
        return IpNet::new(address.into(), length).ok().map(|network| network.trunc());
    }
    let address = ipv6(address.as_bytes())?;
    let network = match address.to_ipv4_mapped() {
        Some(mapped) if (96..=128).contains(&length) => IpNet::new(mapped.into(), length - 96),
        _ => IpNet::new(address.into(), length),
    };
    network.ok().map(|network| network.trunc())
}

fn ipv4(mut text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            text = text.strip_prefix(b".")?;
        }
        let (value, rest) = number(text, 10)?;
        *octet = u8::try_from(value).ok()?;
        text = rest;
    }
    text.is_empty().then(|| octets.into())
}

fn ipv6(mut text: &[u8]) -> Option<Ipv6Addr> {
    let mut bytes = Vec::with_capacity(16);
    let mut gap = None;
    if let Some(rest) = text.strip_prefix(b"::") {
        (gap, text) = (Some(0), rest);
    }
    while bytes.len() < 16 && !text.is_empty() {
        let (group, rest) = number(text, 16)?;
        if rest.first() == Some(&b'.') {
            // The last four bytes may be an IPv4 address.
            if (gap.is_none() && bytes.len() != 12) || bytes.len() > 12 {
                return None;
            }
            bytes.extend(ipv4(text)?.octets());
            text = &[];
            break;
        }
        bytes.extend(u16::try_from(group).ok()?.to_be_bytes());
        text = rest;
        if text.is_empty() {
            break;
        }
        text = text.strip_prefix(b":").filter(|rest| !rest.is_empty())?;
        if let Some(rest) = text.strip_prefix(b":") {
            if gap.replace(bytes.len()).is_some() {
                return None;
            }
            text = rest;
        }
    }
    if !text.is_empty() {
        return None;
    }
    match gap {
        // It stands for one group at least.
        Some(gap) if bytes.len() < 16 => {
            let zeros = 16 - bytes.len();
            bytes.splice(gap..gap, std::iter::repeat_n(0, zeros));
        }
        Some(_) => return None,
        None => {}
    }
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}

/// The number that a text begins with, and the rest of the text.
fn number(text: &[u8], radix: u32) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| char::from(**byte).is_digit(radix)).count();
    if digits == 0 {
        return None;
    }
    let mut value = 0;
    for byte in &text[..digits] {
        value = value * radix + char::from(*byte).to_digit(radix)?;
        if value >= TOO_LARGE {
            return None;
        }
    }
    Some((value, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them_and_written_in_one_way() {
        let cases = [
            ("192.0.2.1", "192.0.2.1"),
            ("203.0.113.011", "203.0.113.11"),
            ("010.000.0000000008.1", "10.0.8.1"),
            ("::ffff:203.0.113.13", "203.0.113.13"),
            ("::ffff:cb00:710d", "203.0.113.13"),
            ("0:0:0:0:0:FFFF:203.0.113.013", "203.0.113.13"),
            ("2001:DB8::1", "2001:db8::1"),
            ("2001:0db8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:00000db8::1", "2001:db8::1"),
            ("2001:db8:1:2:3:4:192.0.2.1", "2001:db8:1:2:3:4:c000:201"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
            ("1::", "1::"),
            ("::", "::"),
        ];
        for (text, written) in cases {
            let read = parse_address(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), Some(written), "{text}");
        }
        for text in [
            "",
            " 10.0.0.1",
            "10.0.0.1 ",
            "10.0.0",
            "10.0.0.1.2",
            "10.0.0.256",
            "10.0.0.+1",
            "10..0.1",
            "0x0a.0.0.1",
            "1",
            "host",
            "[::1]",
            "::1%lo",
            ":1::2",
            "1:2:3",
            "1::2::3",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::8:9",
            "12345::",
            "::g",
            "1:2:3:4:5:6:7:192.0.2.1",
            "1:2:3:192.0.2.1",
            "::1:",
            "1.2.3.4:80",
            "::ffff:1.2.3.256",
            "99999999999999999999.0.0.1",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[test]
    fn networks_are_read_as_kubernetes_reads_them_and_written_in_one_way() {
        let cases = [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("010.001.0.0/016", "10.1.0.0/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::1/64", "fd00::/64"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/90", "::ffc0:0:0/90"),
            ("::/0", "::/0"),
        ];
        for (text, written) in cases {
            let read = parse_network(text).map(|network| network.to_string());
            assert_eq!(read.as_deref(), Some(written), "{text}");
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "fd00::/129",
            "10.0.0.0/",
            "/8",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "::ffff:10.0.0.0/129",
            "10.0.0.0/ 8",
            "10.0.0.0/256",
            "10.0.0.0/264",
        ] {
            assert_eq!(parse_network(text), None, "{text}");
        }
    }
}

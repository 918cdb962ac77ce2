//! The IPv6 twin of an IPv4 case: every address and network in it is replaced by its twin, whose
//! last digits read the same.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

/// The twin of all strings in a value.
pub(crate) fn value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(self::text(text)),
        Value::Array(items) => items.iter().map(self::value).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), self::value(value))).collect()
        }
        other => other.clone(),
    }
}

/// The twin of a text: of an address or network, with the space around it, or of `IPv4`. Any
/// other text is its own.
pub(crate) fn text(text: &str) -> String {
    let word = text.trim();
    let twin = if word == "IPv4" {
        "IPv6".to_owned()
    } else if let Ok(address) = word.parse() {
        self::address(address)
    } else if let Ok(net) = word.parse() {
        network(net)
    } else {
        return text.to_owned();
    };
    text.replace(word, &twin)
}

/// The twin of options: of each word between spaces and commas.
pub(crate) fn options(options: &str) -> String {
    let word = |word: &str| word.split(',').map(text).collect::<Vec<_>>().join(",");
    options.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn address(address: Ipv4Addr) -> String {
    match address.octets() {
        [10, 96, 0, d] => format!("fd00:10:96::{d}"),
        [10, 244, 0, d] => format!("fd00:10:244::{d}"),
        [10, 244, c, d] => format!("fd00:10:244:{c}::{d}"),
        [192, 0, 2, d] => format!("2001:db8::{d}"),
        [198, 51, 100, d] => format!("2001:db8:51::{d}"),
        [203, 0, 113, d] => format!("2001:db8:113::{d}"),
        [127, 0, 0, 1] => "::1".to_owned(),
        _ => panic!("{address} has no twin: see twin.rs"),
    }
}

fn network(net: Ipv4Net) -> String {
    match net.to_string().as_str() {
        "0.0.0.0/0" => "::/0".to_owned(),
        "10.96.0.0/16" => "fd00:10:96::/112".to_owned(),
        "10.244.0.0/16" => "fd00:10:244::/56".to_owned(),
        "10.244.0.0/24" => "fd00:10:244::/64".to_owned(),
        "10.244.1.0/24" => "fd00:10:244:1::/64".to_owned(),
        "127.0.0.0/8" => "::1/128".to_owned(),
        other => {
            assert!(net.prefix_len() >= 24, "{other} has no twin: see twin.rs");
            let first = match net.addr().octets() {
                [192, 0, 2, 0] => "2001:db8::".to_owned(),
                [198, 51, 100, 0] => "2001:db8:51::".to_owned(),
                [203, 0, 113, 0] => "2001:db8:113::".to_owned(),
                _ => address(net.addr()),
            };
            format!("{first}/{}", net.prefix_len() + 96)
        }
    }
}

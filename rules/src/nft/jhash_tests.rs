use std::net::Ipv6Addr;

use super::*;

/// What a rule `update @m { jhash ip saddr mod 262144 seed 0x77656972 ... }` of nft has put there
/// (kernel 6.18).
#[test]
fn it_is_the_kernels() {
    let [v4, v6]: [fn(&str) -> Vec<u8>; 2] = [
        |text| text.parse::<std::net::Ipv4Addr>().unwrap().octets().into(),
        |text| text.parse::<Ipv6Addr>().unwrap().octets().into(),
    ];
    for (address, hash) in [
        (v4("127.0.0.1"), 102_696),
        (v4("127.1.2.3"), 239_672),
        (v6("::1"), 99_502),
        (v6("fd00:10:244::9"), 144_094),
    ] {
        assert_eq!(jhash(&address, 262_144, 0x7765_6972), hash, "{address:?}");
    }
}

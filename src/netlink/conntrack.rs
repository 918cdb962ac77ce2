//! Lists and deletes conntrack entries.
//!
//! The kernel reads a deletion without a tuple as one of the whole table. Here a deletion takes a
//! [`ConntrackEntry`], which only a dump creates and which always has a tuple.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{DefaultNla, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Number, Status, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use weir_rules::cluster::{Family, Protocol};
use weir_rules::facts::stale_flows::Flow;

use super::{ATTEMPTS, Connection, DumpProgress, NetlinkError};

/// `CTA_ID` of linux/netfilter/nfnetlink_conntrack.h.
const CTA_ID: u16 = 12;
/// `CTA_ZONE` of it: the zone of both directions, where it is not 0.
const CTA_ZONE: u16 = 18;
/// `CTA_TUPLE_ZONE` of it: the zone of one direction, in that direction's tuple.
const CTA_TUPLE_ZONE: u16 = 3;
/// `NFNETLINK_V0` of linux/netfilter/nfnetlink.h.
const NFNETLINK_V0: u8 = 0;
/// `ENOENT` of errno.h.
const ENOENT: i32 = 2;

/// The table of one network namespace.
pub struct ConntrackTable {
    connection: Connection,
    /// How far it is read, if that has begun.
    reading: DumpProgress,
    attempts: u32,
}

/// An entry of the table, as a dump had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConntrackEntry {
    flow: Flow,
    id: [u8; 4],
    zone: Zone,
}

/// In which direction an entry is in which conntrack zone, in network order. Two entries may be the same
/// but for that, and what is asked for without a zone is looked for in zone 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// In zone 0, as long as nobody asks for another (`ct zone set`).
    Default,
    /// In this one, in both directions.
    Both([u8; 2]),
    /// In this one in the original direction (`ct original zone set`), else in 0.
    Original([u8; 2]),
    /// In this one on the way back (`ct reply zone set`), else in 0.
    Reply([u8; 2]),
}

impl AsRef<Flow> for ConntrackEntry {
    /// The flow that it is about.
    fn as_ref(&self) -> &Flow {
        &self.flow
    }
}

impl ConntrackTable {
    /// Opens a socket, in the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let connection = Connection::open(NETLINK_NETFILTER)?;
        Ok(Self { connection, reading: DumpProgress::default(), attempts: 0 })
    }

    /// Has the kernel load connection tracking, if it is not there yet: whoever asks for this part of
    /// netfilter's netlink makes it do so (`nfnetlink_rcv_msg` of net/netfilter/nfnetlink.c).
    pub fn load(&mut self) -> Result<(), NetlinkError> {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let flow = Flow {
            is_translated: false,
            is_in_default_zone: true,
            protocol: Protocol::Udp,
            source: nowhere,
            destination: nowhere,
            reply_source: nowhere,
        };
        let entry = vec![ConntrackAttribute::CtaTupleOrig(tuple(&flow, Zone::Default))];
        let request = message(NetfilterProtoFamily::IPv4, ConntrackMessage::Get(entry));
        match self.connection.request(request) {
            Err(NetlinkError::Refused(error)) if error.raw_os_error() == Some(ENOENT) => Ok(()),
            result => result,
        }
    }

    /// Reads the table and returns the entries that `is_wanted`, of all zones. Those of protocols
    /// without ports are not looked at.
    pub fn select(
        &mut self,
        is_wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Vec<ConntrackEntry>, NetlinkError> {
        let request = message(NetfilterProtoFamily::Unspec, ConntrackMessage::Get(Vec::new()));
        self.connection
            .dump(&request, |message| entry_of(message).filter(|entry| is_wanted(&entry.flow)))
    }

    /// Begins to read the table, which [`Self::read_on`] does. Until its end, nothing else can be asked for.
    pub fn begin(&mut self) -> Result<(), NetlinkError> {
        self.attempts = 0;
        self.begin_attempt()
    }

    fn begin_attempt(&mut self) -> Result<(), NetlinkError> {
        self.reading = DumpProgress::default();
        self.attempts += 1;
        let request = message(NetfilterProtoFamily::Unspec, ConntrackMessage::Get(Vec::new()));
        self.connection.send(request, NLM_F_DUMP)
    }

    /// Reads the next entries, at least so many if there are, and returns those that are wanted; `None`
    /// at the end. Starts again if the kernel reports that some may be missing, so that an entry may
    /// come twice.
    pub fn read_on(
        &mut self,
        least: usize,
        is_wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Option<Vec<ConntrackEntry>>, NetlinkError> {
        if self.reading.is_finished && !self.reading.is_interrupted {
            return Ok(None);
        }
        if self.reading.is_finished {
            if self.attempts == ATTEMPTS {
                return Err(NetlinkError::Unsteady);
            }
            self.begin_attempt()?;
        }
        let (mut count, mut found) = (0, Vec::new());
        while !self.reading.is_finished && count < least {
            let mut take = |message: NetfilterMessage| {
                count += 1;
                found.extend(entry_of(message).filter(|entry| is_wanted(&entry.flow)));
            };
            self.connection.receive(&mut self.reading, &mut take)?;
        }
        Ok(Some(found))
    }

    /// Deletes an entry; false if it is gone already. One that has come in its place since the
    /// dump stays: it has another id.
    pub fn delete(&mut self, entry: &ConntrackEntry) -> Result<bool, NetlinkError> {
        let family = match Family::of(entry.flow.destination.ip()) {
            Family::Ipv4 => NetfilterProtoFamily::IPv4,
            Family::Ipv6 => NetfilterProtoFamily::IPv6,
        };
        let mut attributes = vec![
            ConntrackAttribute::CtaTupleOrig(tuple(&entry.flow, entry.zone)),
            ConntrackAttribute::Other(DefaultNla::new(CTA_ID, entry.id.to_vec())),
        ];
        if let Zone::Both(zone) = entry.zone {
            attributes.push(ConntrackAttribute::Other(DefaultNla::new(CTA_ZONE, zone.to_vec())));
        }
        let request = message(family, ConntrackMessage::Delete(attributes));
        match self.connection.request(request) {
            Ok(()) => Ok(true),
            Err(NetlinkError::Refused(error)) if error.raw_os_error() == Some(ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn message(family: NetfilterProtoFamily, message: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, NFNETLINK_V0, 0), message)
}

/// The original direction of a flow. The kernel finds an entry by it whatever its zone on the way back.
fn tuple(flow: &Flow, zone: Zone) -> Vec<Tuple> {
    let mut tuple = vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(flow.source.ip()),
            IPTuple::DestinationAddress(flow.destination.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Number::from(flow.protocol.number())),
            ProtoTuple::SourcePort(flow.source.port()),
            ProtoTuple::DestinationPort(flow.destination.port()),
        ]),
    ];
    if let Zone::Original(zone) = zone {
        tuple.push(Tuple::Other(DefaultNla::new(CTA_TUPLE_ZONE, zone.to_vec())));
    }
    tuple
}

/// The entry that a message of a dump is about.
fn entry_of(message: NetfilterMessage) -> Option<ConntrackEntry> {
    match message.inner {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => entry(&attributes),
        _ => None,
    }
}

/// Decodes an entry of a dump; `None` if it never concerns weir.
fn entry(attributes: &[ConntrackAttribute]) -> Option<ConntrackEntry> {
    let (mut original, mut reply, mut status, mut id) = (None, None, None, None);
    let mut zone = Zone::Default;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuples) => {
                original = ends(tuples);
                zone = zone_of(tuples).map_or(zone, Zone::Original);
            }
            ConntrackAttribute::CtaTupleReply(tuples) => {
                reply = ends(tuples);
                zone = zone_of(tuples).map_or(zone, Zone::Reply);
            }
            ConntrackAttribute::CtaStatus(bits) => status = Some(*bits),
            ConntrackAttribute::Other(other) if other.kind() == CTA_ID => id = value(other),
            ConntrackAttribute::Other(other) if other.kind() == CTA_ZONE => {
                zone = Zone::Both(value(other)?);
            }
            _ => {}
        }
    }
    let (protocol, source, destination) = original?;
    let (_, reply_source, _) = reply?;
    let is_translated = status?.contains(Status::DstNat);
    let is_in_default_zone = zone == Zone::Default;
    let flow =
        Flow { protocol, source, destination, reply_source, is_translated, is_in_default_zone };
    Some(ConntrackEntry { flow, id: id?, zone })
}

/// The zone of this direction alone, if it is not 0.
fn zone_of(tuples: &[Tuple]) -> Option<[u8; 2]> {
    tuples.iter().find_map(|tuple| match tuple {
        Tuple::Other(other) if other.kind() == CTA_TUPLE_ZONE => value(other),
        _ => None,
    })
}

/// The value of an attribute that has so many bytes.
fn value<const LEN: usize>(attribute: &DefaultNla) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    (attribute.value_len() == LEN).then(|| {
        attribute.emit_value(&mut bytes);
        bytes
    })
}

/// Protocol, source and destination of one direction.
fn ends(tuples: &[Tuple]) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let (mut from, mut to): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    let (mut protocol, mut source_port, mut port) = (None, None, None);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => from = Some(*address),
                        IPTuple::DestinationAddress(address) => to = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => {
                            protocol = Protocol::from_number(u8::from(*number));
                        }
                        ProtoTuple::SourcePort(number) => source_port = Some(*number),
                        ProtoTuple::DestinationPort(number) => port = Some(*number),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((protocol?, SocketAddr::new(from?, source_port?), SocketAddr::new(to?, port?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow {
            protocol: Protocol::Udp,
            source: "10.244.0.9:4000".parse().unwrap(),
            destination: "10.96.0.10:53".parse().unwrap(),
            reply_source: "10.244.0.2:5353".parse().unwrap(),
            is_translated: true,
            is_in_default_zone: true,
        }
    }

    fn attributes() -> Vec<ConntrackAttribute> {
        let reply = Flow { source: flow().reply_source, destination: flow().source, ..flow() };
        vec![
            ConntrackAttribute::CtaTupleOrig(tuple(&flow(), Zone::Default)),
            ConntrackAttribute::CtaTupleReply(tuple(&reply, Zone::Default)),
            ConntrackAttribute::CtaStatus(Status::Confirmed | Status::DstNat),
            ConntrackAttribute::Other(DefaultNla::new(CTA_ID, vec![1, 2, 3, 4])),
        ]
    }

    #[test]
    fn an_entry_is_made_of_all_its_parts_or_not_at_all() {
        let whole = attributes();
        assert_eq!(
            entry(&whole),
            Some(ConntrackEntry { flow: flow(), id: [1, 2, 3, 4], zone: Zone::Default })
        );
        for index in 0..whole.len() {
            let mut part = whole.clone();
            part.remove(index);
            assert_eq!(entry(&part), None, "without {:?}", whole[index]);
        }
        for kind in [CtaPart::Ip, CtaPart::Proto] {
            let mut part = whole.clone();
            let ConntrackAttribute::CtaTupleOrig(tuples) = &mut part[0] else { panic!() };
            tuples.remove(kind as usize);
            assert_eq!(entry(&part), None);
        }
    }

    enum CtaPart {
        Ip = 0,
        Proto = 1,
    }

    /// Wherever the kernel puts it.
    #[test]
    fn an_entry_is_in_the_zone_that_a_dump_says() {
        let seven = [0, 7];
        let of_direction = || Tuple::Other(DefaultNla::new(CTA_TUPLE_ZONE, seven.to_vec()));
        type Add = fn(&mut Vec<ConntrackAttribute>, Tuple);
        let cases: [(Zone, Add); 3] = [
            (Zone::Both(seven), |attributes, _| {
                attributes.push(ConntrackAttribute::Other(DefaultNla::new(CTA_ZONE, vec![0, 7])));
            }),
            (Zone::Original(seven), |attributes, zone| {
                let ConntrackAttribute::CtaTupleOrig(tuples) = &mut attributes[0] else { panic!() };
                tuples.push(zone);
            }),
            (Zone::Reply(seven), |attributes, zone| {
                let ConntrackAttribute::CtaTupleReply(tuples) = &mut attributes[1] else {
                    panic!()
                };
                tuples.push(zone);
            }),
        ];
        for (zone, add) in cases {
            let mut zoned = attributes();
            add(&mut zoned, of_direction());
            let flow = Flow { is_in_default_zone: false, ..flow() };
            assert_eq!(entry(&zoned), Some(ConntrackEntry { flow, id: [1, 2, 3, 4], zone }));
        }
    }
}

use netlink_packet_core::{DoneMessage, Emitable, ErrorMessage};
use netlink_packet_route::RouteNetlinkMessage;

use super::*;

const SEQUENCE: u32 = 7;
type Message = NetlinkMessage<RouteNetlinkMessage>;

/// A message of a dump.
fn message(payload: NetlinkPayload<RouteNetlinkMessage>, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = Message::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn entry(flags: u16, sequence: u32) -> Vec<u8> {
    let address = RouteNetlinkMessage::NewAddress(Default::default());
    message(NetlinkPayload::InnerMessage(address), flags, sequence)
}

fn done(code: i32) -> Vec<u8> {
    let mut done = DoneMessage::default();
    done.code = code;
    assert_eq!(done.buffer_len(), 4);
    message(NetlinkPayload::Done(done), 0, SEQUENCE)
}

fn error(code: i32) -> Vec<u8> {
    let mut error = ErrorMessage::default();
    error.code = std::num::NonZeroI32::new(code);
    error.header = vec![0; 16];
    message(NetlinkPayload::Error(error), 0, SEQUENCE)
}

/// What is read of a datagram of these messages: entries, end, interruption, or the error.
fn read(messages: &[Vec<u8>]) -> Result<(usize, bool, bool), Option<i32>> {
    let (mut count, mut answer) = (0, DumpProgress::default());
    let mut take = |_: RouteNetlinkMessage| count += 1;
    match answer.read(&messages.concat(), SEQUENCE, &mut take) {
        Ok(()) => Ok((count, answer.is_finished, answer.is_interrupted)),
        Err(NetlinkError::Refused(source)) => Err(source.raw_os_error()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_answer_is_read_to_its_end_and_an_interruption_is_seen_wherever_it_shows() {
    let (plain, interrupted) = (entry(0, SEQUENCE), entry(NLM_F_DUMP_INTR, SEQUENCE));
    let other = entry(NLM_F_DUMP_INTR, SEQUENCE - 1);
    let cases = [
        (vec![plain.clone(), plain.clone()], Ok((2, false, false))),
        (vec![plain.clone(), done(0)], Ok((1, true, false))),
        (vec![other, plain.clone(), done(0)], Ok((1, true, false))),
        (vec![interrupted, plain.clone(), done(0)], Ok((2, true, true))),
        (vec![plain.clone(), done(-EINTR)], Ok((1, true, true))),
        (vec![plain, done(-12)], Err(Some(12))),
        (vec![error(0)], Ok((0, true, false))),
        (vec![error(-2)], Err(Some(2))),
        (vec![error(i32::MIN)], Err(Some(i32::MAX))),
    ];
    for (messages, expected) in cases {
        assert_eq!(read(&messages), expected, "{messages:?}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let mut short = done(0);
    short.truncate(10);
    let mut long = done(0);
    long[0] += 40;
    let mut none = done(0);
    none[0] = 0;
    for datagram in [short, long, none] {
        let read =
            DumpProgress::default().read(&datagram, SEQUENCE, &mut |_: RouteNetlinkMessage| {});
        assert!(matches!(read, Err(NetlinkError::Undecodable(_))), "{datagram:?}");
    }
}

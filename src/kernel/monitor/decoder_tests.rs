use super::*;

/// weir's own port id, and two of others.
const OWN: u32 = 1;
const NFT: u32 = 2;
const OTHER: u32 = 3;
const NEWRULE: u16 = libc::NFT_MSG_NEWRULE as u16;
/// `NFT_MSG_NEWFLOWTABLE`, `NFT_MSG_DESTROYRULE`.
const NEWFLOWTABLE: u16 = 22;
const DESTROYRULE: u16 = 28;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message of these attributes, one after the other.
fn message(kind: u16, family: i32, port: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = ((HEADERS + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend((libc::NFNL_SUBSYS_NFTABLES as u16 * 256 + kind).to_ne_bytes());
    bytes.extend(0_u16.to_ne_bytes());
    bytes.extend(7_u32.to_ne_bytes());
    bytes.extend(port.to_ne_bytes());
    bytes.extend([family as u8, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

/// A message about something in a table.
fn about(kind: u16, port: u32, table: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let name = attribute(OBJECT_TABLE, format!("{table}\0").as_bytes());
    message(kind, libc::AF_INET, port, &[&[name], more].concat())
}

/// A message about elements of the set `s`, each given by its attributes.
fn elements(kind: u16, elements: &[Vec<u8>]) -> Vec<u8> {
    let list: Vec<_> = elements.iter().map(|it| attribute(LIST_ELEM, it)).collect();
    let set = attribute(SET_ELEM_LIST_SET, b"s\0");
    about(kind, NFT, TABLE, &[set, attribute(SET_ELEM_LIST_ELEMENTS, &list.concat())])
}

fn key(bytes: &[u8]) -> Vec<u8> {
    attribute(SET_ELEM_KEY, &attribute(DATA_VALUE, bytes))
}

fn end(port: u32, generation: u32) -> Vec<u8> {
    let attributes = [
        attribute(GEN_ID, &generation.to_be_bytes()),
        attribute(GEN_PROC_PID, &(port * 100).to_be_bytes()),
        attribute(GEN_PROC_NAME, b"nft\0"),
    ];
    message(NEWGEN, libc::AF_UNSPEC, port, &attributes)
}

/// The foreign changes in one datagram of these messages.
fn decode_all(messages: &[Vec<u8>]) -> ForeignChanges {
    let mut hearing = NotificationDecoder { own: vec![OWN], ..NotificationDecoder::default() };
    hearing.datagram(&messages.concat());
    hearing.take()
}

fn by(port: u32) -> Option<Process> {
    Some(Process { pid: port * 100, name: "nft".to_owned() })
}

/// What is suspected after one commit of this message.
fn suspected(message: Vec<u8>) -> TableSuspects {
    let foreign = decode_all(&[message, end(NFT, 1)]);
    assert!(!foreign.is_lossy, "{foreign:?}");
    let [ForeignCommit { changed, .. }] = &foreign.commits[..] else { panic!("{foreign:?}") };
    changed.tables[&Family::Ipv4].clone()
}

#[test]
fn every_kind_of_message_is_understood() {
    let structure = TableSuspects { structure: true, ..TableSuspects::default() };
    // The last is one of which there is nothing yet.
    for kind in [NEWRULE, NEWFLOWTABLE, DESTROYRULE, 250] {
        assert_eq!(suspected(about(kind, NFT, TABLE, &[])), structure, "{kind}");
    }
    let everything = TableSuspects { everything: true, ..TableSuspects::default() };
    for kind in [NEWTABLE, DELTABLE, DESTROYTABLE] {
        assert_eq!(suspected(about(kind, NFT, TABLE, &[])), everything, "{kind}");
    }
    for kind in [NEWSETELEM, DELSETELEM, DESTROYSETELEM] {
        let keys = suspected(elements(kind, &[key(&[1, 2, 3, 4]), key(&[5, 6])])).elements;
        let expected = [vec![1, 2, 3, 4], vec![5, 6]].map(|key| RawKey::from_bytes(&key));
        assert_eq!(keys["s"], expected.into_iter().flatten().collect(), "{kind}");
        // The element that stands for all other keys has none; and weir has no keys so long.
        assert_eq!(suspected(elements(kind, &[attribute(3, &[0, 0, 0, 2])])), everything);
        assert_eq!(suspected(elements(kind, &[key(&[0; 60])])), everything);
    }
}

#[test]
fn only_what_others_do_to_weirs_tables_is_told() {
    let cases = [
        about(NEWRULE, OWN, TABLE, &[]),
        about(NEWRULE, NFT, "other", &[]),
        about(NEWRULE, NFT, "weird", &[]),
        message(NEWRULE, libc::NFPROTO_INET, NFT, &[attribute(OBJECT_TABLE, b"weir\0")]),
    ];
    for (case, message) in cases.into_iter().enumerate() {
        let foreign = ForeignChanges { generation: Some(9), ..ForeignChanges::default() };
        let port = Header::read(&message).expect("it has a header").port;
        assert_eq!(decode_all(&[message, end(port, 9)]), foreign, "{case}");
    }
}

#[test]
fn a_commit_is_told_when_its_end_has_come() {
    let mut hearing = NotificationDecoder { own: vec![OWN], ..NotificationDecoder::default() };
    hearing.datagram(&about(NEWRULE, NFT, TABLE, &[]));
    assert_eq!(hearing.take(), ForeignChanges::default());
    hearing.datagram(&about(DELTABLE, NFT, TABLE, &[]));
    hearing.datagram(&end(NFT, 5));
    let foreign = hearing.take();
    let table = TableSuspects { everything: true, structure: true, ..TableSuspects::default() };
    let changed = Suspects { tables: [(Family::Ipv4, table)].into() };
    let commits = vec![ForeignCommit { by: by(NFT), changed }];
    assert_eq!(foreign, ForeignChanges { generation: Some(5), commits, is_lossy: false });
}

#[test]
fn a_commit_without_its_end_is_a_loss() {
    let rule = |port| about(NEWRULE, port, TABLE, &[]);
    // The end of another comes, weir's own or not, or its beginning.
    for port in [OWN, OTHER] {
        let foreign = decode_all(&[rule(NFT), end(port, 6)]);
        assert_eq!(
            foreign,
            ForeignChanges { generation: Some(6), commits: vec![], is_lossy: true }
        );
    }
    let foreign = decode_all(&[rule(NFT), rule(OTHER), end(OTHER, 7)]);
    assert!(foreign.is_lossy);
    assert_eq!(foreign.commits.iter().map(|it| it.by.clone()).collect::<Vec<_>>(), [by(OTHER)]);
}

/// The rest of it was in what was read because of the loss.
#[test]
fn a_commit_in_which_something_was_lost_is_not_waited_for() {
    let mut hearing = NotificationDecoder { own: vec![OWN], ..NotificationDecoder::default() };
    hearing.datagram(&about(NEWRULE, NFT, TABLE, &[]));
    hearing.lose();
    assert!(hearing.take().is_lossy);
    hearing.datagram(&end(OTHER, 7));
    assert_eq!(hearing.take(), ForeignChanges { generation: Some(7), ..ForeignChanges::default() });
}

#[test]
fn who_made_it_is_told_if_the_kernel_tells() {
    let end = message(NEWGEN, libc::AF_UNSPEC, NFT, &[attribute(GEN_ID, &[0, 0, 0, 5])]);
    let foreign = decode_all(&[about(NEWRULE, NFT, TABLE, &[]), end]);
    assert_eq!(foreign.commits[0].by, None);
}

#[test]
fn what_makes_no_sense_is_a_loss() {
    let cut = |mut message: Vec<u8>, length: u32| {
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message
    };
    let whole = about(NEWRULE, NFT, "other", &[]);
    let cases = [
        ("half a header", vec![0; 10]),
        ("no length", cut(whole.clone(), 0)),
        ("a length of less than the headers", cut(whole.clone(), 16)),
        ("a length beyond the end", cut(whole.clone(), whole.len() as u32 + 1)),
        ("no table", message(NEWRULE, libc::AF_INET, NFT, &[])),
        ("a name beyond the end", cut(whole.clone(), whole.len() as u32 - 4)),
        ("no set", about(NEWSETELEM, NFT, TABLE, &[])),
        ("no generation", message(NEWGEN, libc::AF_UNSPEC, NFT, &[])),
        ("a generation of two bytes", {
            message(NEWGEN, libc::AF_UNSPEC, NFT, &[attribute(GEN_ID, &[0, 1])])
        }),
        ("another subsystem", {
            let mut message = whole.clone();
            message[5] = 1;
            message
        }),
    ];
    assert!(!decode_all(&[whole]).is_lossy);
    for (case, datagram) in cases {
        assert!(decode_all(&[datagram]).is_lossy, "{case}");
    }
}

/// Messages behind one that makes no sense are understood all the same.
#[test]
fn a_loss_keeps_nothing_else_from_being_told() {
    let nonsense = message(NEWRULE, libc::AF_INET, NFT, &[]);
    let foreign = decode_all(&[nonsense, about(NEWRULE, NFT, TABLE, &[]), end(NFT, 5)]);
    assert_eq!((foreign.is_lossy, foreign.commits.len(), foreign.generation), (true, 1, Some(5)));
}

use std::collections::BTreeSet;

use super::*;
use crate::nft::{
    BaseChain, Chain, ChainKind, Data, Element, Hook, MarkOp, RawKey, RawValue, Selector, Set,
    SetData, SetSpec, Statement, Table, Verdict,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// A packet that comes in.
fn packet(to: &str) -> Packet {
    Packet {
        source: ip("198.51.100.7"),
        destination: ip(to),
        protocol: Protocol::Tcp,
        port: port(80),
        input_interface: Some("uplink".into()),
        mark: 0,
    }
}

fn from_node(to: &str) -> Packet {
    Packet { source: ip(NODE), input_interface: None, ..packet(to) }
}

const NODE: &str = "192.0.2.1";
const ELSEWHERE: &str = "203.0.113.1";

fn base(kind: ChainKind, hook: Hook, priority: i32) -> Option<BaseChain> {
    Some(BaseChain { kind, hook, priority, drop: false })
}

const FORWARD: (ChainKind, Hook, i32) = (ChainKind::Filter, Hook::Forward, 0);
const DNAT: (ChainKind, Hook, i32) = (ChainKind::Nat, Hook::Prerouting, -100);

#[derive(Default)]
struct Program(Table);

impl Program {
    fn base(self, name: &str, at: (ChainKind, Hook, i32), rules: Vec<Rule>) -> Self {
        self.add(name, base(at.0, at.1, at.2), rules)
    }

    fn chain(self, name: &str, rules: Vec<Rule>) -> Self {
        self.add(name, None, rules)
    }

    fn add(mut self, name: &str, base: Option<BaseChain>, rules: Vec<Rule>) -> Self {
        self.0.chains.insert(name.into(), Chain { base, comment: None, rules });
        self
    }

    fn set(mut self, name: &str, spec: SetSpec, elements: Vec<(RawKey, Data)>) -> Self {
        let elements = elements.into_iter().map(|(key, data)| (key, Element::new(data))).collect();
        self.0.sets.insert(name.into(), Set { spec, elements });
        self
    }

    /// A map from slot to endpoint 10.0.0.SLOT:8080, for these slots.
    fn endpoints(self, slots: &[u32]) -> Self {
        let data = vec![Selector::Daddr, Selector::Dport];
        let spec = SetSpec::new(vec![crate::nft::slot_selector()], SetData::Values(data));
        let element = |&slot: &u32| {
            let to = RawValue::new().address(ip(&format!("10.0.0.{slot}"))).port(port(8080));
            (RawKey::new().slot(slot), Data::Values(to))
        };
        self.set("endpoints", spec, slots.iter().map(element).collect())
    }

    fn ruleset(self) -> Ruleset {
        Ruleset { tables: [(Family::Ipv4, self.0)].into() }
    }

    fn outcomes(self, packet: &Packet) -> Vec<(FinalVerdict, String)> {
        let ruleset = self.ruleset();
        let local = BTreeSet::from([ip(NODE)]);
        let outcomes = simulate(&ruleset, packet, &local).outcomes;
        outcomes.into_iter().map(|end| (end.outcome, end.probability.to_string())).collect()
    }

    fn only(self, packet: &Packet) -> FinalVerdict {
        let mut outcomes = self.outcomes(packet);
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0).0
    }
}

fn rule(statements: impl Into<Vec<Statement>>) -> Rule {
    Rule::new(statements)
}

fn jump(chain: &str) -> Rule {
    rule([Statement::Verdict(Verdict::Jump(chain.into()))])
}

fn goto(chain: &str) -> Rule {
    rule([Statement::Verdict(Verdict::Goto(chain.into()))])
}

fn end(verdict: Verdict) -> Rule {
    rule([Statement::Verdict(verdict)])
}

fn reject() -> Rule {
    rule([Statement::Reject])
}

fn dnat(modulus: u32, offset: u32) -> Rule {
    let key = vec![Selector::Random { modulus, offset }];
    rule([Statement::Dnat { key, map: "endpoints".into() }])
}

fn to(address: &str, number: u16) -> FinalVerdict {
    FinalVerdict::Delivered(Delivery {
        address: ip(address),
        port: port(number),
        masqueraded: false,
    })
}

fn masqueraded(address: &str, number: u16) -> FinalVerdict {
    FinalVerdict::Delivered(Delivery {
        address: ip(address),
        port: port(number),
        masqueraded: true,
    })
}

#[test]
fn jump_comes_back_and_goto_does_not() {
    let passes = || to(ELSEWHERE, 80);
    let empty = Vec::new;
    // The rules of the base chain, of `a` and of `b`, and what comes of them.
    type Rules = Vec<Rule>;
    let cases: Vec<(&str, Rules, Rules, Rules, FinalVerdict)> = vec![
        ("jump, end", vec![jump("a"), reject()], empty(), empty(), FinalVerdict::Rejected),
        ("goto, end", vec![goto("a"), reject()], empty(), empty(), passes()),
        (
            "jump, return",
            vec![jump("a"), reject()],
            vec![end(Verdict::Return), end(Verdict::Drop)],
            empty(),
            FinalVerdict::Rejected,
        ),
        (
            "return ends a base chain",
            vec![end(Verdict::Return), reject()],
            empty(),
            empty(),
            passes(),
        ),
        (
            "jump, goto: back to the caller's caller",
            vec![jump("a"), reject()],
            vec![goto("b"), end(Verdict::Drop)],
            empty(),
            FinalVerdict::Rejected,
        ),
        (
            "jump, jump: back to the caller",
            vec![jump("a"), reject()],
            vec![jump("b"), end(Verdict::Drop)],
            empty(),
            FinalVerdict::Dropped,
        ),
        (
            "jump, jump, return: back to the caller",
            vec![jump("a"), reject()],
            vec![jump("b"), end(Verdict::Drop)],
            vec![end(Verdict::Return)],
            FinalVerdict::Dropped,
        ),
        (
            "goto, jump, end: back behind the jump",
            vec![goto("a"), reject()],
            vec![jump("b"), end(Verdict::Drop)],
            empty(),
            FinalVerdict::Dropped,
        ),
        (
            "accept ends the base chain from any depth",
            vec![jump("a"), reject()],
            vec![jump("b"), reject()],
            vec![end(Verdict::Accept)],
            passes(),
        ),
        (
            "continue",
            vec![end(Verdict::Continue), reject()],
            empty(),
            empty(),
            FinalVerdict::Rejected,
        ),
        ("drop", vec![end(Verdict::Drop), reject()], empty(), empty(), FinalVerdict::Dropped),
    ];
    for (what, rules, a, b, expected) in cases {
        let program = Program::default().base("base", FORWARD, rules).chain("a", a).chain("b", b);
        assert_eq!(program.only(&packet(ELSEWHERE)), expected, "{what}");
    }
}

#[test]
fn accept_does_not_spare_a_packet_the_next_base_chain_but_drop_is_final() {
    let chains = |first, second| {
        Program::default()
            .base("z-first", (ChainKind::Filter, Hook::Forward, -1), vec![end(first)])
            .base("a-second", (ChainKind::Filter, Hook::Forward, 1), vec![end(second)])
            .only(&packet(ELSEWHERE))
    };
    assert_eq!(chains(Verdict::Accept, Verdict::Drop), FinalVerdict::Dropped);
    assert_eq!(chains(Verdict::Drop, Verdict::Accept), FinalVerdict::Dropped);
    assert_eq!(chains(Verdict::Accept, Verdict::Accept), to(ELSEWHERE, 80));
}

#[test]
fn policy_drop_takes_what_reaches_the_end_or_returns() {
    for (rules, dropped) in [
        (vec![], true),
        (vec![end(Verdict::Return)], true),
        (vec![goto("nothing")], true),
        (vec![end(Verdict::Accept)], false),
    ] {
        let mut program =
            Program::default().base("base", FORWARD, rules.clone()).chain("nothing", vec![]);
        program.0.chains.get_mut("base").unwrap().base.as_mut().unwrap().drop = true;
        let expected = if dropped { FinalVerdict::Dropped } else { to(ELSEWHERE, 80) };
        assert_eq!(program.only(&packet(ELSEWHERE)), expected, "{rules:?}");
    }
}

#[test]
fn the_first_rule_after_a_mismatch_is_the_next_one() {
    let local = |then| rule([Statement::DestinationIsLocal, Statement::Verdict(then)]);
    let program = |at| Program::default().base("base", at, vec![local(Verdict::Drop), reject()]);
    let prerouting = (ChainKind::Filter, Hook::Prerouting, 0);
    for (to, expected) in [
        (NODE, FinalVerdict::Dropped),
        ("127.0.0.1", FinalVerdict::Dropped),
        ("127.255.255.255", FinalVerdict::Dropped),
        (ELSEWHERE, FinalVerdict::Rejected),
    ] {
        assert_eq!(program(prerouting).only(&packet(to)), expected, "{to}");
    }
}

/// The set holds 10.0.1.0-10.0.1.255 and 10.0.3.7 alone.
#[test]
fn ranges_hold_their_edges_and_nothing_beside_them() {
    let key = |text: &str| RawKey::new().address(ip(text));
    let cases = [
        ("0.0.0.0", false),
        ("10.0.0.255", false),
        ("10.0.1.0", true),
        ("10.0.1.77", true),
        ("10.0.1.255", true),
        ("10.0.2.0", false),
        ("10.0.3.6", false),
        ("10.0.3.7", true),
        ("10.0.3.8", false),
        ("255.255.255.255", false),
    ];
    for (address, inside) in cases {
        for negated in [false, true] {
            let spec = SetSpec::new(vec![Selector::Daddr], SetData::Nothing).interval();
            let ranges = [("10.0.1.0", "10.0.1.255"), ("10.0.3.7", "10.0.3.7")];
            let ranges = ranges.map(|(first, last)| {
                (key(first), Data::RangeEnd(RawValue::from_bytes(key(last).as_bytes()).unwrap()))
            });
            let lookup =
                Statement::InSet { key: vec![Selector::Daddr], set: "nets".into(), negated };
            let outcome = Program::default()
                .set("nets", spec, ranges.into())
                .base("base", FORWARD, vec![rule([lookup, Statement::Reject])])
                .only(&packet(address));
            let rejected = outcome == FinalVerdict::Rejected;
            assert_eq!(rejected, inside != negated, "{address} negated: {negated}");
        }
    }
}

#[test]
fn a_set_without_ranges_holds_only_its_keys() {
    let key = |text: &str| RawKey::new().address(ip(text)).protocol(Protocol::Tcp).port(port(80));
    let selectors = vec![Selector::Daddr, Selector::L4proto, Selector::Dport];
    let program = || {
        let spec = SetSpec::new(selectors.clone(), SetData::Verdict);
        let verdict = Data::Verdict(Verdict::Goto("refuse".into()));
        let lookup = Statement::VerdictMap { key: selectors.clone(), map: "map".into() };
        Program::default()
            .set("map", spec, vec![(key("10.0.0.2"), verdict)])
            .chain("refuse", vec![reject()])
            .base("base", FORWARD, vec![rule([lookup]), end(Verdict::Drop)])
    };
    let hit = packet("10.0.0.2");
    assert_eq!(program().only(&hit), FinalVerdict::Rejected);
    for miss in [
        packet("10.0.0.3"),
        Packet { port: port(81), ..hit.clone() },
        Packet { protocol: Protocol::Udp, ..hit.clone() },
    ] {
        assert_eq!(program().only(&miss), FinalVerdict::Dropped, "{miss:?}");
    }
}

#[test]
fn every_value_that_can_be_drawn_is_an_end_of_its_own() {
    let program = Program::default()
        .endpoints(&[1, 2, 3])
        .base("nat", DNAT, vec![dnat(3, 1)])
        .outcomes(&packet(ELSEWHERE));
    let expected =
        [1, 2, 3].map(|slot| (to(&format!("10.0.0.{slot}"), 8080), "1/3".to_owned())).to_vec();
    assert_eq!(program, expected);
}

#[test]
fn a_value_without_an_element_goes_on_and_equal_ends_are_one() {
    // Of the slots 0 to 3, only 2 is there; the others meet the rule behind.
    let outcomes = Program::default()
        .endpoints(&[2])
        .base("nat", DNAT, vec![dnat(4, 0), end(Verdict::Drop)])
        .outcomes(&packet(ELSEWHERE));
    assert_eq!(
        outcomes,
        [(FinalVerdict::Dropped, "3/4".to_owned()), (to("10.0.0.2", 8080), "1/4".to_owned())]
    );
}

#[test]
fn drawing_twice_multiplies() {
    // One of two at first; whoever draws the other one draws one of three.
    let outcomes = Program::default()
        .endpoints(&[1, 5, 6, 7])
        .base("nat", DNAT, vec![dnat(2, 0), dnat(3, 5)])
        .outcomes(&packet(ELSEWHERE));
    let outcomes: BTreeSet<(String, String)> =
        outcomes.into_iter().map(|(outcome, p)| (format!("{outcome:?}"), p)).collect();
    let expect = [(1, "1/2"), (5, "1/6"), (6, "1/6"), (7, "1/6")];
    let expect = expect.map(|(slot, p)| (format!("{:?}", to(&format!("10.0.0.{slot}"), 8080)), p));
    assert_eq!(outcomes, expect.map(|(outcome, p)| (outcome, p.to_owned())).into());
}

#[test]
fn the_route_is_taken_after_translation() {
    let refuse_at = |hook| {
        Program::default()
            .endpoints(&[1])
            .base("nat", DNAT, vec![dnat(1, 1)])
            .base("filter", (ChainKind::Filter, hook, 0), vec![reject()])
            .only(&packet(NODE))
    };
    assert_eq!(refuse_at(Hook::Forward), FinalVerdict::Rejected);
    assert_eq!(refuse_at(Hook::Input), to("10.0.0.1", 8080));
    assert_eq!(refuse_at(Hook::Output), to("10.0.0.1", 8080));
}

#[test]
fn chains_of_a_hook_are_walked_by_priority() {
    // Before translation the destination is the node's, behind it not any more.
    let drop_local = rule([Statement::DestinationIsLocal, Statement::Verdict(Verdict::Drop)]);
    let at = |hook: Hook, priority, packet: &Packet| {
        Program::default()
            .endpoints(&[1])
            .base("nat", (ChainKind::Nat, hook, -100), vec![dnat(1, 1)])
            .base("filter", (ChainKind::Filter, hook, priority), vec![drop_local.clone()])
            .only(packet)
    };
    for (hook, packet) in [(Hook::Prerouting, packet(NODE)), (Hook::Output, from_node(NODE))] {
        assert_eq!(at(hook, -110, &packet), FinalVerdict::Dropped, "{hook:?}");
        assert_eq!(at(hook, 0, &packet), to("10.0.0.1", 8080), "{hook:?}");
    }
}

#[test]
fn packets_of_the_node_pass_output_and_to_itself_input_too() {
    let refuse_at = |hook, packet: &Packet| {
        Program::default().base("filter", (ChainKind::Filter, hook, 0), vec![reject()]).only(packet)
            == FinalVerdict::Rejected
    };
    use Hook::{Forward, Input, Output, Postrouting, Prerouting};
    let cases = [
        (from_node(ELSEWHERE), vec![Output, Postrouting]),
        (from_node(NODE), vec![Prerouting, Input, Output, Postrouting]),
        (packet(ELSEWHERE), vec![Prerouting, Forward, Postrouting]),
        (packet(NODE), vec![Prerouting, Input]),
    ];
    for (packet, expected) in cases {
        let met: Vec<Hook> = [Prerouting, Input, Forward, Output, Postrouting]
            .into_iter()
            .filter(|&hook| refuse_at(hook, &packet))
            .collect();
        assert_eq!(met, expected, "{packet:?}");
    }
}

/// What the node sends to itself is not translated again when it comes in by loopback.
#[test]
fn a_connection_is_translated_once() {
    let outcome = Program::default()
        .endpoints(&[1])
        .base("nat-output", (ChainKind::Nat, Hook::Output, -100), vec![])
        .base("nat-prerouting", DNAT, vec![dnat(1, 1)])
        .only(&from_node(NODE));
    assert_eq!(outcome, to(NODE, 80));
    let outcome = Program::default()
        .endpoints(&[1, 2])
        .base("a", (ChainKind::Nat, Hook::Prerouting, -101), vec![dnat(1, 1)])
        .base("b", DNAT, vec![dnat(1, 2)])
        .only(&packet(ELSEWHERE));
    assert_eq!(outcome, to("10.0.0.1", 8080));
}

#[test]
fn status_dnat_is_a_changed_destination() {
    let program = |slots: &[u32], destination: &str, number| {
        let refuse = rule([Statement::CtStatusDnat, Statement::Reject]);
        let packet = Packet { port: port(number), ..packet(destination) };
        Program::default()
            .endpoints(slots)
            .base("nat", DNAT, vec![dnat(1, 1)])
            .base("filter", FORWARD, vec![refuse])
            .only(&packet)
    };
    assert_eq!(program(&[1], ELSEWHERE, 80), FinalVerdict::Rejected);
    assert_eq!(program(&[1], "10.0.0.1", 80), FinalVerdict::Rejected, "another port");
    assert_eq!(program(&[1], "10.0.0.1", 8080), to("10.0.0.1", 8080), "to itself");
    assert_eq!(program(&[], ELSEWHERE, 80), to(ELSEWHERE, 80), "not translated");
}

#[test]
fn the_mark_goes_with_the_packet() {
    let set = |op, bits| rule([Statement::SetMark(op, bits)]);
    let hide = rule([Statement::MarkHas(0x4000), Statement::Masquerade]);
    let marked = |mark, rules| {
        Program::default()
            .base("nat", DNAT, rules)
            .base("out", (ChainKind::Nat, Hook::Postrouting, 100), vec![hide.clone()])
            .only(&Packet { mark, ..packet(ELSEWHERE) })
    };
    assert_eq!(marked(0, vec![]), to(ELSEWHERE, 80));
    assert_eq!(marked(0x4001, vec![]), masqueraded(ELSEWHERE, 80));
    assert_eq!(marked(1, vec![set(MarkOp::Or, 0x4000)]), masqueraded(ELSEWHERE, 80));
    assert_eq!(marked(0, vec![set(MarkOp::Or, 0x8000)]), to(ELSEWHERE, 80));
    assert_eq!(marked(0x4000, vec![set(MarkOp::Xor, 0x4000)]), to(ELSEWHERE, 80));
}

#[test]
fn interfaces_are_told_by_name_or_by_its_beginning() {
    let matches = |name: &str, is_prefix, negated, interface: Option<&str>| {
        let statement = Statement::InputInterface { name: name.into(), is_prefix, negated };
        let hook = if interface.is_some() { Hook::Prerouting } else { Hook::Output };
        let packet = Packet { input_interface: interface.map(str::to_owned), ..packet(ELSEWHERE) };
        let rules = vec![rule([statement, Statement::Reject])];
        Program::default().base("base", (ChainKind::Filter, hook, 0), rules).only(&packet)
            == FinalVerdict::Rejected
    };
    for (name, is_prefix, interface, expected) in [
        ("pod", true, Some("pod1"), true),
        ("pod", true, Some("pod"), true),
        ("pod", true, Some("po"), false),
        ("pod", false, Some("pod1"), false),
        ("pod1", false, Some("pod1"), true),
        ("pod", true, None, false),
    ] {
        assert_eq!(matches(name, is_prefix, false, interface), expected, "{name} {interface:?}");
        assert_eq!(matches(name, is_prefix, true, interface), !expected, "{name} {interface:?}");
    }
}

#[test]
fn what_is_not_understood_is_said() {
    let text = |program: Program, to: &str| match program.only(&packet(to)) {
        FinalVerdict::Unknown(text) => text,
        other => panic!("{other:?}"),
    };
    let foreign = || Statement::Foreign("limit rate 1/second".into());
    let program = || {
        let guarded = rule([Statement::DestinationIsLocal, foreign()]);
        Program::default().base(
            "base",
            (ChainKind::Filter, Hook::Prerouting, 0),
            vec![guarded, reject()],
        )
    };
    assert!(text(program(), NODE).contains("limit rate"));
    assert_eq!(program().only(&packet(ELSEWHERE)), FinalVerdict::Rejected, "it does not get there");

    let missing = Program::default().base("base", FORWARD, vec![jump("nowhere")]);
    assert!(text(missing, ELSEWHERE).contains("nowhere"));
    let loops =
        Program::default().base("base", FORWARD, vec![goto("a")]).chain("a", vec![goto("a")]);
    assert!(text(loops, ELSEWHERE).contains("loop"));
    let deep =
        Program::default().base("base", FORWARD, vec![jump("a")]).chain("a", vec![jump("a")]);
    assert!(text(deep, ELSEWHERE).contains("deep"));
    let in_set =
        Statement::InSet { key: vec![Selector::Daddr], set: "theirs".into(), negated: false };
    let rules = vec![rule([in_set, Statement::Reject])];
    let missing = Program::default().base("base", FORWARD, rules.clone());
    assert!(text(missing, ELSEWHERE).contains("theirs"));
    let mut spec = SetSpec::new(vec![Selector::Daddr], SetData::Nothing);
    spec.foreign = Some("flags dynamic".into());
    let foreign = Program::default().set("theirs", spec, vec![]).base("base", FORWARD, rules);
    assert!(text(foreign, ELSEWHERE).contains("dynamic"));
}

#[test]
fn the_steps_are_the_rules_that_matched() {
    let program = Program::default()
        .endpoints(&[1])
        .base(
            "nat",
            DNAT,
            vec![rule([Statement::DestinationIsLocal, Statement::Reject]), jump("choose")],
        )
        .chain("choose", vec![dnat(1, 1)]);
    let ruleset = program.ruleset();
    let walk = simulate(&ruleset, &packet(ELSEWHERE), &BTreeSet::new());
    let steps: Vec<String> = walk.outcomes[0].steps.iter().map(Step::to_string).collect();
    assert_eq!(
        steps,
        [
            "nat: jump choose",
            "choose: dnat ip to numgen random mod 1 offset 1 map @endpoints \
             { 1 : 10.0.0.1 . 8080 }",
        ]
    );
}

#[test]
fn without_a_table_of_its_family_a_packet_passes() {
    let ruleset = Program::default().base("base", FORWARD, vec![reject()]).ruleset();
    let packet = Packet { source: ip("2001:db8::7"), ..packet("2001:db8::1") };
    let walk = simulate(&ruleset, &packet, &BTreeSet::new());
    assert_eq!(walk.only(), Some(&to("2001:db8::1", 80)));
}

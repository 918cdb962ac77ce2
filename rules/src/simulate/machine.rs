//! The interpreter's state and its single steps.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use super::{Delivery, FinalVerdict, Learned, Outcome, Packet, Probability, Step};
use crate::cluster::Family;
use crate::nft::{
    BaseChain, Chain, ChainKind, CtField, Data, Element, ElementText, Hook, MarkOp, Name, RawKey,
    Rule, Selector, Set, Statement, Table, Verdict, jhash,
};

/// `NFT_JUMP_STACK_SIZE` of the kernel's nf_tables.h.
const MAX_DEPTH: usize = 16;

/// More chains than this in one hook are a loop, which the kernel does not let into a table.
const MAX_CHAINS: usize = 1 << 16;

/// The interface by which packets of the node to itself come back.
const LOOPBACK: &str = "lo";

/// Where a packet is walked.
#[derive(Clone, Copy)]
pub(super) struct PacketContext<'a, 'r> {
    pub(super) table: &'r Table,
    pub(super) family: Family,
    pub(super) local_addresses: &'a BTreeSet<IpAddr>,
}

/// All ends of a packet, equal ones not yet merged.
pub(super) fn run<'a, 'r>(place: PacketContext<'a, 'r>, packet: &'a Packet) -> Vec<Outcome<'r>> {
    let mut outcomes = Vec::new();
    let mut pending = vec![Advance::On(Walker::new(place, packet))];
    while let Some(advance) = pending.pop() {
        match advance {
            Advance::On(walker) => pending.push(walker.advance()),
            // The last goes on first, so that ends come in the order of the values.
            Advance::Split(split) => pending.extend(split.into_iter().rev()),
            Advance::Outcome(end) => outcomes.push(end),
        }
    }
    outcomes
}

enum Advance<'a, 'r> {
    On(Walker<'a, 'r>),
    Split(Vec<Advance<'a, 'r>>),
    Outcome(Outcome<'r>),
}

/// A place in a chain.
#[derive(Clone, Copy)]
struct Position<'r> {
    name: &'r Name,
    rules: &'r [Rule],
}

/// A packet on its way.
#[derive(Clone)]
struct Walker<'a, 'r> {
    place: PacketContext<'a, 'r>,
    packet: Packet,
    /// What it was at first.
    original: &'a Packet,
    /// Where the packet is.
    hook: Hook,
    /// The base chains of the hook that are still to come, the next last.
    base_chains: Vec<(&'r Name, &'r Chain, BaseChain)>,
    /// What is left of the present chain; `None` between base chains.
    position: Option<Position<'r>>,
    /// Whether the present base chain drops at its end, and whether it is of type nat.
    policy_drops: bool,
    in_nat: bool,
    /// Where `return` goes to.
    callers: Vec<Position<'r>>,
    /// How many chains have been entered since the hook.
    entered: usize,
    /// Whether the node sent it: it then goes to output first, and to input by loopback.
    from_node: bool,
    /// Whether each end's translation has been decided: nat chains are not asked again.
    destination_settled: bool,
    source_settled: bool,
    /// `ct status dnat`: the destination was changed, which a translation to itself does not do.
    translated: bool,
    masqueraded: bool,
    probability: Probability,
    learned: Vec<Learned<'r>>,
    steps: Vec<Step<'r>>,
}

/// What a statement makes of a packet.
enum StatementEffect<'r> {
    /// The next statement follows.
    Match,
    /// The next rule follows.
    Mismatch,
    /// The rule ends so.
    Verdict(Verdict, Option<ElementText<'r>>),
    /// The chain is done: the packet's translation is decided.
    Accept(Option<ElementText<'r>>),
    Outcome(FinalVerdict),
}

impl<'a, 'r> Walker<'a, 'r> {
    fn new(place: PacketContext<'a, 'r>, packet: &'a Packet) -> Self {
        let from_node = packet.input_interface.is_none();
        let mut walker = Self {
            place,
            packet: packet.clone(),
            original: packet,
            hook: Hook::Prerouting,
            base_chains: Vec::new(),
            position: None,
            policy_drops: false,
            in_nat: false,
            callers: Vec::new(),
            entered: 0,
            from_node,
            destination_settled: false,
            source_settled: false,
            translated: false,
            masqueraded: false,
            probability: Probability::ONE,
            learned: Vec::new(),
            steps: Vec::new(),
        };
        walker.enter_hook(if from_node { Hook::Output } else { Hook::Prerouting });
        walker
    }

    /// Does one thing: enters the next hook or base chain, leaves a chain, or takes a rule.
    fn advance(mut self) -> Advance<'a, 'r> {
        let Some(position) = self.position else {
            return match self.base_chains.pop() {
                Some((name, chain, base)) => {
                    self.enter_base_chain(name, chain, base);
                    Advance::On(self)
                }
                None => self.leave_hook(),
            };
        };
        match position.rules.split_first() {
            Some((rule, rest)) => {
                self.position = Some(Position { rules: rest, ..position });
                self.take(position.name, rule)
            }
            None => self.return_to_caller(),
        }
    }

    fn enter_hook(&mut self, hook: Hook) {
        self.hook = hook;
        self.entered = 0;
        let mut chains: Vec<_> = self
            .place
            .table
            .chains
            .iter()
            .filter_map(|(name, chain)| Some((name, chain, chain.base?)))
            .filter(|(_, _, base)| base.hook == hook)
            .collect();
        // A stable sort: chains of equal priority go by name.
        chains.sort_by_key(|(_, _, base)| base.priority);
        chains.reverse();
        self.base_chains = chains;
    }

    fn enter_base_chain(&mut self, name: &'r Name, chain: &'r Chain, base: BaseChain) {
        self.in_nat = base.kind == ChainKind::Nat;
        if self.in_nat && self.is_settled() {
            return;
        }
        self.policy_drops = base.drop;
        self.position = Some(Position { name, rules: &chain.rules });
    }

    /// Whether the translation that nat chains of this hook decide on has been decided.
    fn is_settled(&self) -> bool {
        match self.hook {
            Hook::Prerouting | Hook::Output => self.destination_settled,
            Hook::Input | Hook::Postrouting => self.source_settled,
            Hook::Forward => false,
        }
    }

    fn settle(&mut self) {
        match self.hook {
            Hook::Prerouting | Hook::Output => self.destination_settled = true,
            Hook::Input | Hook::Postrouting => self.source_settled = true,
            Hook::Forward => {}
        }
    }

    fn leave_hook(mut self) -> Advance<'a, 'r> {
        // A connection that no nat chain wanted gets the null translation.
        self.settle();
        let to_node = self.is_local(self.packet.destination);
        let next = match self.hook {
            Hook::Prerouting if to_node => Hook::Input,
            Hook::Prerouting => Hook::Forward,
            Hook::Forward | Hook::Output => Hook::Postrouting,
            Hook::Postrouting if self.from_node && to_node => {
                self.packet.input_interface = Some(LOOPBACK.to_owned());
                Hook::Prerouting
            }
            Hook::Input | Hook::Postrouting => {
                let delivery = Delivery {
                    address: self.packet.destination,
                    port: self.packet.port,
                    masqueraded: self.masqueraded,
                };
                return self.end(FinalVerdict::Delivered(delivery));
            }
        };
        self.enter_hook(next);
        Advance::On(self)
    }

    fn end(self, outcome: FinalVerdict) -> Advance<'a, 'r> {
        let Self { probability, learned, steps, .. } = self;
        Advance::Outcome(Outcome { outcome, probability, learned, steps })
    }

    fn return_to_caller(mut self) -> Advance<'a, 'r> {
        self.position = self.callers.pop();
        if self.position.is_none() && self.policy_drops {
            return self.end(FinalVerdict::Dropped);
        }
        Advance::On(self)
    }

    /// Takes a rule with each of the values that it can draw.
    fn take(self, chain: &'r Name, rule: &'r Rule) -> Advance<'a, 'r> {
        let draws = rule.statements.iter().map(draws).product();
        if draws <= 1 {
            return self.take_with(chain, rule, 0);
        }
        let probability = self.probability * Probability::one_of(draws);
        let walkers = (0..draws).map(|draw| {
            let walker = Self { probability, ..self.clone() };
            walker.take_with(chain, rule, draw)
        });
        Advance::Split(walkers.collect())
    }

    fn take_with(mut self, chain: &'r Name, rule: &'r Rule, mut draw: u32) -> Advance<'a, 'r> {
        let mut found = None;
        for statement in &rule.statements {
            let draws = draws(statement);
            let effect = self.execute(statement, rule, draw % draws);
            draw /= draws;
            let (verdict, element) = match effect {
                StatementEffect::Match => continue,
                StatementEffect::Mismatch => return Advance::On(self),
                StatementEffect::Verdict(verdict, element) => (verdict, element),
                StatementEffect::Accept(element) => (Verdict::Accept, element),
                StatementEffect::Outcome(outcome) => {
                    self.note(chain, rule, found);
                    return self.end(outcome);
                }
            };
            found = found.or(element);
            self.note(chain, rule, found);
            return self.follow(verdict);
        }
        self.note(chain, rule, found);
        Advance::On(self)
    }

    fn note(&mut self, chain: &'r Name, rule: &'r Rule, element: Option<ElementText<'r>>) {
        self.steps.push(Step { chain, rule, element, family: self.place.family });
    }

    fn follow(mut self, verdict: Verdict) -> Advance<'a, 'r> {
        match verdict {
            Verdict::Continue => Advance::On(self),
            Verdict::Return => self.return_to_caller(),
            Verdict::Drop => self.end(FinalVerdict::Dropped),
            Verdict::Accept => {
                // The rest of this base chain is skipped; those behind it still see the packet.
                self.position = None;
                self.callers.clear();
                Advance::On(self)
            }
            Verdict::Jump(target) => {
                let Some(caller) = self.position else {
                    return self.end(FinalVerdict::Unknown(format!("jump {target} from nowhere")));
                };
                if self.callers.len() == MAX_DEPTH {
                    return self.end(FinalVerdict::Unknown(format!("jump {target} is too deep")));
                }
                self.callers.push(caller);
                self.enter(&target)
            }
            Verdict::Goto(target) => self.enter(&target),
        }
    }

    fn enter(mut self, target: &Name) -> Advance<'a, 'r> {
        self.entered += 1;
        if self.entered > MAX_CHAINS {
            return self.end(FinalVerdict::Unknown(format!("a loop by way of {target}")));
        }
        match self.place.table.chains.get_key_value(target) {
            Some((name, chain)) => {
                self.position = Some(Position { name, rules: &chain.rules });
                Advance::On(self)
            }
            None => self.end(FinalVerdict::Unknown(format!("there is no chain {target}"))),
        }
    }

    fn execute(&mut self, statement: &Statement, rule: &Rule, draw: u32) -> StatementEffect<'r> {
        let matches =
            |yes: bool| if yes { StatementEffect::Match } else { StatementEffect::Mismatch };
        match statement {
            Statement::CtStateNew => StatementEffect::Match,
            Statement::CtStatusDnat => matches(self.translated),
            Statement::ProtocolIs(protocol) => matches(self.packet.protocol == *protocol),
            Statement::DestinationIsLocal => matches(self.is_local(self.packet.destination)),
            Statement::SourceIsLocal => matches(self.is_local(self.packet.source)),
            Statement::DestinationPortIs(port) => matches(self.packet.port == *port),
            Statement::DestinationIsNotLoopback => matches(match self.packet.destination {
                IpAddr::V4(address) => !address.is_loopback(),
                IpAddr::V6(address) => address != Ipv6Addr::LOCALHOST,
            }),
            Statement::InputInterface { name, is_prefix, negated } => {
                // Without one the kernel compares with the empty name.
                let interface = self.packet.input_interface.as_deref().unwrap_or_default();
                let equal =
                    if *is_prefix { interface.starts_with(name) } else { interface == name };
                matches(equal != *negated)
            }
            Statement::MarkHas(bits) => matches(self.packet.mark & bits != 0),
            Statement::SetMark(op, bits) => {
                match op {
                    MarkOp::Or => self.packet.mark |= bits,
                    MarkOp::Xor => self.packet.mark ^= bits,
                }
                StatementEffect::Match
            }
            Statement::InSet { key, set, negated } => match self.look_up(set, key, draw) {
                Ok(found) => matches(found.is_some() != *negated),
                Err(effect) => effect,
            },
            Statement::VerdictMap { key, map } => match self.look_up(map, key, draw) {
                Ok(Some(element)) => match &element.element.data {
                    Data::Verdict(verdict) => {
                        StatementEffect::Verdict(verdict.clone(), Some(element))
                    }
                    _ => unknown(format!("@{map} has no verdicts")),
                },
                Ok(None) => StatementEffect::Mismatch,
                Err(effect) => effect,
            },
            Statement::Dnat { key, map } => match self.look_up(map, key, draw) {
                Ok(Some(element)) => self.translate(element, map, None),
                Ok(None) => StatementEffect::Mismatch,
                Err(effect) => effect,
            },
            Statement::DnatToPort { key, map, port } => match self.look_up(map, key, draw) {
                Ok(Some(element)) => self.translate(element, map, Some(*port)),
                Ok(None) => StatementEffect::Mismatch,
                Err(effect) => effect,
            },
            Statement::Update { map, key, timeout, data } => {
                self.learn(map, &self.key(key, 0), *timeout, &self.key(data, 0))
            }
            Statement::Masquerade => {
                self.masqueraded = true;
                self.settle();
                StatementEffect::Accept(None)
            }
            Statement::Reject => StatementEffect::Outcome(FinalVerdict::Rejected),
            Statement::Verdict(verdict) => StatementEffect::Verdict(verdict.clone(), None),
            Statement::Foreign(_) => unknown(rule.display(self.place.family).to_string()),
        }
    }

    /// Translates to an address, and to this port or that behind the address.
    fn translate(
        &mut self,
        element: ElementText<'r>,
        map: &Name,
        port: Option<NonZeroU16>,
    ) -> StatementEffect<'r> {
        let (Data::Values(values) | Data::Learned(values, _)) = &element.element.data else {
            return unknown(format!("@{map} has no addresses"));
        };
        let values = match port {
            None => values.to_key(),
            Some(port) => values.to_key().port(port),
        };
        let Some((address, port)) = address_and_port(&values, self.place.family) else {
            return unknown(format!("@{map} has no addresses and ports"));
        };
        let new = (address, port);
        self.translated |= new != (self.packet.destination, self.packet.port);
        (self.packet.destination, self.packet.port) = new;
        self.settle();
        StatementEffect::Accept(Some(element))
    }

    fn learn(
        &mut self,
        map: &Name,
        key: &RawKey,
        timeout: u32,
        data: &RawKey,
    ) -> StatementEffect<'r> {
        let Some((map, set)) = self.place.table.sets.get_key_value(map) else {
            return unknown(format!("there is no map {map}"));
        };
        let data = match set.elements.get(key).map(|element| &element.data) {
            Some(Data::Learned(data, _)) => data.to_key(),
            _ => *data,
        };
        let learned = Learned { map, key: *key, data, timeout };
        if !self.learned.contains(&learned) {
            self.learned.push(learned);
        }
        StatementEffect::Match
    }

    fn look_up(
        &self,
        name: &Name,
        key: &[Selector],
        draw: u32,
    ) -> Result<Option<ElementText<'r>>, StatementEffect<'r>> {
        let Some(set) = self.place.table.sets.get(name) else {
            return Err(unknown(format!("there is no set {name}")));
        };
        if let Some(foreign) = &set.spec.foreign {
            return Err(unknown(format!("@{name} is foreign: {foreign}")));
        }
        let key = self.key(key, draw);
        let found = find(set, &key);
        let family = self.place.family;
        Ok(found.map(|(key, element)| ElementText { family, spec: &set.spec, key, element }))
    }

    fn key(&self, selectors: &[Selector], mut draw: u32) -> RawKey {
        selectors.iter().fold(RawKey::new(), |key, selector| match *selector {
            Selector::Saddr => key.address(self.packet.source),
            Selector::Daddr => key.address(self.packet.destination),
            Selector::CtOriginal(CtField::Saddr) => key.address(self.original.source),
            Selector::CtOriginal(CtField::Daddr) => key.address(self.original.destination),
            Selector::CtOriginal(CtField::ProtoDst) => key.port(self.original.port),
            Selector::L4proto => key.protocol(self.packet.protocol),
            Selector::Dport => key.port(self.packet.port),
            Selector::Random { modulus, offset } => {
                let value = draw % modulus;
                draw /= modulus;
                key.slot(offset + value)
            }
            Selector::SourceHash { original, modulus, seed } => {
                let packet = if original { self.original } else { &self.packet };
                let source = RawKey::new().address(packet.source);
                key.slot(jhash(source.as_bytes(), modulus, seed))
            }
        })
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.place.local_addresses.contains(&address)
    }
}

fn unknown<'r>(text: String) -> StatementEffect<'r> {
    StatementEffect::Outcome(FinalVerdict::Unknown(text))
}

/// How many values a statement draws one of.
fn draws(statement: &Statement) -> u32 {
    let (Statement::InSet { key, .. }
    | Statement::VerdictMap { key, .. }
    | Statement::Dnat { key, .. }
    | Statement::DnatToPort { key, .. }) = statement
    else {
        return 1;
    };
    let moduli = key.iter().map(|selector| match selector {
        Selector::Random { modulus, .. } => *modulus,
        _ => 1,
    });
    moduli.product()
}

fn find<'r>(set: &'r Set, key: &RawKey) -> Option<(&'r RawKey, &'r Element)> {
    if !set.spec.interval {
        return set.elements.get_key_value(key);
    }
    // The range that begins last among those that do not begin behind the key.
    let (first, element) = set.elements.range(..=key).next_back()?;
    match &element.data {
        Data::RangeEnd(last) => (*key <= last.to_key()).then_some((first, element)),
        _ => (key == first).then_some((first, element)),
    }
}

fn address_and_port(values: &RawKey, family: Family) -> Option<(IpAddr, NonZeroU16)> {
    let bytes = values.as_bytes();
    let (address, rest): (IpAddr, _) = match family {
        Family::Ipv4 => {
            let (address, rest) = bytes.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*address).into(), rest)
        }
        Family::Ipv6 => {
            let (address, rest) = bytes.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*address).into(), rest)
        }
    };
    let port = rest.first_chunk::<2>()?;
    Some((address, NonZeroU16::new(u16::from_be_bytes(*port))?))
}

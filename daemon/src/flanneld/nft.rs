//! nftables by netlink: one table of ours, made whole in one transaction or not at all.
//!
//! Why by hand: the crates that there are either want a C library and its headers (`nftnl`), generate their bindings
//! with libclang (`rustables`), or run the `nft` program (`nftables`), which need not be installed. What is needed here
//! are five kinds of messages and six of expressions; their numbers stand below beside their names. The socket is
//! `netlink-sys`', which rtnetlink brings along.
//!
//! ```text
//!  batch begin │ add table │ delete table │ add table │ add chain … │ add rule … │ batch end
//! ```
//!
//! Adding first makes deleting safe, and the kernel swaps the whole table in one step: no packet sees half of it. Owns: a
//! socket. Refuses: nothing; what the kernel refuses is told with the message it was about. No clock.
//!
//! Source: linux include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h, netfilter.h; net/netfilter/nfnetlink.c.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, Socket, TokioSocket};

use crate::sys::tried;

/// Tables of both IP families (`NFPROTO_INET`).
const NFPROTO_INET: u8 = 1;
const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const GET_RULE: u16 = SUBSYSTEM << 8 | 7;
/// The multicast group that hears of every change (`NFNLGRP_NFTABLES`).
const GROUP: u32 = 7;

const REQUEST: u16 = 1; // NLM_F_REQUEST
const ACK: u16 = 4;
const DUMP: u16 = 0x300; // NLM_F_ROOT | NLM_F_MATCH
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Of a netlink message.
const HEADER_LEN: usize = 16;
const NESTED: u16 = 0x8000; // NLA_F_NESTED

/// Where verdicts go (`NFT_REG_VERDICT`), and the first register of 16 octets (`NFT_REG_1`).
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;

/// Where in a packet's way a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Source translation on the way out: `type nat hook postrouting priority srcnat`.
    SourceNat,
    /// `type filter hook forward priority filter`.
    Forward,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Return,
    /// Other L4 ports by chance, if so said.
    Masquerade {
        random_fully: bool,
    },
}

/// What a packet has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Its mark has all of these bits.
    Mark(u32),
    /// Its source, or if not `is_source` its destination, lies in the prefix, or outside if not `is_within`.
    Prefix { prefix: wire::Cidr, is_source: bool, is_within: bool },
}

impl Match {
    /// The family of packets that can have it.
    fn is_v4(&self) -> Option<bool> {
        match self {
            Self::Mark(_) => None,
            Self::Prefix { prefix, .. } => Some(prefix.address().is_ipv4()),
        }
    }
}

/// A rule, of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
    /// For people who list it; at most 127 octets.
    pub(super) comment: &'static str,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) rules: Vec<Rule>,
}

/// A table of family `inet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) chains: Vec<Chain>,
}

/// What shows whether somebody has changed a table: its flags (a dormant one does nothing), and each rule in the kernel's
/// words. Their handles alone would not do, for what takes a rule's place has its handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    flags: u32,
    rules: Vec<Vec<u8>>,
}

/// A socket to nftables, in the namespace of the thread that opened it.
pub(super) struct Nft {
    socket: Socket,
    sequence: u32,
}

impl Nft {
    /// # Errors
    /// The operating system's refusal.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(tried("opening netlink for nftables"))?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Begins to hear of changes, from now on.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(super) fn listen() -> io::Result<Listener> {
        let mut socket =
            TokioSocket::new(NETLINK_NETFILTER).map_err(tried("opening netlink for nftables"))?;
        socket.socket_mut().bind_auto()?;
        socket.socket_mut().add_membership(GROUP)?;
        Ok(Listener(socket))
    }

    /// Puts the table in the place of the one of its name, if there is one.
    ///
    /// # Errors
    /// What the kernel refuses, and of what. All is as it was then.
    pub(super) fn replace(&mut self, table: &Table) -> io::Result<()> {
        let mut batch = self.begin();
        for (kind, flags) in [(NEW_TABLE, CREATE), (DELETE_TABLE, 0), (NEW_TABLE, CREATE)] {
            batch.message(kind, flags, |at| at.text(1, &table.name));
        }
        for chain in &table.chains {
            batch.message(NEW_CHAIN, CREATE, |at| write_chain(at, &table.name, chain));
            for rule in &chain.rules {
                batch.message(NEW_RULE, CREATE | APPEND, |at| write_rule(at, &table.name, chain.name, rule));
            }
        }
        self.commit(batch).map_err(tried(format!("making nftables table inet {}", table.name)))
    }

    /// Removes a table, if there is one of this name.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut batch = self.begin();
        for (kind, flags) in [(NEW_TABLE, CREATE), (DELETE_TABLE, 0)] {
            batch.message(kind, flags, |at| at.text(1, name));
        }
        self.commit(batch).map_err(tried(format!("removing nftables table inet {name}")))
    }

    /// What there is of the table of this name; nothing if there is none.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn find(&mut self, name: &str) -> io::Result<Found> {
        let mut found = Found::default();
        self.ask((GET_TABLE, 0, NEW_TABLE), name, |body| {
            let flags = attribute(body, 2).and_then(|value| value.first_chunk());
            found.flags = flags.map_or(0, |flags| u32::from_be_bytes(*flags));
        })?;
        self.ask((GET_RULE, DUMP, NEW_RULE), name, |body| {
            found.rules.push(body.to_vec());
        })?;
        Ok(found)
    }

    /// Asks for what is said of a table by messages of one kind, and hands out the attributes of each.
    fn ask(
        &mut self,
        (question, flags, answer): (u16, u16, u16),
        name: &str,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence += 1;
        let mut request = Batch { octets: Vec::new(), sequence: self.sequence };
        request.raw(question, REQUEST | flags, NFPROTO_INET, 0, |at| at.text(1, name));
        self.socket.send(&request.octets, 0)?;
        // Without a further datagram the kernel has said all that it has to say.
        while let Some(datagram) = self.receive()? {
            for (kind, sequence, body) in messages(&datagram) {
                let attributes = body.get(4..).unwrap_or_default();
                match kind {
                    _ if sequence != self.sequence => {} // Of an earlier request.
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return no_table(error_of(body)),
                    _ if kind == answer
                        && attribute(attributes, 1)
                            .is_some_and(|text| text.strip_suffix(&[0]) == Some(name.as_bytes())) =>
                    {
                        each(attributes);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Batch {
        self.sequence += 1;
        let mut batch = Batch { octets: Vec::new(), sequence: self.sequence };
        batch.raw(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, |_| ());
        batch
    }

    fn commit(&mut self, mut batch: Batch) -> io::Result<()> {
        let first = self.sequence;
        batch.raw(BATCH_END, REQUEST, 0, SUBSYSTEM, |_| ());
        self.sequence = batch.sequence;
        self.socket.send(&batch.octets, 0)?;
        // Whatever the kernel has to say is there when send returns.
        let mut outcome = None;
        while let Some(datagram) = self.receive()? {
            for (kind, sequence, body) in messages(&datagram) {
                if kind != NLMSG_ERROR || sequence < first {
                    continue;
                }
                let answer = error_of(body);
                if outcome.as_ref().is_none_or(io::Result::is_ok) {
                    let which = sequence - first;
                    outcome =
                        Some(answer.map_err(|error| tried(format!("message {which} of the batch"))(error)));
                }
            }
        }
        outcome.unwrap_or_else(|| Err(io::Error::other("the kernel says nothing to it")))
    }

    fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        match self.socket.recv_from_full() {
            Ok((datagram, _)) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Hears of changes of any table.
pub(super) struct Listener(TokioSocket);

impl Listener {
    /// Waits for a change.
    ///
    /// # Errors
    /// The operating system's refusal.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        match self.0.recv_from_full().await {
            // What did not fit has been lost, and was a change too.
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// That a table is not there is no error here.
fn no_table(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

fn write_chain(at: &mut Attributes<'_>, table: &str, chain: &Chain) {
    let (number, priority, kind) = match chain.hook {
        Hook::SourceNat => (4, 100, "nat"), // NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC
        Hook::Forward => (2, 0, "filter"),  // NF_INET_FORWARD, NF_IP_PRI_FILTER
    };
    at.text(1, table);
    at.text(3, chain.name);
    at.nest(4, |hook| {
        hook.number(1, number);
        hook.number(2, priority);
    });
    at.number(5, 1); // NF_ACCEPT is what happens to the rest.
    at.text(7, kind);
}

fn write_rule(at: &mut Attributes<'_>, table: &str, chain: &str, rule: &Rule) {
    at.text(1, table);
    at.text(2, chain);
    at.nest(4, |list| {
        if let Some(is_v4) = rule.matches.iter().find_map(Match::is_v4) {
            write_meta(list, 15); // NFT_META_NFPROTO
            write_compare(list, true, &[if is_v4 { 2 } else { 10 }]); // NFPROTO_IPV4, NFPROTO_IPV6
        }
        for each in &rule.matches {
            write_match(list, *each);
        }
        match rule.verdict {
            Verdict::Accept => write_verdict(list, 1),
            Verdict::Return => write_verdict(list, -5), // NFT_RETURN
            // NF_NAT_RANGE_PROTO_RANDOM_FULLY
            Verdict::Masquerade { random_fully } => list.expression("masq", |masq| {
                if random_fully {
                    masq.number(1, 16);
                }
            }),
        }
    });
    // libnftnl's comment: type 0, length with the NUL, text.
    let len = u8::try_from(rule.comment.len() + 1).expect("a comment is short");
    at.octets(7, &[&[0, len], rule.comment.as_bytes(), &[0]].concat());
}

fn write_verdict(list: &mut Attributes<'_>, code: i32) {
    list.expression("immediate", |immediate| {
        immediate.number(1, VERDICT);
        immediate.nest(2, |data| data.nest(2, |verdict| verdict.octets(1, &code.to_be_bytes())));
    });
}

fn write_match(list: &mut Attributes<'_>, each: Match) {
    match each {
        Match::Mark(bits) => {
            write_meta(list, 3); // NFT_META_MARK, in the host's order.
            write_masked(list, &bits.to_ne_bytes());
            write_compare(list, true, &bits.to_ne_bytes());
        }
        Match::Prefix { prefix, is_source, is_within } => {
            let (mask, value, offset) = match prefix.network().address() {
                std::net::IpAddr::V4(network) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.prefix_len())).unwrap_or(0);
                    let offset = if is_source { 12 } else { 16 };
                    (mask.to_be_bytes().to_vec(), network.octets().to_vec(), offset)
                }
                std::net::IpAddr::V6(network) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.prefix_len())).unwrap_or(0);
                    let offset = if is_source { 8 } else { 24 };
                    (mask.to_be_bytes().to_vec(), network.octets().to_vec(), offset)
                }
            };
            let len = u32::try_from(value.len()).expect("an address is short");
            list.expression("payload", |payload| {
                for (attribute, number) in [(1, REGISTER), (2, 1), (3, offset), (4, len)] {
                    payload.number(attribute, number); // Base 1: the network header.
                }
            });
            write_masked(list, &mask);
            write_compare(list, is_within, &value);
        }
    }
}

fn write_meta(list: &mut Attributes<'_>, key: u32) {
    list.expression("meta", |meta| {
        meta.number(1, REGISTER);
        meta.number(2, key);
    });
}

fn write_masked(list: &mut Attributes<'_>, mask: &[u8]) {
    let len = u32::try_from(mask.len()).expect("a mask is short");
    list.expression("bitwise", |bitwise| {
        for (attribute, number) in [(1, REGISTER), (2, REGISTER), (3, len)] {
            bitwise.number(attribute, number);
        }
        bitwise.nest(4, |data| data.octets(1, mask));
        bitwise.nest(5, |data| data.octets(1, &vec![0; mask.len()]));
    });
}

fn write_compare(list: &mut Attributes<'_>, is_equal: bool, value: &[u8]) {
    list.expression("cmp", |compare| {
        compare.number(1, REGISTER);
        compare.number(2, u32::from(!is_equal));
        compare.nest(3, |data| data.octets(1, value));
    });
}

/// Messages one after the other.
struct Batch {
    octets: Vec<u8>,
    sequence: u32,
}

impl Batch {
    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.raw(kind, REQUEST | ACK | flags, NFPROTO_INET, 0, fill);
    }

    fn raw(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.octets.len();
        self.octets.extend_from_slice(&[0; 4]);
        self.octets.extend_from_slice(&kind.to_ne_bytes());
        self.octets.extend_from_slice(&flags.to_ne_bytes());
        self.octets.extend_from_slice(&self.sequence.to_ne_bytes());
        self.octets.extend_from_slice(&[0; 4]);
        self.sequence += 1;
        let [high, low] = resource.to_be_bytes();
        self.octets.extend_from_slice(&[family, 0, high, low]);
        fill(&mut Attributes(&mut self.octets));
        let len = u32::try_from(self.octets.len() - start).expect("a message is short");
        self.octets[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }
}

/// Attributes at the end of a message.
struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    fn octets(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |inner| inner.0.extend_from_slice(value));
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.octets(kind, &[text.as_bytes(), &[0]].concat());
    }

    fn number(&mut self, kind: u16, number: u32) {
        self.octets(kind, &number.to_be_bytes());
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.attribute(kind | NESTED, fill);
    }

    /// An element of a list of expressions.
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.nest(1, |element| {
            element.text(1, name);
            element.nest(2, fill);
        });
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(&mut Attributes(self.0));
        let len = u16::try_from(self.0.len() - start).expect("an attribute is short");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The messages of a datagram: type, sequence number, what follows the header.
fn messages(mut octets: &[u8]) -> Vec<(u16, u32, &[u8])> {
    let mut found = Vec::new();
    while let Some(header) = octets.first_chunk::<HEADER_LEN>() {
        let [a, b, c, d, e, f, _, _, g, h, i, j, ..] = *header;
        let len = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some(body) = octets.get(HEADER_LEN..len) else { break };
        found.push((u16::from_ne_bytes([e, f]), u32::from_ne_bytes([g, h, i, j]), body));
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn error_of(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// The value of an attribute.
fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(&[a, b, c, d]) = octets.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = octets.get(4..len)?;
        if u16::from_ne_bytes([c, d]) & !NESTED == wanted {
            return Some(value);
        }
        octets = octets.get(len.next_multiple_of(4)..)?;
    }
    None
}

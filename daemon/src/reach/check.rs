//! The course of a check: small questions, then why there is no answer or how long they may be.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use encap::plan::OUTER_TTL;
use socket2::{Domain, Protocol, Socket, Type};
use wire::checksum::Sum;

use super::probe::{Asker, Framing, Heard};
use super::{ATTEMPTS, NARROWINGS, PATIENCE, QUESTIONS_MAX, Target};
use crate::api::{Finding, Judgement};
use crate::sys::datagram;

/// Octets of the packet in a small question.
const SMALL: usize = 100;
/// A UDP port at which nobody listens, as traceroute assumes.
const CLOSED_L4_PORT: u16 = 33_434;
/// Octets of UDP's header.
const UDP_LEN: usize = 8;

/// Asks, and says what came of it. `identity` is drawn by chance: it tells these questions from those of an earlier check.
pub(crate) fn check(target: &Target, identity: u16) -> Vec<Finding> {
    let sender = match Sender::open(target.local_ip(), target.remote) {
        Ok(sender) => sender,
        Err(error) => return vec![no_route(target, &error)],
    };
    let mut findings = vec![match sender.path_mtu() {
        Some(mtu) => {
            good("route", format!("this host reaches {} with packets of {mtu} octets", target.remote.ip()))
        }
        None => good("route", format!("this host has a route to {}", target.remote.ip())),
    }];
    let listener = match Listener::open(target) {
        Ok(listener) => listener,
        Err(error) => {
            let text = format!("answers cannot be heard: a raw socket was refused ({error})");
            findings.push(unknown("answers", text, "give the daemon CAP_NET_RAW"));
            return findings;
        }
    };
    let mut talk = Talk {
        target,
        sender,
        listener,
        asker: Asker { framing: target.framing, identity },
        number: 0,
        refusals: Vec::new(),
        heard: Tally::default(),
    };
    let answered = talk.attempts(ATTEMPTS, SMALL);
    match answered {
        Some((after, which)) => talk.works(&mut findings, after, which),
        None => talk.is_silent(&mut findings),
    }
    findings
}

/// One check under way.
struct Talk<'a> {
    target: &'a Target,
    sender: Sender,
    listener: Listener,
    asker: Asker,
    number: u16,
    /// What the network said of questions: error number and MTU.
    refusals: Vec<(i32, u32)>,
    heard: Tally,
}

/// What came from the peer, whatever it was about.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    datagrams: u64,
    ours: u64,
    other_vni: Option<u32>,
    mangled: u64,
    summed: u64,
}

impl Talk<'_> {
    /// Asks with packets of so many octets until there is an answer: how long it took, and which question it answers.
    fn attempts(&mut self, attempts: u16, packet_len: usize) -> Option<(Duration, usize)> {
        for _ in 0..attempts {
            let first = self.number;
            let questions = &self.target.questions[..self.target.questions.len().min(QUESTIONS_MAX)];
            let begun = Instant::now();
            let mut is_refused = false;
            for question in questions {
                let payload = self.asker.ask(question, self.number, packet_len);
                self.number = self.number.wrapping_add(1);
                if let Err(error) = self.sender.send(&payload) {
                    self.refusals.push((error.raw_os_error().unwrap_or(0), 0));
                    is_refused = true;
                }
            }
            while let Some(rest) = PATIENCE.checked_sub(begun.elapsed()).filter(|_| !is_refused) {
                if let Some(number) = self.listener.hear(rest, &self.asker, &mut self.heard) {
                    let which = usize::from(number.wrapping_sub(first));
                    if which < questions.len() {
                        self.hear_refusals();
                        return Some((begun.elapsed(), which));
                    }
                }
                is_refused = self.hear_refusals();
            }
            self.hear_refusals();
        }
        None
    }

    /// Whether the network has said something of the questions.
    fn hear_refusals(&mut self) -> bool {
        let said = self.sender.refusals();
        self.refusals.extend(&said);
        !said.is_empty()
    }

    fn last_refusal(&self) -> Option<i32> {
        self.refusals.iter().map(|(errno, _)| *errno).rfind(|errno| *errno != libc::EMSGSIZE)
    }

    /// The tunnel has answered: everything but lengths is as it has to be.
    fn works(&mut self, findings: &mut Vec<Finding>, after: Duration, which: usize) {
        let us = after.as_micros();
        let question = &self.target.questions[which];
        findings.push(good("answers", format!("{} answered within {us} µs", question.whom())));
        findings.push(good("l4-port", format!("{} is open", self.target.remote)));
        if let Framing::Vxlan(vni) = self.target.framing {
            findings.push(match self.heard.other_vni {
                Some(other) => unknown(
                    "vni",
                    format!(
                        "{} answers with VNI {}, and uses {other} too",
                        self.target.remote.ip(),
                        vni.number()
                    ),
                    "fine if another network of ours has that one; otherwise look at the peer",
                ),
                None => good("vni", format!("both ends use {}", vni.number())),
            });
        }
        findings.push(self.checksums());
        findings.push(self.lengths());
    }

    fn checksums(&self) -> Finding {
        let Tally { mangled, summed, .. } = self.heard;
        match (mangled, summed) {
            (1.., _) => mangled_on_the_way(format!(
                "{mangled} datagrams of the peer's came with a wrong UDP checksum"
            )),
            (0, 0) => good("checksum", "the question's was right; the peer's datagrams have none".to_owned()),
            (0, _) => good("checksum", "right in both directions".to_owned()),
        }
    }

    /// How long packets may be.
    fn lengths(&mut self) -> Finding {
        let full = usize::from(self.target.mtu);
        let outer = |inner: usize| inner + usize::from(self.target.overhead);
        self.refusals.clear();
        if self.attempts(ATTEMPTS, full).is_some() {
            return good("mtu", format!("packets of {full} octets pass, in datagrams of {}", outer(full)));
        }
        let said = self.refusals.iter().find(|(errno, _)| *errno == libc::EMSGSIZE);
        if said.is_some() {
            let path = self.sender.path_mtu().map_or_else(|| "less".to_owned(), |mtu| mtu.to_string());
            return bad(
                "mtu",
                format!("packets of {full} octets need {}, the path takes {path}", outer(full)),
                format!("set `underlay_mtu = {path}`, or raise the MTU on the way"),
            );
        }
        let (mut passes, mut lost) = (SMALL, full);
        for _ in 0..NARROWINGS {
            let middle = usize::midpoint(passes, lost);
            match self.attempts(1, middle) {
                Some(_) => passes = middle,
                None => lost = middle,
            }
        }
        bad(
            "mtu",
            format!(
                "datagrams of {} octets pass, of {} are lost without a word, there or on the way back",
                outer(passes),
                outer(lost)
            ),
            format!("set `underlay_mtu = {}` on both hosts, or let ICMP pass on the way", outer(passes)),
        )
    }

    /// Nothing has answered: what can be told of why.
    fn is_silent(&mut self, findings: &mut Vec<Finding>) {
        let remote = self.target.remote;
        if let Some(errno) = self.last_refusal() {
            let error = io::Error::from_raw_os_error(errno);
            if errno == libc::ECONNREFUSED {
                findings.push(good("host", format!("{} is there: it refuses the datagrams", remote.ip())));
                findings.push(bad(
                    "l4-port",
                    format!("nobody listens at {remote}"),
                    "start the peer's tunnel, or give both ends the same `port`".to_owned(),
                ));
            } else {
                let next =
                    "look at the routes, the neighbours and the firewalls between the hosts".to_owned();
                findings.push(bad("host", format!("{} is not reached: {error}", remote.ip()), next));
            }
            return;
        }
        let is_there = self.heard.datagrams > 0 || self.host_answers();
        findings.push(if is_there {
            good("host", format!("{} is there", remote.ip()))
        } else {
            let next = "see whether it is up and whether a firewall drops datagrams";
            unknown("host", format!("nothing came from {}", remote.ip()), next)
        });
        match (self.target.framing, self.heard.ours, self.heard.other_vni) {
            (Framing::Vxlan(vni), 0, Some(other)) => findings.push(bad(
                "vni",
                format!("the peer's datagrams are of VNI {other}, ours of {}", vni.number()),
                "give both ends the same `vni`".to_owned(),
            )),
            (Framing::Vxlan(_), 0, None) => findings.push(unknown(
                "vni",
                "no datagram of the peer's came; one of a wrong VNI is dropped there without a word"
                    .to_owned(),
                "compare `vni` at both ends",
            )),
            (Framing::Vxlan(_) | Framing::Bare, _, _) => {}
        }
        findings.push(self.without_checksum());
        let next =
            "name a station behind the peer that answers with --inner; compare ports, VNI and firewalls";
        findings.push(unknown(
            "answers",
            format!("{} questions, no answer", self.number),
            if self.target.questions.is_empty() {
                "name a station behind the peer with --inner"
            } else {
                next
            },
        ));
    }

    /// Whether leaving the checksum out brings an answer: then it was that.
    fn without_checksum(&mut self) -> Finding {
        if self.heard.mangled > 0 {
            return mangled_on_the_way("the peer's datagrams come with a wrong UDP checksum".to_owned());
        }
        if self.target.local.is_ipv6() {
            return unknown("checksum", "cannot be told over IPv6, which wants one".to_owned(), "");
        }
        let is_left_out = datagram::leave_out_checksums(self.sender.socket.as_fd()).is_ok();
        if is_left_out && self.attempts(1, SMALL).is_some() {
            return mangled_on_the_way("answers come only to datagrams without a UDP checksum".to_owned());
        }
        unknown("checksum", "no answer with one or without".to_owned(), "")
    }

    /// Whether the peer's host refuses a datagram to a UDP port that nobody has.
    fn host_answers(&self) -> bool {
        let closed = SocketAddr::new(self.target.remote.ip(), CLOSED_L4_PORT);
        let Ok(other) = Sender::open(self.target.local_ip(), closed) else { return false };
        let begun = Instant::now();
        if other.send(&[0]).is_err() {
            return false;
        }
        while begun.elapsed() < PATIENCE {
            if other.socket.set_read_timeout(Some(PATIENCE)).is_err() {
                return false;
            }
            // The refusal interrupts the call; nobody sends anything to this socket.
            if let Err(error) = other.socket.recv(&mut [0]) {
                return error.raw_os_error() == Some(libc::ECONNREFUSED);
            }
        }
        false
    }
}

/// A connected UDP socket: it hears what the network says of its datagrams, and does not fragment them.
struct Sender {
    socket: UdpSocket,
    is_ipv6: bool,
}

impl Sender {
    fn open(local: IpAddr, remote: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
        let is_ipv6 = local.is_ipv6();
        datagram::mind_the_path(socket.as_fd(), is_ipv6)?;
        datagram::set_ttl(socket.as_fd(), is_ipv6, OUTER_TTL)?;
        socket.connect(remote)?;
        Ok(Self { socket, is_ipv6 })
    }

    /// Sends; a refusal of an earlier datagram does not count as one of this.
    fn send(&self, payload: &[u8]) -> io::Result<()> {
        match self.socket.send(payload) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {
                self.socket.send(payload).map(drop)
            }
            other => other.map(drop),
        }
    }

    /// The octets of an IP packet that the way is known to take.
    fn path_mtu(&self) -> Option<u32> {
        datagram::path_mtu(self.socket.as_fd(), self.is_ipv6).ok()
    }

    /// What the network has said since.
    fn refusals(&self) -> Vec<(i32, u32)> {
        let mut said = Vec::new();
        // A queue is bounded by the socket's buffer; each turn takes one out.
        while let Ok(Some(complaint)) = datagram::take_complaint(self.socket.as_fd()) {
            said.push((complaint.errno, complaint.mtu));
        }
        said
    }
}

/// A raw socket that hears the peer's datagrams.
struct Listener {
    socket: UdpSocket,
    local: SocketAddr,
    remote: IpAddr,
    buffer: Vec<u8>,
}

impl Listener {
    fn open(target: &Target) -> io::Result<Self> {
        let (local, remote) = (target.local, target.remote.ip());
        let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::UDP))?;
        // An ICMP error or a long queue costs answers, which is what attempts are for.
        let _ = socket.set_recv_buffer_size(1 << 20);
        socket.bind(&SocketAddr::new(local.ip(), 0).into())?;
        socket.connect(&SocketAddr::new(remote, 0).into())?;
        // std's socket reads from any descriptor; it is a raw one all the same.
        let socket = UdpSocket::from(std::os::fd::OwnedFd::from(socket));
        Ok(Self { socket, local, remote, buffer: vec![0; 1 << 16] })
    }

    /// Waits for a datagram to the tunnel, at most so long; the number of the question that it answers.
    fn hear(&mut self, rest: Duration, asker: &Asker, tally: &mut Tally) -> Option<u16> {
        // A timeout of zero would mean none; a short one lets the error queue be looked at.
        let slice = rest.clamp(Duration::from_millis(1), PATIENCE / 10);
        self.socket.set_read_timeout(Some(slice)).ok()?;
        let len = self.socket.recv(&mut self.buffer).ok()?;
        let datagram = udp_of(&self.buffer[..len], self.local.is_ipv4())?;
        let l4_port = u16::from_be_bytes([*datagram.get(2)?, *datagram.get(3)?]);
        if l4_port != self.local.port() {
            return None;
        }
        tally.datagrams += 1;
        match Checksum::of(datagram, self.remote, self.local.ip()) {
            Checksum::Wrong => tally.mangled += 1,
            Checksum::Right => tally.summed += 1,
            Checksum::Absent | Checksum::Unfinished => {}
        }
        match asker.hear(datagram.get(UDP_LEN..)?) {
            Heard::Answer(number) => {
                tally.ours += 1;
                Some(number)
            }
            Heard::Other => {
                tally.ours += 1;
                None
            }
            Heard::OtherVni(vni) => {
                tally.other_vni = Some(vni);
                None
            }
            Heard::Nonsense => None,
        }
    }
}

/// The datagram in what a raw socket gives: IPv4 with its header, IPv6 without.
fn udp_of(octets: &[u8], is_v4: bool) -> Option<&[u8]> {
    if !is_v4 {
        return Some(octets);
    }
    octets.get(usize::from(octets.first()? & 15) * 4..)
}

/// What stands in a datagram's checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Right,
    Wrong,
    Absent,
    /// The sum of the pseudo-header alone: it has come from this machine, and nobody had to finish it.
    Unfinished,
}

impl Checksum {
    fn of(datagram: &[u8], src: IpAddr, dst: IpAddr) -> Self {
        let Some(&[_, _, _, _, _, _, a, b]) = datagram.first_chunk::<UDP_LEN>() else { return Self::Wrong };
        let field = u16::from_be_bytes([a, b]);
        if field == 0 {
            return Self::Absent;
        }
        let Ok(len) = u16::try_from(datagram.len()) else { return Self::Unfinished };
        let pseudo = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Sum::pseudo_v4(src.octets(), dst.octets(), UDP, len),
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Sum::pseudo_v6(src.octets(), dst.octets(), UDP, u32::from(len))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Self::Unfinished,
        };
        if pseudo.folded() == field {
            return Self::Unfinished;
        }
        if (pseudo + Sum::of(datagram)).is_intact() { Self::Right } else { Self::Wrong }
    }
}

/// UDP's protocol number.
const UDP: u8 = wire::headers::PROTOCOL_UDP;

fn finding(check: &str, judgement: Judgement, text: String, next: impl Into<String>) -> Finding {
    Finding { check: check.to_owned(), judgement, text, next: next.into() }
}

fn good(check: &str, text: String) -> Finding {
    finding(check, Judgement::Good, text, "")
}

fn bad(check: &str, text: String, next: String) -> Finding {
    finding(check, Judgement::Bad, text, next)
}

fn unknown(check: &str, text: String, next: &str) -> Finding {
    finding(check, Judgement::Unknown, text, next)
}

fn mangled_on_the_way(text: String) -> Finding {
    let next = "a driver or a device on the way computes it wrongly: on both hosts try `ethtool -K INTERFACE tx off`";
    bad("checksum", text, next.to_owned())
}

fn no_route(target: &Target, error: &io::Error) -> Finding {
    let text = format!("this host cannot send from {} to {}: {error}", target.local_ip(), target.remote.ip());
    let next = "see `ip route get` for the peer's address, and whether `local` is an address of this host";
    bad("route", text, next.to_owned())
}

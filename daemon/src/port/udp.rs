//! The driver of underlays: UDP sockets by which tunnels reach their remote ends, all ends of one underlay by the same.
//!
//! ```text
//!  send:     payloads ─▶ pieces: headers written beside, data where they lie ─▶ groups: one place, mark, length
//!                     ─▶ one sendmmsg a socket, one message a group (UDP_SEGMENT, scatter-gather)
//!  receive:  one recvmmsg ─▶ messages, each of one datagram or of several that the kernel had joined (UDP_GRO)
//! ```
//!
//! Datagrams of one length to one place leave as one message, which the kernel cuts as late as it can, or never if the
//! receiver is on this machine and joins. A payload whose inner frame is a super-segment is cut here ([`Pieces`]), so
//! that nothing is copied but headers. Datagrams to one place with one mark and one flow keep their order; others may
//! overtake each other, as they may on the way.
//!
//! The source L4 port: what arrives comes to the socket of the L4 port that the plan names. Where the format's receivers
//! do not look at the source (VXLAN, RFC 7348 §5), what leaves does so by one of [`SOURCES_MAX`] sockets with L4 ports that
//! the kernel chose, by the inner flow's hash, so that the network may spread flows over links and queues; these
//! sockets hear nothing. Where they may look (flannel's UDP format) it leaves by the first.
//!
//! Don't-fragment is set, and what the kernel learns about the path's MTU from ICMP holds: longer datagrams are refused and
//! counted. Other ICMP errors say that an end is away; they are counted ([`Underlay::troubles`]), the call that they
//! interrupt is made again, and nothing is given up. A kernel that cannot cut (EINVAL, or EIO on an interface without
//! checksum offload) is asked once: as soon as the same datagrams have passed one by one it is not asked again, which
//! [`Underlay::mode`] says.
//!
//! Receiving belongs to one worker, sending to all: [`Underlay::queues`]. Limits: [`TROUBLES_MAX`], [`RECEIVE_BUFFER`],
//! [`SEND_BUFFER`].

mod batch;
mod tunnel_gso;

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use encap::plan::OUTER_TTL;
use wire::segment::{Carried, Pieces};
use wire::{DropReason, Ecn, FlowHash, FrameBuf, FramePool, Instant};

use crate::sys::clock;
use crate::sys::datagram::{self, Arrived, MESSAGES_MAX, Message};
use crate::sys::tried;
use batch::{Batch, Item, PIECES_MAX, Place, Run};
use tunnel_gso::{Outside, TunnelGso};

/// Octets that may wait for the worker, half of what the kernel then reckons its own structures in. Beyond it the kernel
/// drops, counted.
pub const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
/// Octets on their way out, likewise, of each socket. Beyond it sending says "no room".
pub const SEND_BUFFER: usize = 4 * 1024 * 1024;
/// Sockets with source L4 ports of their own.
pub const SOURCES_MAX: usize = 8;
/// Remote ends whose errors are remembered; those of a further one are not.
pub const TROUBLES_MAX: usize = 4_096;

/// Times that a call is made again because somebody's complaint has interrupted it. Then the datagram is lost.
const COMPLAINTS_IN_A_ROW_MAX: usize = 3;
/// Octets of the headers of a super-segment, tunnel's included: IPv4 or IPv6 with extension headers, TCP with options.
/// One with more is refused as malformed.
const HEAD_MAX: usize = 512;
/// Octets of complaints that may wait in a socket that hears nothing else.
const COMPLAINT_BUFFER: usize = 64 * 1024;
/// Octets that one call is to receive: small datagrams come many a call, large ones few, or they would push each other
/// out of the cache before they are handled.
const RECEIVE_BYTES: usize = 256 * 1024;
const RECEIVE_MESSAGES_MIN: usize = 4;

/// The sockets of one underlay, before its queues are given to workers, and after it what became of them.
#[derive(Clone, Debug)]
pub struct Underlay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The first receives; what is to be sent leaves by the others, if there are any.
    sockets: Vec<OwnedFd>,
    /// What each is bound to.
    locals: Vec<SocketAddr>,
    carried: Carried,
    has_segments: AtomicBool,
    joins: bool,
    /// The way for super-segments that leave whole, once it was wanted, and whether it is taken.
    whole: OnceLock<TunnelGso>,
    is_whole: AtomicBool,
    troubles: Mutex<BTreeMap<SocketAddr, Trouble>>,
}

/// What was said of datagrams to one remote end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trouble {
    /// How often an ICMP error, or this host's own routing, said that it is not reached.
    pub unreachable: u64,
    /// The last such error's number; ECONNREFUSED: nobody listens there.
    pub errno: i32,
    /// How often a datagram was longer than the path takes.
    pub too_long: u64,
    /// The octets of an IP packet that the path was last said to take; 0 if nothing was said.
    pub path_mtu: u32,
    /// When it was last said that it is not reached.
    pub at: Instant,
}

impl Underlay {
    /// Opens the sockets in the namespace of the calling thread. `carried` says what the payloads are.
    ///
    /// # Errors
    /// EADDRINUSE if somebody has the L4 port, EADDRNOTAVAIL if the address is not this host's.
    pub fn open(local: SocketAddr, carried: Carried) -> io::Result<Self> {
        let doing = || tried(format!("opening UDP socket {local}"));
        let first = datagram::open(local).map_err(doing())?;
        datagram::receive_tos(first.as_fd(), local.is_ipv6()).map_err(doing())?;
        let joins = datagram::receive_joined(first.as_fd()).is_ok();
        let mut sockets = vec![first];
        let sources = match carried {
            Carried::Frame(_) => SOURCES_MAX,
            Carried::Packet => 0,
        };
        for _ in 0..sources {
            let source = datagram::open(SocketAddr::new(local.ip(), 0)).map_err(doing())?;
            datagram::hear_nothing(source.as_fd()).map_err(doing())?;
            sockets.push(source);
        }
        for (number, socket) in sockets.iter().enumerate() {
            let receive = if number == 0 { RECEIVE_BUFFER } else { COMPLAINT_BUFFER };
            datagram::set_buffers(socket.as_fd(), receive, SEND_BUFFER).map_err(doing())?;
            datagram::mind_the_path(socket.as_fd(), local.is_ipv6()).map_err(doing())?;
            datagram::set_ttl(socket.as_fd(), local.is_ipv6(), OUTER_TTL).map_err(doing())?;
        }
        let has_segments = AtomicBool::new(datagram::takes_segments(sockets[0].as_fd()));
        let locals = sockets.iter().map(|socket| datagram::local(socket.as_fd())).collect::<io::Result<_>>();
        Ok(Self(Arc::new(Shared {
            locals: locals.map_err(doing())?,
            sockets,
            carried,
            has_segments,
            joins,
            whole: OnceLock::new(),
            is_whole: AtomicBool::new(false),
            troubles: Mutex::default(),
        })))
    }

    /// Makes what super-segments need to leave whole ([`tunnel_gso`]), if what is carried are frames. To be called in the
    /// namespace of the sockets.
    ///
    /// # Errors
    /// If this kernel cannot, or it is not allowed.
    pub fn prepare_whole(&self) -> io::Result<()> {
        if matches!(self.0.carried, Carried::Frame(_)) && self.0.whole.get().is_none() {
            // Who was quicker has made the same.
            drop(self.0.whole.set(TunnelGso::open()?));
        }
        Ok(())
    }

    /// Whether super-segments leave whole from now on, if that has been prepared.
    pub fn pass_whole(&self, is_whole: bool) {
        self.0.is_whole.store(is_whole && self.0.whole.get().is_some(), Ordering::Relaxed);
    }

    /// The queues of so many workers, in their order. The first one's receives too.
    pub fn queues(&self, workers: usize) -> Vec<UnderlayQueue> {
        (0..workers).map(|worker| UnderlayQueue::new(Arc::clone(&self.0), worker == 0)).collect()
    }

    /// How datagrams leave: `tunnel-gso`, super-segments whole; `gso`, cut by the kernel; or `single` where it cannot.
    pub fn mode(&self) -> &'static str {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        match (is(&self.0.is_whole), is(&self.0.has_segments)) {
            (true, _) => "tunnel-gso",
            (false, true) => "gso",
            (false, false) => "single",
        }
    }

    /// Whether the kernel hands over datagrams joined.
    pub fn joins(&self) -> bool {
        self.0.joins
    }

    /// What was said of datagrams to these ends.
    pub fn troubles(&self) -> BTreeMap<SocketAddr, Trouble> {
        self.0.hear_all_complaints();
        self.0.troubles().clone()
    }
}

impl Shared {
    fn troubles(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a complaint, if there is room. That this host has none at the moment is none about the other end.
    fn remember(&self, to: SocketAddr, errno: i32, mtu: Option<u32>) {
        if matches!(errno, libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM) {
            return;
        }
        let mut troubles = self.troubles();
        if troubles.len() >= TROUBLES_MAX && !troubles.contains_key(&to) {
            return;
        }
        let trouble = troubles.entry(to).or_default();
        if errno == libc::EMSGSIZE {
            trouble.path_mtu = mtu.unwrap_or(trouble.path_mtu);
            trouble.too_long += 1;
        } else {
            trouble.unreachable += 1;
            trouble.errno = errno;
            trouble.at = clock::now();
        }
    }

    /// The way on which a payload leaves whole, if it does.
    fn whole_way(&self, place: &Place, out: &Outgoing<'_>) -> Option<(&TunnelGso, Outside)> {
        if !out.payload.offload.is_super_segment() || !self.is_whole.load(Ordering::Relaxed) {
            return None;
        }
        let outside = Outside { from: self.locals[place.socket], to: out.to, ecn: out.ecn };
        let is_narrow = || self.troubles().get(&out.to).is_some_and(|trouble| trouble.too_long > 0);
        let way = self.whole.get()?;
        (TunnelGso::takes(&outside, out.payload) && !is_narrow()).then_some((way, outside))
    }

    /// The way failed. Sockets have all from now on, unless it only had no room.
    fn leave_whole_way(&self, error: &io::Error) {
        let is_full = error.kind() == io::ErrorKind::WouldBlock
            || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM));
        if !is_full && self.is_whole.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "super-segments cannot leave tunnels whole: they are cut here, which is slower");
        }
    }

    fn hear_all_complaints(&self) {
        for socket in 0..self.sockets.len() {
            self.hear_complaints(socket);
        }
    }

    /// Takes all complaints that wait in the socket, so that no later call is interrupted by them. How many there were.
    fn hear_complaints(&self, socket: usize) -> usize {
        let mut heard = 0;
        // A socket's queue is bounded by its receive buffer; each turn takes one out.
        while let Ok(Some(complaint)) = datagram::take_complaint(self.sockets[socket].as_fd()) {
            heard += 1;
            if let Some(to) = complaint.to {
                self.remember(to, complaint.errno, Some(complaint.mtu));
            }
        }
        heard
    }
}

/// A payload on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// What the outer header says of congestion.
    pub ecn: Ecn,
    /// The inner flow.
    pub flow: FlowHash,
    /// What. Its checksums are finished unless it is a super-segment.
    pub payload: &'a FrameBuf,
}

/// A message that has come in.
#[derive(Debug)]
pub struct Incoming {
    /// Who sent it.
    pub from: SocketAddr,
    /// What the outer header says of congestion.
    pub ecn: Ecn,
    /// Octets of each datagram in it, the last one's at most; 0: it is one datagram.
    pub segment: usize,
    /// The datagrams, one behind the other.
    pub payload: FrameBuf,
}

/// One worker's end of an underlay.
#[derive(Debug)]
pub struct UnderlayQueue {
    shared: Arc<Shared>,
    receives: bool,
    batch: Batch,
    /// Empty between calls.
    messages_out: Vec<Message>,
    /// Buffers for the next call.
    spare: Vec<FrameBuf>,
    /// How many messages the next call takes.
    messages: usize,
    drops_seen: u32,
    unrouted_seen: u64,
}

/// Why a payload, or a piece of it, was not sent.
#[derive(Debug)]
pub enum Unsent {
    /// The kernel said so.
    Io(io::Error),
    /// Its offload metadata contradict its headers.
    Malformed(DropReason),
}

impl UnderlayQueue {
    fn new(shared: Arc<Shared>, receives: bool) -> Self {
        let has_segments = shared.has_segments.load(Ordering::Relaxed);
        Self {
            shared,
            receives,
            batch: Batch::new(has_segments),
            messages_out: Vec::new(),
            spare: Vec::new(),
            messages: MESSAGES_MAX,
            drops_seen: 0,
            unrouted_seen: 0,
        }
    }

    /// Whether datagrams arrive here.
    pub fn receives(&self) -> bool {
        self.receives
    }

    /// What to wait on: datagrams arrive at the first, errors at all of them. Nothing if this queue only sends.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let waits_on = if self.receives { &self.shared.sockets[..] } else { &[] };
        waits_on.iter().map(OwnedFd::as_fd)
    }

    /// Takes the errors that wait at any of its sockets. Whoever waits on [`Self::fds`] calls this at once when one has
    /// an error, so that [`Trouble::at`] is the time when it came.
    pub fn hear_complaints(&self) {
        self.shared.hear_all_complaints();
    }

    /// Receives what is there, as much as one call takes, into buffers from `pool`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is nothing. Others are this host's trouble, not the socket's end.
    pub fn receive(&mut self, pool: &mut FramePool, into: &mut Vec<Incoming>) -> io::Result<()> {
        while self.spare.len() < self.messages {
            self.spare.push(pool.take());
        }
        let mut arrived = [None; MESSAGES_MAX];
        let mut again = 0;
        let count = loop {
            let mut rooms = self.spare[..self.messages].iter_mut();
            let mut rooms: [IoSliceMut<'_>; MESSAGES_MAX] = std::array::from_fn(|_| {
                IoSliceMut::new(rooms.next().map_or(&mut [], |frame| frame.payload_area()))
            });
            let socket = self.shared.sockets[0].as_fd();
            match datagram::receive(socket, &mut rooms[..self.messages], &mut arrived) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => {
                    self.shared.hear_complaints(0);
                    again += 1;
                    if again > COMPLAINTS_IN_A_ROW_MAX {
                        return Err(error);
                    }
                }
            }
        };
        let mut octets = 0;
        for (at, what) in arrived[..count].iter().enumerate() {
            let Some(Arrived { len, from, tos, segment, .. }) = *what else { continue };
            let mut payload = std::mem::replace(&mut self.spare[at], pool.take());
            payload.payload_received(len);
            octets += len;
            into.push(Incoming { from, ecn: Ecn::of(tos), segment: usize::from(segment), payload });
        }
        self.messages = (RECEIVE_BYTES * count / octets.max(1)).clamp(RECEIVE_MESSAGES_MIN, MESSAGES_MAX);
        Ok(())
    }

    /// How many datagrams found no room, or were damaged, since this was last asked.
    pub fn take_overruns(&mut self) -> u64 {
        if !self.receives {
            return 0;
        }
        let Ok(drops) = datagram::drops(self.shared.sockets[0].as_fd()) else { return 0 };
        u64::from(drops.wrapping_sub(std::mem::replace(&mut self.drops_seen, drops)))
    }

    /// How many super-segments that left whole had no way, since this was last asked.
    pub fn take_unrouted(&mut self) -> u64 {
        let Some(whole) = self.shared.whole.get().filter(|_| self.receives) else { return 0 };
        let unrouted = whole.unrouted();
        unrouted.saturating_sub(std::mem::replace(&mut self.unrouted_seen, unrouted))
    }

    /// Sends the payloads that `outgoing` gives for 0, 1, … up to `count`. What could not be sent is told with the
    /// payload's number, once for each datagram.
    pub fn send<'a>(
        &mut self,
        count: usize,
        outgoing: impl Fn(usize) -> Outgoing<'a>,
        mut lost: impl FnMut(usize, &Unsent),
    ) {
        let shared = Arc::clone(&self.shared);
        for at in 0..count {
            let out = outgoing(at);
            let place = self.place(&out);
            if let Some((way, outside)) = shared.whole_way(&place, &out) {
                self.flush(&outgoing, &mut lost); // What came before it leaves before it.
                match way.send(&outside, out.payload) {
                    Ok(()) => continue,
                    Err(error) => shared.leave_whole_way(&error),
                }
            }
            let pieces = match Pieces::of(out.payload, self.shared.carried) {
                Ok(Some(pieces)) => pieces,
                Ok(None) => {
                    self.make_room(&outgoing, &mut lost);
                    self.batch.add(place, at, &[], 0..out.payload.len());
                    continue;
                }
                Err(reason) => {
                    lost(at, &Unsent::Malformed(reason));
                    continue;
                }
            };
            let mut head = [0; HEAD_MAX];
            let Some(head) = head.get_mut(..pieces.head_len()) else {
                lost(at, &Unsent::Malformed(DropReason::BadSuperSegment));
                continue;
            };
            for index in 0..pieces.count() {
                self.make_room(&outgoing, &mut lost);
                pieces.write_head(out.payload, index, head);
                self.batch.add(place, at, head, pieces.data(index));
            }
        }
        self.flush(&outgoing, &mut lost);
    }

    fn place(&self, out: &Outgoing<'_>) -> Place {
        let sources = self.shared.sockets.len() - 1;
        let socket = if sources == 0 { 0 } else { 1 + out.flow.owner(sources) };
        Place { socket, to: out.to, ecn: out.ecn }
    }

    /// Sends what has been gathered if no further piece fits.
    fn make_room<'a>(
        &mut self,
        outgoing: &impl Fn(usize) -> Outgoing<'a>,
        lost: &mut impl FnMut(usize, &Unsent),
    ) {
        if self.batch.is_full() {
            self.flush(outgoing, lost);
        }
    }

    fn flush<'a>(
        &mut self,
        outgoing: &impl Fn(usize) -> Outgoing<'a>,
        lost: &mut impl FnMut(usize, &Unsent),
    ) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch); // Its room comes back below.
        batch.lay_out();
        let slices_of = |item: &Item| {
            let data = &outgoing(item.payload).payload.bytes()[item.data.clone()];
            [IoSlice::new(batch.head(item)), IoSlice::new(data)]
        };
        let mut slices = [IoSlice::new(&[]); 2 * PIECES_MAX];
        let mut filled = 0;
        for run in batch.runs() {
            let from = filled;
            for slice in batch.items(run).flat_map(slices_of).filter(|slice| !slice.is_empty()) {
                slices[filled] = slice;
                filled += 1;
            }
            self.messages_out.push(run.message(from..filled));
        }
        let mut at = 0;
        while let Some(run) = batch.runs().get(at) {
            let end = batch.runs().partition_point(|other| other.place.socket <= run.place.socket);
            match self.call(run.place.socket, &self.messages_out[at..end], &slices) {
                Ok(sent) => at += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let error = Unsent::Io(error);
                    let items = batch.runs()[at..end].iter().flat_map(|run| batch.items(run));
                    items.for_each(|item| lost(item.payload, &error));
                    at = end;
                }
                Err(error) => {
                    self.one_by_one(run, error, batch.items(run), slices_of, lost);
                    at += 1;
                }
            }
        }
        self.messages_out.clear();
        batch.clear();
        batch.set_joins(self.shared.has_segments.load(Ordering::Relaxed));
        self.batch = batch;
    }

    /// Sends messages by one socket, again if somebody's complaint about an earlier one has interrupted it.
    fn call(&self, socket: usize, messages: &[Message], slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut again = 0;
        loop {
            match datagram::send(self.shared.sockets[socket].as_fd(), messages, slices) {
                Err(error)
                    if error.kind() != io::ErrorKind::WouldBlock
                        && self.shared.hear_complaints(socket) > 0
                        && again < COMPLAINTS_IN_A_ROW_MAX =>
                {
                    again += 1;
                }
                Ok(sent) => {
                    if sent < messages.len() {
                        // The kernel keeps to itself what is wrong with the next, which may have been a complaint.
                        self.shared.hear_complaints(socket);
                    }
                    return Ok(sent);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the datagrams of a message that was refused, each on its own. If all pass it was the kernel's cutting that
    /// failed, and it is not asked again.
    fn one_by_one<'i, 's>(
        &self,
        run: &Run,
        refusal: io::Error,
        items: impl Iterator<Item = &'i Item>,
        slices_of: impl Fn(&Item) -> [IoSlice<'s>; 2],
        lost: &mut impl FnMut(usize, &Unsent),
    ) {
        let is_about_cutting =
            run.count > 1 && matches!(refusal.raw_os_error(), Some(libc::EINVAL | libc::EIO));
        let mut refusal = Some(refusal);
        let mut lost_any = false;
        for item in items {
            let alone = Message { segment: 0, ..run.message(0..2) };
            let outcome = match refusal.take_if(|_| run.count == 1) {
                Some(refusal) => Err(refusal), // It was alone already.
                None => self.call(run.place.socket, &[alone], &slices_of(item)),
            };
            if let Err(error) = outcome {
                lost_any = true;
                self.shared.remember(run.place.to, error.raw_os_error().unwrap_or(0), None);
                lost(item.payload, &Unsent::Io(error));
            }
        }
        if is_about_cutting && !lost_any && self.shared.has_segments.swap(false, Ordering::Relaxed) {
            let why = refusal.map_or_else(String::new, |error| error.to_string());
            tracing::warn!(%why, "the kernel does not cut datagrams here: they are sent one by one, which is slower");
        }
    }
}

#[cfg(test)]
mod tests;

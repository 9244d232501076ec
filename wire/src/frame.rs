//! Frame buffers: one allocation each, recycled, with room in front for a virtio header and a tunnel's headers.
//!
//! ```text
//!  |<------------ HEADROOM ------------>|<---- frame, at most FRAME_MAX ---->|
//!  | … room to prepend … | virtio (24)  | dst | src | type | payload …       |
//!                        ^ head − 24    ^ head                              ^ head + len
//! ```
//!
//! The virtio header is read into and written from the 24 octets just before the frame, so that a TAP read or
//! write is one contiguous system call whatever was pushed or popped in between.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ethernet;
use crate::offload::{Gso, Offload, VNET_HDR_LEN};

/// Octets before a fresh frame: a VXLAN-in-IPv6 tunnel (70), a VLAN tag and the virtio header, rounded up so that
/// the IP header behind the 14-octet Ethernet header is 16-octet aligned relative to the allocation.
pub const HEADROOM: usize = 130;

/// The longest frame: a 64 KiB super-segment behind an Ethernet header and one VLAN tag. The kernel gives none that is
/// longer; [`FrameBuf::fill`] refuses one, and a capture that holds one is not replayed.
pub const FRAME_MAX: usize = ethernet::HEADER_LEN + ethernet::TAG_LEN + 65_535;

const STORAGE_LEN: usize = HEADROOM + FRAME_MAX;

/// One frame and its offload metadata. Moving it moves a pointer.
#[derive(Clone, Debug)]
pub struct FrameBuf {
    storage: Box<[u8]>,
    head: usize,
    len: usize,
    /// What the frame's sender left unfinished.
    pub offload: Offload,
}

/// The octets and the offload metadata. The headroom is whole again afterwards.
impl Serialize for FrameBuf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.bytes(), self.offload).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FrameBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, offload): (Vec<u8>, Offload) = Deserialize::deserialize(deserializer)?;
        let mut frame = Self::allocate();
        if !frame.fill(&bytes) {
            return Err(serde::de::Error::custom("a frame is longer than any"));
        }
        frame.offload = offload;
        Ok(frame)
    }
}

impl FrameBuf {
    fn allocate() -> Self {
        Self {
            storage: vec![0; STORAGE_LEN].into_boxed_slice(),
            head: HEADROOM,
            len: 0,
            offload: Offload::NONE,
        }
    }

    /// The frame's octets, from the destination address on.
    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.head..self.head + self.len]
    }

    /// The frame's octets for editing in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.head..self.head + self.len]
    }

    /// Octets in the frame.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no frame has been stored yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces the frame with `bytes`, without offload metadata. Returns `false`, leaving the buffer empty, if they
    /// are more than [`FRAME_MAX`].
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        self.clear();
        let fits = bytes.len() <= FRAME_MAX;
        if fits {
            self.storage[HEADROOM - VNET_HDR_LEN..HEADROOM].fill(0);
            self.storage[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
            self.set_len(bytes.len());
        }
        fits
    }

    /// Empties the buffer and gives all headroom back.
    pub fn clear(&mut self) {
        self.head = HEADROOM;
        self.len = 0;
        self.offload = Offload::NONE;
    }

    /// Where a device with a virtio header writes: header and frame in one contiguous slice.
    /// Follow with [`FrameBuf::received`].
    pub fn receive_area(&mut self) -> &mut [u8] {
        self.clear();
        &mut self.storage[HEADROOM - VNET_HDR_LEN..]
    }

    /// Accepts `read` octets that a device put into [`FrameBuf::receive_area`]: header first, then the frame.
    /// The header stays where it is until [`FrameBuf::parse_offload`] reads it.
    pub fn received(&mut self, read: usize) {
        self.set_len(read.saturating_sub(VNET_HDR_LEN).min(FRAME_MAX));
    }

    /// Where a socket writes a datagram's payload. Follow with [`FrameBuf::payload_received`].
    pub fn payload_area(&mut self) -> &mut [u8] {
        self.clear();
        &mut self.storage[HEADROOM..]
    }

    /// Accepts `read` octets that a socket put into [`FrameBuf::payload_area`], without offload metadata.
    pub fn payload_received(&mut self, read: usize) {
        self.set_len(read.min(FRAME_MAX));
    }

    /// The frame as the device gave it, its virtio header in front: until [`FrameBuf::parse_offload`] and what follows
    /// change it.
    pub fn as_received(&self) -> &[u8] {
        &self.storage[self.head - VNET_HDR_LEN..self.head + self.len]
    }

    /// Reads the virtio header in front of the frame into [`FrameBuf::offload`].
    ///
    /// # Errors
    /// As [`Offload::parse`] and [`Offload::check`].
    pub fn parse_offload(&mut self) -> Result<(), crate::DropReason> {
        let at = self.head - VNET_HDR_LEN;
        let header: &[u8; VNET_HDR_LEN] =
            self.storage[at..].first_chunk().expect("headroom holds the header");
        self.offload = Offload::parse(header)?;
        self.offload.check(self.len())
    }

    /// Header and frame in one contiguous slice, as a device with a virtio header takes them.
    pub fn send_area(&mut self) -> &[u8] {
        let at = self.head - VNET_HDR_LEN;
        let header = self.storage[at..].first_chunk_mut().expect("headroom holds the header");
        self.offload.emit(header);
        &self.storage[at..self.head + self.len]
    }

    /// Octets of the frame as it is on a wire: of the whole frame, or of a super-segment's longest segment (headers
    /// and `gso_size` octets of payload). A super-segment whose headers do not fit it counts as it stands.
    pub fn segment_len(&self) -> usize {
        let l4 = usize::from(self.offload.csum_start);
        let l4_header = match self.offload.gso {
            Gso::None => return self.len(),
            Gso::UdpL4 => Some(8),
            Gso::TcpV4 | Gso::TcpV6 => self.bytes().get(l4 + 12).map(|octet| usize::from(octet >> 4) * 4),
        };
        match l4_header {
            Some(l4_header) => self.len().min(l4 + l4_header + usize::from(self.offload.gso_size)),
            None => self.len(),
        }
    }

    /// Makes room for `octets` more in front; `None` if the headroom (less the virtio header) is used up.
    /// The new octets are whatever was there before: the caller writes them.
    pub fn prepend(&mut self, octets: usize) -> Option<&mut [u8]> {
        let room = self.head - VNET_HDR_LEN;
        if octets > room {
            return None;
        }
        self.head -= octets;
        self.len += octets;
        Some(&mut self.bytes_mut()[..octets])
    }

    /// Cuts `octets` from the front, as when a header is popped; at most all of the frame.
    pub fn advance(&mut self, octets: usize) {
        let octets = octets.min(self.len());
        self.head += octets;
        self.len -= octets;
    }

    /// Appends `bytes`. Returns `false`, leaving the frame as it is, if the buffer ends before they do.
    pub fn extend(&mut self, bytes: &[u8]) -> bool {
        let end = self.head + self.len;
        let room = self.storage.get_mut(end..end + bytes.len());
        let fits = room.is_some();
        if let Some(room) = room {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
        fits
    }

    /// Shortens the frame to `len` octets; longer is ignored.
    pub fn truncate(&mut self, len: usize) {
        self.set_len(len.min(self.len()));
    }

    /// Makes this a copy of `other`, offload metadata included.
    pub fn copy_from(&mut self, other: &Self) {
        self.head = other.head;
        self.len = other.len;
        self.offload = other.offload;
        let (from, to) = (self.head, self.head + self.len);
        self.storage[from..to].copy_from_slice(other.bytes());
    }

    fn set_len(&mut self, len: usize) {
        debug_assert!(len <= FRAME_MAX);
        self.len = len;
    }
}

/// Spare buffers, last in first out, so that the warmest is reused first.
///
/// Limit: at most [`FramePool::SPARE_MAX`] spares are kept; a buffer put back beyond that is freed. Taking from an
/// empty pool allocates, so a warm corridor never does.
#[derive(Debug, Default)]
pub struct FramePool {
    spare: Vec<FrameBuf>,
}

impl FramePool {
    /// Spares kept: four bursts of 64 frames, 16 MiB once all have held super-segments. A further one is freed, and
    /// allocated again when it is needed.
    pub const SPARE_MAX: usize = 256;

    /// An empty buffer.
    pub fn take(&mut self) -> FrameBuf {
        self.spare.pop().map_or_else(FrameBuf::allocate, |mut frame| {
            frame.clear();
            frame
        })
    }

    /// Gives a buffer back.
    pub fn put(&mut self, frame: FrameBuf) {
        if self.spare.len() < Self::SPARE_MAX {
            self.spare.push(frame);
        }
    }

    /// Buffers waiting to be taken.
    pub fn spare_count(&self) -> usize {
        self.spare.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::{Gso, NEEDS_CSUM};

    fn frame(bytes: &[u8]) -> FrameBuf {
        let mut frame = FramePool::default().take();
        assert!(frame.fill(bytes));
        frame
    }

    #[test]
    fn what_a_device_sends_another_receives() {
        let mut sent = frame(b"destination source type payload");
        sent.offload =
            Offload { flags: NEEDS_CSUM, gso: Gso::UdpL4, gso_size: 9, csum_start: 20, ..Offload::NONE };
        let on_the_wire = sent.send_area().to_vec();

        let mut received = frame(&[0xa5; 200]);
        received.receive_area()[..on_the_wire.len()].copy_from_slice(&on_the_wire);
        received.received(on_the_wire.len());
        received.parse_offload().unwrap();
        assert_eq!(received.bytes(), sent.bytes());
        assert_eq!(received.offload, sent.offload);
        received.received(VNET_HDR_LEN - 1); // A read shorter than the header is an empty frame.
        assert!(received.is_empty());
    }

    #[test]
    fn a_filled_frame_has_no_metadata_left_over() {
        let mut frame = frame(b"old");
        frame.receive_area()[..VNET_HDR_LEN].fill(0xff);
        assert!(frame.fill(b"new"));
        frame.parse_offload().unwrap();
        assert_eq!(frame.offload, Offload::NONE);
    }

    #[test]
    fn what_is_prepended_is_advanced_over() {
        let mut frame = frame(b"inner");
        frame.prepend(6).unwrap().copy_from_slice(b"outer ");
        assert_eq!(frame.bytes(), b"outer inner");
        frame.advance(6);
        assert_eq!(frame.bytes(), b"inner");
        assert!(frame.prepend(HEADROOM).is_none());
        assert!(frame.prepend(HEADROOM - VNET_HDR_LEN).is_some());
        assert!(frame.prepend(1).is_none());
        frame.advance(usize::MAX);
        assert!(frame.is_empty());
    }

    #[test]
    fn a_buffer_ends_where_the_longest_frame_does() {
        let mut frame = frame(&[1; FRAME_MAX - 1]);
        assert!(!frame.extend(&[2, 3]));
        assert_eq!(frame.len(), FRAME_MAX - 1);
        assert!(frame.extend(&[2]));
        assert_eq!(frame.bytes()[FRAME_MAX - 2..], [1, 2]);
        assert!(!frame.fill(&[0; FRAME_MAX + 1]));
        assert!(frame.is_empty());
    }

    #[test]
    fn a_copy_is_alike_and_apart() {
        let mut original = frame(b"one");
        original.prepend(2).unwrap().copy_from_slice(b"a ");
        original.offload.flags = NEEDS_CSUM;
        let mut copy = frame(b"something longer");
        copy.copy_from(&original);
        assert_eq!((copy.bytes(), copy.offload), (original.bytes(), original.offload));
        copy.bytes_mut()[0] = b'b';
        copy.truncate(3);
        assert_eq!(original.bytes(), b"a one");
        copy.truncate(100);
        assert_eq!(copy.bytes(), b"b o");
    }

    #[test]
    fn the_pool_keeps_the_warmest_and_not_too_many() {
        let mut pool = FramePool::default();
        let frames: Vec<FrameBuf> = (0..=FramePool::SPARE_MAX).map(|_| pool.take()).collect();
        for mut frame in frames {
            assert!(frame.fill(b"used"));
            pool.put(frame);
        }
        assert_eq!(pool.spare_count(), FramePool::SPARE_MAX);
        let last = pool.take();
        assert!(last.is_empty());
        let place = last.bytes().as_ptr();
        pool.put(last);
        assert_eq!(pool.take().bytes().as_ptr(), place);
    }
}

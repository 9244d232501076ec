//! What a worker has read from a port and not handled yet: at most a burst of short frames, or a long one.
//!
//! ```text
//!  device ─▶ put, put, put … ─▶ join ─▶ take ─▶ node
//! ```
//!
//! Each frame that walks the corridor and leaves costs a system call on the other side. So frames of one burst that could
//! have been cut from one super-segment become it before they walk ([`Coalescer`], which says what may join); a burst of small datagrams
//! to one station is then written once. Nothing waits for frames that are not there yet: whoever reads stops when the
//! device is empty, as ever, and a frame that is alone passes untouched. A device that does not take super-segments gets
//! the frames back as they were (`slot`).
//!
//! Refuses to join: frames to a group, because limits count those one by one and each is flooded anyway; frames
//! whose virtio header is not sound, which the node refuses by name; frames that are super-segments already.
//!
//! Behind a frame longer than [`AHEAD_FRAME_LEN`] none is read, so that a super-segment is sent from a warm cache.
//! Limit: `BURST_FRAMES_MAX` of the reader.

use std::collections::VecDeque;

use wire::{Coalescer, FrameBuf, FramePool, Mac};

/// Octets of a frame behind which none is read before it has been sent.
const AHEAD_FRAME_LEN: usize = 2 * 1024;

/// Frames in the order in which they are to be handled.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    frames: VecDeque<FrameBuf>,
    /// Empty but for the time of [`Ahead::join`].
    coalescer: Coalescer,
}

/// Whether more frames may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    More,
    Last,
}

impl Ahead {
    /// Takes the next frame as the device gave it.
    pub(super) fn put(&mut self, frame: FrameBuf) -> Put {
        let is_long = frame.len() > AHEAD_FRAME_LEN;
        self.frames.push_back(frame);
        if is_long { Put::Last } else { Put::More }
    }

    /// Makes one of frames that belong together. Returns how many became part of others.
    pub(super) fn join(&mut self, pool: &mut FramePool) -> usize {
        let count = self.frames.len();
        if count < 2 {
            return 0;
        }
        for _ in 0..count {
            let Some(mut frame) = self.frames.pop_front() else { break };
            if may_join(&mut frame) {
                let frames = &mut self.frames;
                self.coalescer.push(frame, pool, |frame| frames.push_back(ready(frame)));
            } else {
                self.flush();
                self.frames.push_back(frame);
            }
        }
        self.flush();
        count - self.frames.len()
    }

    /// The next frame to handle.
    pub(super) fn take(&mut self) -> Option<FrameBuf> {
        self.frames.pop_front()
    }

    /// Puts what a panic may have left in the middle of joining behind the others.
    pub(super) fn flush(&mut self) {
        let frames = &mut self.frames;
        self.coalescer.flush(|frame| frames.push_back(ready(frame)));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FrameBuf> + Clone {
        self.frames.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

fn may_join(frame: &mut FrameBuf) -> bool {
    let is_to_one = frame.bytes().first_chunk().is_some_and(|dst| !Mac(*dst).is_group());
    is_to_one && frame.parse_offload().is_ok()
}

/// The node reads the virtio header again, so it must say what has become of the frame.
fn ready(mut frame: FrameBuf) -> FrameBuf {
    if frame.offload.is_super_segment() {
        frame.send_area();
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::checksum::Sum;
    use wire::offload::{Gso, VNET_HDR_LEN};
    use wire::{Headers, Offload};

    /// A UDP datagram over IPv4 of 20 octets, as a device without offloads gives it.
    fn datagram(dst: Mac, dst_l4_port: u8, mark: u8) -> Vec<u8> {
        let mut frame = [&dst.0[..], &[2, 0, 0, 0, 0, 1, 8, 0]].concat();
        frame.extend([0x45, 0, 0, 48, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x12, 0x34, 0x14, dst_l4_port, 0, 28, 0, 0]);
        frame.extend([mark; 20]);
        wire::ipv4::fill_checksum(&mut frame[14..34]);
        let pseudo = Headers::parse(&frame).unwrap().pseudo_sum(&frame, 28).unwrap();
        let checksum = (pseudo + Sum::of(&frame[34..])).checksum();
        frame[40..42].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    fn read(frames: &[Vec<u8>]) -> Vec<FrameBuf> {
        let (mut ahead, mut pool) = (Ahead::default(), FramePool::default());
        for frame in frames {
            let mut buffer = pool.take();
            buffer.fill(frame);
            ahead.put(buffer);
        }
        let joined = ahead.join(&mut pool);
        assert_eq!(ahead.len() + joined, frames.len());
        assert_eq!(ahead.iter().count(), ahead.len());
        std::iter::from_fn(|| ahead.take()).collect()
    }

    const STATION: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 2]);

    #[test]
    fn datagrams_of_one_flow_become_one_frame_that_the_node_can_read() {
        let frames: Vec<Vec<u8>> = (0..5).map(|mark| datagram(STATION, 1, mark)).collect();
        let [mut joined] = <[FrameBuf; 1]>::try_from(read(&frames)).unwrap();
        assert_eq!(joined.len(), 42 + 5 * 20);
        joined.offload = Offload::NONE; // It is read from the header again.
        joined.parse_offload().unwrap();
        assert_eq!((joined.offload.gso, joined.offload.gso_size), (Gso::UdpL4, 20));
        let mut cut = Vec::new();
        let mut scratch = FramePool::default().take();
        let collect = |piece: &mut FrameBuf| cut.push(piece.bytes().to_vec());
        wire::segment::finish(&mut joined, wire::segment::Egress::NONE, &mut scratch, collect).unwrap();
        for (mark, (cut, sent)) in cut.iter().zip(&frames).enumerate() {
            assert_eq!(cut[14 + 20..], sent[14 + 20..], "number {mark}, but for its identification");
        }
        assert_eq!(cut.len(), frames.len());
    }

    #[test]
    fn each_flow_keeps_its_order_and_groups_are_left_alone() {
        let frames = [
            datagram(STATION, 1, 0),
            datagram(STATION, 2, 1),
            datagram(STATION, 1, 2),
            datagram(GROUP, 1, 3),
            datagram(GROUP, 1, 4),
            datagram(STATION, 1, 5),
        ];
        let seen: Vec<Vec<u8>> = read(&frames)
            .iter()
            .map(|frame| frame.bytes()[42..].chunks(20).map(|data| data[0]).collect())
            .collect();
        assert_eq!(seen, [vec![0, 2], vec![1], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn a_frame_alone_and_one_that_lies_pass_untouched() {
        let sound = datagram(STATION, 1, 0);
        assert_eq!(read(std::slice::from_ref(&sound))[0].bytes(), sound);
        let (mut ahead, mut pool) = (Ahead::default(), FramePool::default());
        for gso_type in [0, 3, 0] {
            let mut buffer = pool.take();
            let area = buffer.receive_area();
            area[..VNET_HDR_LEN].fill(0);
            area[1] = gso_type;
            area[VNET_HDR_LEN..VNET_HDR_LEN + sound.len()].copy_from_slice(&sound);
            buffer.received(VNET_HDR_LEN + sound.len());
            ahead.put(buffer);
        }
        assert_eq!(ahead.join(&mut pool), 0, "the one that lies stands between two that could join");
        assert!(ahead.iter().all(|frame| frame.bytes() == sound));
        assert_eq!(ahead.iter().map(|frame| frame.as_received()[1]).collect::<Vec<_>>(), [0, 3, 0]);
    }

    #[test]
    fn a_long_frame_is_the_last() {
        let (mut ahead, mut pool) = (Ahead::default(), FramePool::default());
        for (len, put) in [(60, Put::More), (AHEAD_FRAME_LEN, Put::More), (AHEAD_FRAME_LEN + 1, Put::Last)] {
            let mut buffer = pool.take();
            buffer.fill(&vec![0; len]);
            assert_eq!(ahead.put(buffer), put);
        }
    }
}

//! Frames through the driver: what a copy loop carries, TCP finds whole.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use tapestry::link;
use tapestry::port::{Fault, PortIo, Tap};
use wire::{FramePool, Rng};

use crate::support::{able, eth0, namespace};

const OCTETS: usize = 100 << 20;

/// Copies between two ports until the other end of `stop` is closed.
pub(crate) fn copy(stop: &UnixStream, ports: &mut [Box<dyn PortIo>; 2]) -> CopyReport {
    let mut frame = FramePool::default().take();
    let mut report = CopyReport::default();
    loop {
        let mut waiting = [
            PollFd::new(&stop, PollFlags::IN),
            PollFd::from_borrowed_fd(ports[0].fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(ports[1].fd(), PollFlags::IN),
        ];
        poll(&mut waiting, None).expect("descriptors are open");
        if !waiting[0].revents().is_empty() {
            return report;
        }
        for (from, to) in [(0, 1), (1, 0)] {
            while ports[from]
                .receive(&mut frame)
                .map_err(|error| assert_eq!(Fault::of(&error), Fault::Empty))
                .is_ok()
            {
                frame.parse_offload().expect("the kernel tells the truth");
                report.super_segments[from] += u32::from(frame.offload.is_super_segment());
                ports[to].send(&mut frame).expect("the other port is up");
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct CopyReport {
    /// By the port that they came from.
    pub(crate) super_segments: [u32; 2],
}

#[test]
fn tcp_through_a_copy_loop_arrives_whole_and_in_super_segments() {
    if !able() {
        return;
    }
    let (home, ns1, ns2) = (namespace("home"), namespace("ns1"), namespace("ns2"));
    let port = |interface| -> Box<dyn PortIo> {
        let made = home.run(|| link::establish(Tap::create(1).unwrap(), &interface)).unwrap().unwrap();
        Box::new(made.into_queues().remove(0))
    };
    let mut ports = [port(eth0(&ns1, &["172.16.0.2/16"])), port(eth0(&ns2, &["172.16.0.3/16"]))];
    let listener = ns2.run(|| TcpListener::bind("172.16.0.3:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();

    let report = thread::scope(|scope| {
        let copying = scope.spawn(|| copy(&stopped, &mut ports));
        let sending = scope.spawn(|| {
            let mut stream = ns1.run(|| TcpStream::connect(address)).unwrap().unwrap();
            stream.write_all(&pattern()).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::with_capacity(OCTETS);
        stream.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
        drop(stop);
        copying.join().unwrap()
    });
    assert!(report.super_segments[0] > 0, "segmentation was left to the reader");
}

/// Octets in which a lost, doubled or swapped one shows.
pub(crate) fn pattern() -> Vec<u8> {
    let mut rng = Rng::seeded(0x7a9e);
    (0..OCTETS / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

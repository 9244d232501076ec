//! The driver of uplinks by itself: a station on one end of a veth pair, which the "host" uses too.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use tapestry::link::{self, Interface, Namespace};
use tapestry::port::{Fault, Nic, NicQueue, PortIo, Tap};
use wire::{Cidr, FramePool, Mac, UnicastMac};

use crate::daemon::PATIENCE;
use crate::support::{able, eth0, hold, ip, namespace, role, second_process};
use crate::traffic::{copy, pattern};

/// Of the station.
const MAC: Mac = Mac([0x02, 0x42, 0xc0, 0, 2, 7]);
const ADDRESSES: [&str; 2] = ["192.0.2.7/24", "fd00:2::7/64"];

/// The host with its `eth0`, and what is at the other end of the cable, also an `eth0`.
pub(crate) struct Cable {
    pub(crate) host: Namespace,
    pub(crate) far: Namespace,
}

impl Cable {
    /// `None` without `ip`.
    pub(crate) fn new() -> Option<Self> {
        let cable = Self { host: namespace("host"), far: namespace("far") };
        cable.plug()?;
        Some(cable)
    }

    /// Makes the pair of interfaces: .1 is far, .2 the host's own.
    pub(crate) fn plug(&self) -> Option<()> {
        let far = self.far.path();
        let pair = ["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns"];
        ip(&self.host, &[&pair[..], &[far.to_str().unwrap()]].concat())?;
        for (space, host) in [(&self.far, 1), (&self.host, 2)] {
            ip(space, &["addr", "add", &format!("192.0.2.{host}/24"), "dev", "eth0"])?;
            ip(space, &["addr", "add", &format!("fd00:2::{host}/64"), "dev", "eth0", "nodad"])?;
            ip(space, &["link", "set", "dev", "eth0", "up"])?;
        }
        Some(())
    }

    fn nic(&self) -> Nic {
        let addresses: Vec<Cidr> = ADDRESSES.map(|text| text.parse().unwrap()).into();
        let index = link::find(&self.host, "eth0").unwrap().unwrap().index;
        self.host.run(|| Nic::open(index, UnicastMac::new(MAC).unwrap(), &addresses)).unwrap().unwrap()
    }

    pub(crate) fn promiscuity(&self) -> String {
        let text = ip(&self.host, &["-d", "link", "show", "dev", "eth0"]).unwrap();
        text.split(' ').skip_while(|word| *word != "promiscuity").nth(1).unwrap().to_owned()
    }
}

#[test]
fn tcp_passes_in_super_segments_both_ways() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    // The station's stack is a namespace behind a TAP; frames are copied between that and the interface.
    let station = namespace("station");
    let interface = Interface { mac: Some(MAC), ..eth0(&station, &ADDRESSES) };
    let tap = cable.host.run(|| link::establish(Tap::create(1).unwrap(), &interface)).unwrap().unwrap();
    let mut ports: [Box<dyn PortIo>; 2] =
        [Box::new(tap.into_queues().remove(0)), Box::new(cable.nic().into_queue())];
    for (from, to, address) in [
        (&station, &cable.far, "192.0.2.1:0"),
        (&cable.far, &station, "192.0.2.7:0"),
        (&station, &cable.far, "[fd00:2::1]:0"),
        (&cable.far, &station, "[fd00:2::7]:0"),
    ] {
        let (stop, stopped) = UnixStream::pair().unwrap();
        let report = thread::scope(|scope| {
            let copying = scope.spawn(|| copy(&stopped, &mut ports));
            let listener = to.run(|| TcpListener::bind(address)).unwrap().unwrap();
            let listening = listener.local_addr().unwrap();
            let sending = scope.spawn(move || {
                let mut stream = from.run(|| TcpStream::connect(listening)).unwrap().unwrap();
                stream.write_all(&pattern()).unwrap();
            });
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            sending.join().unwrap();
            assert!(received == pattern(), "{} octets arrived, not those sent", received.len());
            drop(stop);
            copying.join().unwrap()
        });
        let entered = usize::from(std::ptr::eq(from, &raw const cable.far));
        assert!(report.super_segments[entered] > 0, "{address}: segmentation was left to the reader");
    }
}

/// A socket that sends frames as they are.
fn raw(space: &Namespace) -> OwnedFd {
    let index = link::find(space, "eth0").unwrap().unwrap().index;
    space.run(|| tapestry::sys::packet::open(index)).unwrap().unwrap()
}

fn ethernet(dst: Mac, rest: &[u8]) -> Vec<u8> {
    [&dst.0[..], &[2, 0, 0, 0, 0, 0x99], rest, &[0; 46]].concat()
}

/// What arrives until a frame that ends in `last` does, that one included.
fn arrivals(queue: &mut NicQueue, last: &[u8]) -> Vec<Vec<u8>> {
    let mut frame = FramePool::default().take();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let begun = Instant::now();
    while !frames.last().is_some_and(|frame| frame.windows(last.len()).any(|part| part == last)) {
        assert!(begun.elapsed() < PATIENCE, "it never came; before: {frames:02x?}");
        match queue.receive(&mut frame) {
            Ok(()) => frames.push(frame.bytes().to_vec()),
            Err(error) => {
                assert_eq!(Fault::of(&error), Fault::Empty, "{error}");
                let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::from_borrowed_fd(queue.fd(), PollFlags::IN)], Some(&second)).unwrap();
            }
        }
    }
    frames
}

#[test]
fn the_hosts_frames_and_vlans_stay_the_hosts() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let mut queue = cable.nic().into_queue();
    let host = cable.host.run(|| UdpSocket::bind("192.0.2.2:7")).unwrap().unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    let far = cable.far.run(|| UdpSocket::bind("192.0.2.1:7")).unwrap().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 16];
    far.send_to(b"to the host", "192.0.2.2:7").unwrap();
    assert_eq!(host.recv(&mut bytes).unwrap(), 11, "the host goes on using its interface");
    host.send_to(b"from the host", "192.0.2.1:7").unwrap();
    assert_eq!(far.recv(&mut bytes).unwrap(), 13);

    let sender = raw(&cable.far);
    let send = |frame: &[u8]| assert_eq!(rustix::io::write(&sender, frame).unwrap(), frame.len());
    send(&ethernet(Mac([2, 0, 0, 0, 0, 1]), b"\x88\xb5another's"));
    send(&ethernet(MAC, b"\x81\x00\x00\x05\x88\xb5tagged"));
    send(&ethernet(MAC, b"\x81\x00\xe0\x00\x88\xb5priority"));
    send(&ethernet(Mac::BROADCAST, b"\x88\xb5everybody"));
    send(&ethernet(MAC, b"\x88\xb5ours"));
    let frames = arrivals(&mut queue, b"ours");

    let own = link::find(&cable.host, "eth0").unwrap().unwrap().mac.unwrap();
    for frame in &frames {
        let (dst, src) = (&frame[..6], &frame[6..12]);
        assert!(dst == MAC.0 || dst[0] & 1 == 1, "{frame:02x?}");
        assert_ne!(src, own.0, "the host's own: {frame:02x?}");
    }
    let made_up: Vec<&[u8]> =
        frames.iter().filter(|frame| frame[6..12] == [2, 0, 0, 0, 0, 0x99]).map(Vec::as_slice).collect();
    let expected = [
        ethernet(MAC, b"\x88\xb5priority"),
        ethernet(Mac::BROADCAST, b"\x88\xb5everybody"),
        ethernet(MAC, b"\x88\xb5ours"),
    ];
    assert_eq!(made_up, expected);
    assert_eq!(queue.take_overruns(), 0);
}

#[test]
fn what_finds_no_room_is_counted() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let mut queue = cable.nic().into_queue();
    let sender = raw(&cable.far);
    let frame = [&ethernet(MAC, b"\x88\xb5much")[..], &[0; 1400]].concat();
    for _ in 0..30_000 {
        rustix::io::write(&sender, &frame).unwrap();
    }
    let overruns = queue.take_overruns();
    assert!(overruns > 0 && overruns < 30_000, "{overruns}");
    assert_eq!(queue.take_overruns(), 0, "each once");
}

#[test]
fn a_link_goes_down_comes_back_and_is_deleted() {
    if !able() {
        return;
    }
    let Some(cable) = Cable::new() else { return };
    let nic = cable.nic();
    let carrier = nic.link();
    let mut queue = nic.into_queue();
    let receiver = raw(&cable.far);
    let mut frame = FramePool::default().take();
    assert!(frame.fill(&ethernet(Mac::BROADCAST, b"\x88\xb5x")));
    queue.send(&mut frame).unwrap();
    carrier.set(false);
    assert_eq!(Fault::of(&queue.send(&mut frame).unwrap_err()), Fault::Down, "whoever watches has said so");
    carrier.set(true);

    ip(&cable.host, &["link", "set", "dev", "eth0", "down"]).unwrap();
    assert_eq!(Fault::of(&queue.send(&mut frame).unwrap_err()), Fault::Down);
    ip(&cable.host, &["link", "set", "dev", "eth0", "up"]).unwrap();
    rustix::io::write(&receiver, &ethernet(MAC, b"\x88\xb5again")).unwrap();
    arrivals(&mut queue, b"again");
    queue.send(&mut frame).unwrap();
    assert!(frame.fill(&[0xff; 3000]));
    assert_eq!(Fault::of(&queue.send(&mut frame).unwrap_err()), Fault::Refused, "longer than the MTU");

    ip(&cable.host, &["link", "del", "dev", "eth0"]).unwrap();
    assert_eq!(Fault::of(&queue.send(&mut frame).unwrap_err()), Fault::Vanished);
}

#[test]
fn nothing_is_left_of_a_station_that_was_killed() {
    if !able() {
        return;
    }
    const TEST: &str = "nic::nothing_is_left_of_a_station_that_was_killed";
    if let Some(path) = role() {
        let host = Namespace::open(&path).unwrap();
        let far = namespace("far");
        let _open = Cable { host, far }.nic();
        hold();
        return;
    }
    let Some(cable) = Cable::new() else { return };
    assert_eq!(cable.promiscuity(), "0");
    let mut second = second_process(TEST, cable.host.path().to_str().unwrap());
    assert_eq!(cable.promiscuity(), "1", "a veth filters no addresses");
    second.kill().unwrap();
    second.wait().unwrap();
    let begun = Instant::now();
    while cable.promiscuity() != "0" {
        assert!(begun.elapsed() < PATIENCE, "it stays promiscuous");
    }
}

//! Real traffic from inside a namespace without any tool installed: echo requests and a TCP bulk transfer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::checksum;

use crate::link::Namespace;

/// Octets per write of the bulk transfer: enough for the kernel to make full super-segments.
const BULK_CHUNK: usize = 256 * 1024;
/// Hops that a route is followed.
const HOPS_MAX: u16 = 4;
/// How long one echo request waits for its answer.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends up to `attempts` echo requests from `from` to `to`; the round trip of the first that is answered.
///
/// # Errors
/// `TimedOut` if none is answered; otherwise what the operating system said.
pub(super) fn ping(from: &Namespace, to: IpAddr, attempts: u16) -> io::Result<Duration> {
    from.run(|| {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(ECHO_TIMEOUT))?;
        socket.connect(&SockAddr::from(SocketAddr::new(to, 0)))?;
        for sequence in 1..=attempts {
            let started = Instant::now();
            // Neighbour resolution may have failed for an earlier attempt; the next one asks again.
            if socket.send(&echo_request(to, sequence)).is_ok() && echo_answered(&socket, to, sequence)? {
                return Ok(started.elapsed());
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("{to} did not answer {attempts} echo requests")))
    })?
}

/// Who answers for each hop on the way from `from` to `to`, an IPv4 address, which comes last.
///
/// # Errors
/// `TimedOut` if a hop is silent; otherwise what the operating system said.
pub(super) fn trace(from: &Namespace, to: IpAddr) -> io::Result<Vec<IpAddr>> {
    from.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        socket.set_read_timeout(Some(ECHO_TIMEOUT))?;
        let mut hops = Vec::new();
        for ttl in 1..=HOPS_MAX {
            socket.set_ttl_v4(u32::from(ttl))?;
            socket.send_to(&echo_request(to, ttl), &SockAddr::from(SocketAddr::new(to, 0)))?;
            let hop = hop_answered(&socket, ttl)?;
            hops.push(hop);
            if hop == to {
                return Ok(hops);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{to} is further than {HOPS_MAX} hops: {hops:?}"),
        ))
    })?
}

/// Who answers the echo request with this sequence number: whom it was for, or who has thrown it away.
fn hop_answered(mut socket: &Socket, sequence: u16) -> io::Result<IpAddr> {
    let deadline = Instant::now() + ECHO_TIMEOUT;
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        let read = socket.read(&mut buffer)?;
        let packet = &buffer[..read];
        let message = ip_payload(packet);
        let answered = match message.first() {
            Some(0) => message,
            Some(11) => ip_payload(message.get(8..).unwrap_or_default()), // Time exceeded, with the request.
            Some(_) | None => continue,
        };
        let sender = packet.get(12..16).and_then(<[u8]>::first_chunk::<4>);
        if let (Some(number), Some(&sender)) = (answered.get(6..8), sender)
            && number == sequence.to_be_bytes()
        {
            return Ok(IpAddr::from(sender));
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("nobody answers for hop {sequence}")))
}

/// What follows an IPv4 header.
fn ip_payload(packet: &[u8]) -> &[u8] {
    let header = packet.first().map_or(0, |octet| usize::from(octet & 15) * 4);
    packet.get(header..).unwrap_or_default()
}

/// An echo request (RFC 792, RFC 4443 §4.1). The kernel computes ICMPv6 checksums on raw sockets, ICMPv4 ones not.
fn echo_request(to: IpAddr, sequence: u16) -> [u8; 64] {
    let mut request = [0x5a; 64];
    request[..8].fill(0);
    request[0] = if to.is_ipv4() { 8 } else { 128 };
    request[4..6].copy_from_slice(&0x7a79_u16.to_be_bytes());
    request[6..8].copy_from_slice(&sequence.to_be_bytes());
    if to.is_ipv4() {
        let sum = checksum::checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    request
}

/// Waits for the answer with this sequence number; `false` if it does not come in time.
fn echo_answered(mut socket: &Socket, to: IpAddr, sequence: u16) -> io::Result<bool> {
    let deadline = Instant::now() + ECHO_TIMEOUT;
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        let answer = match socket.read(&mut buffer) {
            Ok(read) => &buffer[..read],
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            // The kernel reports here what routers said about an earlier request.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
                ) =>
            {
                break;
            }
            Err(error) => return Err(error),
        };
        // A raw IPv4 socket delivers the IP header too.
        let header = answer.first().map_or(0, |octet| usize::from(octet & 15) * 4);
        let (echo_reply, at) = if to.is_ipv4() { (0, header) } else { (129, 0) };
        if answer.get(at) == Some(&echo_reply) && answer.get(at + 6..at + 8) == Some(&sequence.to_be_bytes())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Connects from `from` to `published`, which leads to `listen` in `server`; as whom the server sees the client.
///
/// # Errors
/// If nobody can listen, or the connection is not made.
pub(super) fn who_am_i(
    from: &Namespace,
    published: SocketAddr,
    server: &Namespace,
    listen: SocketAddr,
) -> io::Result<IpAddr> {
    let listener = server.run(|| TcpListener::bind(listen))??;
    let client = from.run(|| TcpStream::connect_timeout(&published, Duration::from_secs(5)))??;
    let (_, seen) = listener.accept()?;
    drop(client);
    Ok(seen.ip())
}

/// Octets moved and the time that took.
pub(super) struct Bulk {
    pub(super) octets: u64,
    pub(super) took: Duration,
}

impl Bulk {
    /// 10⁹ bits per second.
    pub(super) fn gbit_per_s(&self) -> f64 {
        self.octets as f64 * 8.0 / self.took.as_secs_f64() / 1e9
    }
}

/// Sends TCP data from `from` to a listener at `to` in `towards` for about `duration`; what the receiver got.
///
/// # Errors
/// If a connection is refused or breaks.
pub(super) fn bulk(
    from: &Namespace,
    towards: &Namespace,
    to: IpAddr,
    duration: Duration,
) -> io::Result<Bulk> {
    let listener = towards.run(|| TcpListener::bind((to, 0)))??;
    let address = listener.local_addr()?;
    // A socket belongs to its namespace for life, so only making it has to happen there.
    let mut stream = from.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))??;
    let (incoming, _) = listener.accept()?;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_all(incoming));
        let chunk = vec![0x5a; BULK_CHUNK];
        let started = Instant::now();
        while started.elapsed() < duration {
            stream.write_all(&chunk)?;
        }
        drop(stream);
        receiver.join().expect("receiving does not panic")
    })
}

fn receive_all(mut stream: TcpStream) -> io::Result<Bulk> {
    let started = Instant::now();
    let mut buffer = vec![0; BULK_CHUNK];
    let mut octets = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(Bulk { octets, took: started.elapsed() }),
            read => octets += read as u64,
        }
    }
}

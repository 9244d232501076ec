//! Checksums, the header walk, cutting super-segments and putting them together again.

use std::net::SocketAddrV4;

use benches::generate::frames::udp_frame;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wire::coalesce::Coalescer;
use wire::headers::Headers;
use wire::offload::{Gso, NEEDS_CSUM};
use wire::segment::{Egress, finish};
use wire::{FrameBuf, FramePool, Mac, Offload, checksum};

/// Ethernet, IPv4 and TCP without options.
const HEADERS_LEN: usize = 14 + 20 + 20;
const MSS: u16 = 1460;
/// Segments of the super-segment: 43,800 octets of payload.
const SEGMENTS: usize = 30;

fn sum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [64, 1_500, 65_535] {
        let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).expect("less than 251")).collect();
        let expected = checksum::checksum(&bytes);
        assert_ne!(expected, 0);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| assert_eq!(checksum::checksum(std::hint::black_box(&bytes)), expected));
        });
    }
    group.finish();
}

fn walk(c: &mut Criterion) {
    let frame = udp_frame(Mac([2; 6]), Mac([4; 6]), address("10.0.0.1:9"), address("10.0.0.2:7"));
    c.bench_function("headers of a UDP frame", |b| {
        b.iter(|| assert!(Headers::parse(std::hint::black_box(&frame)).is_ok()));
    });
}

fn segment(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes((SEGMENTS * usize::from(MSS)) as u64));
    let (mut frame, mut scratch) = (super_segment(), FramePool::default().take());
    group.bench_function("cut TCP into 30", |b| {
        b.iter(|| assert_eq!(finish(&mut frame, Egress::NONE, &mut scratch, |_| {}), Ok(SEGMENTS)));
    });
    group.bench_function("pass TCP whole", |b| {
        b.iter(|| assert_eq!(finish(&mut frame, Egress::ALL, &mut scratch, |_| {}), Ok(1)));
    });
    group.finish();
}

fn coalesce(c: &mut Criterion) {
    let mut segments = Vec::new();
    let mut scratch = FramePool::default().take();
    let cut = finish(&mut super_segment(), Egress::NONE, &mut scratch, |segment| {
        segments.push(segment.bytes().to_vec());
    });
    assert_eq!(cut, Ok(SEGMENTS));
    let mut group = c.benchmark_group("coalesce");
    group.throughput(Throughput::Bytes((SEGMENTS * usize::from(MSS)) as u64));
    let (mut pool, mut coalescer) = (FramePool::default(), Coalescer::default());
    let mut burst: Vec<FrameBuf> = Vec::new();
    group.bench_function("30 TCP segments into one", |b| {
        b.iter_batched(
            || segments.iter().map(|bytes| filled(bytes)).collect::<Vec<_>>(),
            |frames| {
                for frame in frames {
                    coalescer.push(frame, &mut pool, |frame| burst.push(frame));
                }
                coalescer.flush(|frame| burst.push(frame));
                assert_eq!(burst.len(), 1, "they are one again");
                burst.drain(..).for_each(|frame| pool.put(frame));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn filled(bytes: &[u8]) -> FrameBuf {
    let mut frame = FramePool::default().take();
    assert!(frame.fill(bytes), "it fits");
    frame
}

/// A TCP super-segment as Linux hands it over: checksum pending, the field holding the pseudo-header's sum.
fn super_segment() -> FrameBuf {
    let payload = SEGMENTS * usize::from(MSS);
    let mut bytes = vec![0x5a; HEADERS_LEN + payload];
    let udp = udp_frame(Mac([2; 6]), Mac([4; 6]), address("10.0.0.1:9"), address("10.0.0.2:7"));
    bytes[..34].copy_from_slice(&udp[..34]);
    let (ip_len, l4_len) = (40 + payload, 20 + payload);
    bytes[16..18].copy_from_slice(&u16::try_from(ip_len).expect("it fits IPv4").to_be_bytes());
    bytes[23] = 6;
    bytes[24..26].fill(0);
    let ip_sum = checksum::checksum(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&ip_sum.to_be_bytes());
    bytes[34..HEADERS_LEN]
        .copy_from_slice(&[0, 9, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    let l4_len = u16::try_from(l4_len).expect("it fits IPv4");
    let pseudo = checksum::Sum::pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 6, l4_len).folded();
    bytes[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let mut frame = filled(&bytes);
    frame.offload = Offload {
        flags: NEEDS_CSUM,
        gso: Gso::TcpV4,
        gso_size: MSS,
        hdr_len: 54,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    frame
}

fn address(text: &str) -> SocketAddrV4 {
    text.parse().expect("it is an address")
}

criterion_group!(benches, sum, walk, segment, coalesce);
criterion_main!(benches);

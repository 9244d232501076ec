//! Workers over socket pairs instead of TAPs: the same loop, without privilege. The far end of each pair is the station.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use node::{Event, Plan};
use sim::link::{Faults, Share};
use vswitch::{DomainPlan, Guards, Isolation, Membership, PortPlan, ReservedForward, Storm, SwitchPlan};
use wire::offload::{Gso, NEEDS_CSUM, VNET_HDR_LEN};
use wire::{DomainId, DropReason, FlowHash, Offload, PortId};

use super::fault::{Heading, Wire};
use super::{Command, Options, Report, Tuning, Workers};
use crate::port::PortIo;
use crate::port::pipe::{PANIC_PILL, PATIENCE, Pipe, REFUSE_PILL, UNREADABLE_PILL, VANISH_PILL, pipe};

/// A switch with one domain, and the far ends of its ports' queues.
struct Bench {
    workers: Workers,
    /// By port, then by queue.
    stations: Vec<Vec<UnixDatagram>>,
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: that does not come about");
        std::thread::yield_now();
    }
}

impl Bench {
    fn new(ports: u16, workers: usize) -> Self {
        Self::with_patient(ports, workers, None)
    }

    /// The same, with everything that leaves by the last port going to `patient`.
    fn with_patient(ports: u16, workers: usize, patient: Option<&Sender<Vec<u8>>>) -> Self {
        let options =
            Options { workers, seed: 1, tuning: Tuning { spin: Duration::from_micros(20), gro: true } };
        let workers = Workers::start(options).unwrap();
        let plan = Arc::new(plan(ports));
        plan.check().unwrap();
        workers.handle(|| Event::Configure(Arc::clone(&plan)));
        let mut stations = Vec::new();
        let mut devices = Vec::new();
        for port in 0..ports {
            let mut far_ends = Vec::new();
            let mut queues: Vec<Box<dyn PortIo>> = Vec::new();
            for _ in 0..workers.count() {
                let (near, far) = pipe();
                let patient = patient.filter(|_| port + 1 == ports).cloned();
                queues.push(Box::new(Pipe { patient, ..near }));
                far_ends.push(far);
            }
            devices.push((PortId(port), queues));
            stations.push(far_ends);
        }
        assert!(workers.attach(devices, 1).is_empty());
        Self { workers, stations }
    }

    fn send(&self, port: usize, queue: usize, frame: &[u8]) {
        self.send_with(port, queue, Offload::NONE, frame);
    }

    fn send_with(&self, port: usize, queue: usize, offload: Offload, frame: &[u8]) {
        let mut header = [0; VNET_HDR_LEN];
        offload.emit(&mut header);
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(frame);
        self.stations[port][queue].send(&bytes).unwrap();
    }

    fn receive(&self, port: usize, queue: usize) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let read = self.stations[port][queue].recv(&mut bytes).expect("a frame arrives");
        bytes[VNET_HDR_LEN..read].to_vec()
    }

    fn failed_port(&self) -> (PortId, String) {
        loop {
            match self.workers.reports.recv_timeout(PATIENCE).expect("a report arrives") {
                Report::PortFailed(port, _, why) => return (port, why),
                Report::Notice(_) | Report::OffloadRefused(..) => {}
            }
        }
    }
}

fn plan(ports: u16) -> Plan {
    let domain = DomainId(0);
    let ports = (0..ports)
        .map(|id| PortPlan {
            id: PortId(id),
            serial: 0,
            memberships: vec![Membership { domain, vid: None }],
            mtu: 1500,
            stations_max: 100,
            isolation: Isolation::Open,
            horizon: None,
            mac: None,
            addresses: Vec::new(),
            guards: Guards::default(),
            storm: Storm::default(),
        })
        .collect();
    let domains = vec![DomainPlan {
        id: domain,
        ageing: Duration::from_secs(300),
        stations_max: 1000,
        reserved_forward: ReservedForward::default(),
        answers: false,
    }];
    Plan { switch: SwitchPlan { domains, ports, statics: Vec::new() }, ..Plan::default() }
}

/// An Ethernet frame between stations 02::src and 02::dst with a made-up type.
fn frame(dst: u8, src: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5];
    frame.extend_from_slice(payload);
    frame
}

/// A UDP/IPv4 frame from station 1 to station 2 whose flow `worker` owns, with a sequence number as payload.
fn owned_frame(worker: usize, workers: usize, sequence: u32) -> Vec<u8> {
    for l4_port in 1000_u16.. {
        let mut frame = frame(2, 1, &[0; 32]);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[23] = 17;
        frame[26..30].copy_from_slice(&[10, 0, 0, 1]);
        frame[30..34].copy_from_slice(&[10, 0, 0, 2]);
        frame[34..36].copy_from_slice(&l4_port.to_be_bytes());
        frame[42..46].copy_from_slice(&sequence.to_be_bytes());
        if FlowHash::of(&frame).owner(workers) == worker {
            return frame;
        }
    }
    unreachable!("every worker owns some flow")
}

#[test]
fn frames_are_flooded_then_switched() {
    let bench = Bench::new(3, 1);
    bench.send(0, 0, &frame(2, 1, b"to whom?"));
    assert_eq!(bench.receive(1, 0), frame(2, 1, b"to whom?"));
    assert_eq!(bench.receive(2, 0), frame(2, 1, b"to whom?"));
    bench.send(1, 0, &frame(1, 2, b"to you"));
    bench.send(1, 0, &frame(3, 2, b"to whom?"));
    assert_eq!(bench.receive(0, 0), frame(1, 2, b"to you"));
    assert_eq!(bench.receive(2, 0), frame(3, 2, b"to whom?"), "the unicast frame did not come here");
    let tally = &bench.workers.tallies()[0];
    assert_eq!((tally.counters.received, tally.counters.forwarded), (3, 3));
    assert_eq!(bench.workers.stations(0, 0, 10).0.len(), 2);
}

#[test]
fn a_panic_ends_its_port_and_no_other() {
    let bench = Bench::new(3, 1);
    bench.send(0, 0, &frame(2, 1, PANIC_PILL));
    let (port, why) = bench.failed_port();
    assert_eq!(port, PortId(0));
    assert!(why.contains("swallowed a pill"), "{why}");
    bench.send(1, 0, &frame(3, 2, b"still here"));
    assert_eq!(bench.receive(2, 0), frame(3, 2, b"still here"));
}

#[test]
fn a_vanished_device_ends_its_port_and_no_other() {
    let bench = Bench::new(3, 1);
    bench.send(0, 0, &frame(2, 1, VANISH_PILL));
    let (port, why) = bench.failed_port();
    assert_eq!(port, PortId(0));
    assert!(why.starts_with("reading from the device"), "{why}");
    bench.send(1, 0, &frame(3, 2, b"still here"));
    assert_eq!(bench.receive(2, 0), frame(3, 2, b"still here"));
    let tally = &bench.workers.tallies()[0];
    assert_eq!(
        tally.counters.ports[0].drops.of(DropReason::PortDown),
        1,
        "flooded to a port without a device"
    );
}

#[test]
fn a_frame_that_the_device_refuses_costs_a_counted_drop_and_no_port() {
    let bench = Bench::new(2, 1);
    bench.send(0, 0, &frame(2, 1, REFUSE_PILL));
    bench.send(0, 0, &frame(2, 1, b"still here"));
    assert_eq!(bench.receive(1, 0), frame(2, 1, b"still here"));
    let tally = &bench.workers.tallies()[0];
    assert_eq!(tally.counters.ports[1].drops.of(DropReason::DeviceRefused), 1);
    assert!(tally.counters.balance());
}

#[test]
fn frames_that_the_device_loses_are_counted() {
    let bench = Bench::new(1, 1);
    let plan = Arc::new(plan(2));
    bench.workers.handle(|| Event::Configure(Arc::clone(&plan)));
    let (near, far) = pipe();
    let lossy: Box<dyn PortIo> = Box::new(Pipe { overruns: 7, ..near });
    assert!(bench.workers.attach(vec![(PortId(1), vec![lossy])], 2).is_empty());
    for payload in [UNREADABLE_PILL, b"still here"] {
        let mut bytes = vec![0; VNET_HDR_LEN];
        bytes.extend(frame(2, 1, payload));
        far.send(&bytes).unwrap();
    }
    assert_eq!(bench.receive(0, 0), frame(2, 1, b"still here"));
    for _ in 0..2 {
        let tally = &bench.workers.tallies()[0];
        let lost = |reason: DropReason| tally.counters.ports[1].drops.of(reason);
        assert_eq!((lost(DropReason::Unreadable), lost(DropReason::Overrun)), (1, 7), "each once");
        assert!(tally.counters.balance());
    }
}

#[test]
fn the_frames_of_an_only_queue_stay_with_their_worker() {
    let bench = Bench::new(1, 2);
    let plan = Arc::new(plan(2));
    bench.workers.handle(|| Event::Configure(Arc::clone(&plan)));
    let (near, far) = pipe();
    let only: Box<dyn PortIo> = Box::new(Pipe { is_only_queue: true, ..near });
    assert!(bench.workers.attach(vec![(PortId(1), vec![only])], 2).is_empty());
    for owner in 0..2 {
        let mut bytes = vec![0; VNET_HDR_LEN];
        bytes.extend(owned_frame(owner, 2, 0));
        far.send(&bytes).unwrap();
        assert_eq!(bench.receive(0, 0), owned_frame(owner, 2, 0), "it leaves by worker 0's queue");
    }
    assert_eq!(bench.workers.tallies()[0].handed_over, 0);
}

#[test]
fn a_station_that_does_not_read_costs_counted_drops() {
    let bench = Bench::new(2, 1);
    // The pair's buffer holds far fewer frames than this.
    for _ in 0..5_000 {
        bench.send(0, 0, &frame(2, 1, &[0; 1000]));
    }
    let tally = loop {
        let tally = bench.workers.tallies().remove(0);
        if tally.counters.received == 5_000 {
            break tally;
        }
    };
    let full = tally.counters.ports[1].drops.of(DropReason::QueueFull);
    assert!(full > 0);
    assert!(tally.counters.balance());
    drop(bench);
}

#[test]
fn a_port_with_faults_loses_doubles_and_spoils_frames() {
    let all = |of: fn(&mut Faults) -> &mut Share| {
        let mut faults = Faults::default();
        *of(&mut faults) = Share::ALL;
        faults
    };
    let loss = all(|faults| &mut faults.loss);
    let none = Faults::default();
    let bench = Bench::new(3, 1);
    let counted = |port: usize, reason: DropReason, count| {
        until("it is counted", || bench.workers.tallies()[0].counters.ports[port].drops.of(reason) >= count);
    };
    bench.workers.wire(PortId(0), 0, Some(&Wire::new(1, [loss, none])));
    bench.send(0, 0, &frame(2, 1, b"lost on its way in"));
    counted(0, DropReason::FaultIn, 1);

    let wire = Wire::new(1, [none, loss]);
    bench.workers.wire(PortId(0), 0, Some(&wire));
    bench.send(1, 0, &frame(1, 2, b"lost on its way out"));
    counted(0, DropReason::FaultOut, 1);
    assert_eq!(bench.receive(2, 0), frame(1, 2, b"lost on its way out"), "the flood's other copy");
    assert_eq!((wire.counts(Heading::Out).link.lost, wire.counts(Heading::In).link.offered), (1, 0));

    wire.set([none, all(|faults| &mut faults.duplicate)]);
    bench.send(1, 0, &frame(1, 2, b"twice"));
    assert_eq!([bench.receive(0, 0), bench.receive(0, 0)], [frame(1, 2, b"twice"), frame(1, 2, b"twice")]);

    wire.set([none, all(|faults| &mut faults.corrupt)]);
    bench.send(1, 0, &frame(1, 2, b"spoilt"));
    let (spoilt, whole) = (bench.receive(0, 0), frame(1, 2, b"spoilt"));
    let flipped: u32 = spoilt.iter().zip(&whole).map(|(one, other)| (one ^ other).count_ones()).sum();
    assert_eq!((flipped, spoilt.len()), (1, whole.len()));
    for port in [1, 2] {
        until("it is counted", || {
            bench.workers.tallies()[0].counters.ports[port].rx_frames >= u64::from(port == 1)
        });
    }

    // Held for ever, until the fault is cleared: then in order, and before what comes later.
    wire.set([none, Faults { delay: Duration::from_secs(1_000_000), ..none }]);
    for word in [b"one", b"two"] {
        bench.send(1, 0, &frame(1, 2, word));
    }
    until("both are held", || wire.counts(Heading::Out).held >= 2 * 17);
    bench.workers.wire(PortId(0), 0, None);
    bench.send(1, 0, &frame(1, 2, b"six"));
    for word in [b"one", b"two", b"six"] {
        assert_eq!(bench.receive(0, 0), frame(1, 2, word));
    }
    assert!(bench.workers.tallies()[0].counters.balance());
}

#[test]
fn a_delayed_frame_arrives_by_itself() {
    let bench = Bench::new(2, 1);
    let delay = Faults { delay: Duration::from_millis(20), ..Faults::default() };
    let wire = Wire::new(1, [delay, delay]);
    bench.workers.wire(PortId(0), 0, Some(&wire));
    bench.send(0, 0, &frame(2, 1, b"later"));
    assert_eq!(bench.receive(1, 0), frame(2, 1, b"later"));
    bench.send(1, 0, &frame(1, 2, b"back"));
    assert_eq!(bench.receive(0, 0), frame(1, 2, b"back"));
    assert_eq!(wire.counts(Heading::In).link.offered, 1);
}

#[test]
fn a_wire_meets_segments_not_super_segments() {
    let bench = Bench::new(2, 1);
    bench.workers.tune(Tuning { gro: false, ..Tuning::default() }); // Or they would be joined again behind it.
    let wire = Wire::new(1, [Faults { duplicate: Share::ALL, ..Faults::default() }, Faults::default()]);
    bench.workers.wire(PortId(0), 0, Some(&wire));
    let three = Offload {
        flags: NEEDS_CSUM,
        csum_start: 34,
        csum_offset: 6,
        gso: Gso::UdpL4,
        gso_size: 4,
        ..Offload::NONE
    };
    bench.send_with(0, 0, three, &datagram(10));
    let lens: Vec<usize> = (0..6).map(|_| bench.receive(1, 0).len()).collect();
    assert_eq!(lens, [46, 46, 46, 46, 44, 44], "each twice");
    assert_eq!(wire.counts(Heading::In).link.offered, 3);
}

#[test]
fn frames_on_the_wrong_queue_reach_their_owner_in_order() {
    const FRAMES: u32 = 5_000;
    // Worker 1 waits for us with each frame, so its inbox fills and worker 0 has to stall.
    let (patient, sent) = crossbeam_channel::bounded(0);
    let bench = Bench::with_patient(2, 2, Some(&patient));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..FRAMES {
                bench.send(0, 0, &owned_frame(1, 2, sequence));
            }
        });
        for sequence in 0..FRAMES {
            let frame = sent.recv_timeout(PATIENCE).expect("a frame leaves");
            assert_eq!(frame, owned_frame(1, 2, sequence));
        }
    });
    let tallies = bench.workers.tallies();
    assert_eq!(tallies[0].handed_over, u64::from(FRAMES));
    assert_eq!(tallies[1].counters.forwarded, u64::from(FRAMES), "nothing was lost on the way");
}

#[test]
fn what_one_worker_learns_the_other_knows() {
    let bench = Bench::new(3, 2);
    bench.send(0, 1, &owned_frame(1, 2, 0));
    assert_eq!(bench.receive(1, 1), owned_frame(1, 2, 0));
    // Worker 1 has told worker 0 before it sends; worker 0 may not have listened yet.
    while bench.workers.stations(0, 0, 10).0.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(bench.workers.stations(0, 0, 10).0[0].port, PortId(0));
}

#[test]
fn a_detached_port_is_closed_and_the_rest_goes_on() {
    let bench = Bench::new(3, 1);
    bench.workers.detach(PortId(0));
    assert!(bench.stations[0][0].send(b"anybody?").is_err(), "the near end is closed");
    bench.send(1, 0, &frame(3, 2, b"still here"));
    assert_eq!(bench.receive(2, 0), frame(3, 2, b"still here"));
}

#[test]
fn a_device_that_refuses_offload_gets_finished_frames() {
    let bench = Bench::new(1, 1);
    let (near, far) = pipe();
    let plan = Arc::new(plan(2));
    bench.workers.handle(|| Event::Configure(Arc::clone(&plan)));
    let picky = Pipe { refuses_offload: true, ..near };
    assert!(bench.workers.attach(vec![(PortId(1), vec![Box::new(picky)])], 2).is_empty());

    let receive = || {
        let mut bytes = [0; 256];
        let read = far.recv(&mut bytes).expect("the frame arrives, finished");
        assert_eq!(bytes[..VNET_HDR_LEN], [0; VNET_HDR_LEN]);
        assert_ne!(bytes[VNET_HDR_LEN + 40..VNET_HDR_LEN + 42], [0, 0], "the checksum is there");
        bytes[VNET_HDR_LEN..read].to_vec()
    };
    // A UDP datagram whose checksum is left to us. A station could have made it up, so it proves nothing.
    let checksum = Offload { flags: NEEDS_CSUM, csum_start: 34, csum_offset: 6, ..Offload::NONE };
    bench.send_with(0, 0, checksum, &datagram(4));
    assert_eq!(receive().len(), 46);
    // Super-segments of three datagrams each: the first is refused, the second not even offered.
    for _ in 0..2 {
        bench.send_with(0, 0, Offload { gso: Gso::UdpL4, gso_size: 4, ..checksum }, &datagram(10));
        assert_eq!([receive().len(), receive().len(), receive().len()], [46, 46, 44]);
    }
    let refusals = bench
        .workers
        .reports
        .try_iter()
        .filter(|report| matches!(report, Report::OffloadRefused(PortId(1), 2)));
    assert_eq!(refusals.count(), 1);
}

/// A UDP/IPv4 frame from station 1 to station 2 with `payload` octets.
fn datagram(payload: u8) -> Vec<u8> {
    let mut datagram = owned_frame(0, 1, 7);
    datagram.resize(42 + usize::from(payload), 0x5a);
    datagram[17] = 28 + payload;
    datagram[39] = 8 + payload;
    datagram
}

#[test]
fn stopping_handles_what_is_waiting() {
    let bench = Bench::new(2, 1);
    for sequence in 0..100 {
        bench.send(0, 0, &frame(2, 1, &[sequence]));
        if sequence % 10 == 9 {
            for expected in sequence - 9..=sequence {
                assert_eq!(bench.receive(1, 0), frame(2, 1, &[expected]));
            }
        }
    }
    bench.send(0, 0, &frame(2, 1, b"last"));
    bench.workers.stop();
    assert_eq!(bench.receive(1, 0), frame(2, 1, b"last"));
}

#[test]
fn stopping_loses_no_frame_that_is_between_workers() {
    for _ in 0..20 {
        let (patient, sent) = crossbeam_channel::unbounded();
        let bench = Bench::with_patient(2, 2, Some(&patient));
        // As many as a socket holds.
        for sequence in 0..10 {
            bench.send(0, 0, &owned_frame(1, 2, sequence));
        }
        bench.workers.stop();
        let expected: Vec<_> = (0..10).map(|sequence| owned_frame(1, 2, sequence)).collect();
        assert_eq!(sent.try_iter().collect::<Vec<_>>(), expected);
    }
}

/// The bench's plan once the first port's id has gone to another port.
fn plan_with_a_successor(ports: u16) -> Arc<Plan> {
    let mut plan = plan(ports);
    plan.switch.ports[0].serial = 1;
    Arc::new(plan)
}

#[test]
fn a_frame_between_workers_does_not_enter_as_the_frame_of_its_ports_successor() {
    const FRAMES: u32 = 300;
    // Worker 1 waits for us with each frame.
    let (patient, sent) = crossbeam_channel::bounded(0);
    let bench = Bench::with_patient(2, 2, Some(&patient));
    for sequence in 0..FRAMES {
        bench.send(0, 0, &owned_frame(1, 2, sequence));
    }
    let plan = plan_with_a_successor(2);
    let (done, configured) = crossbeam_channel::bounded(2);
    for worker in [0, 1] {
        bench.workers.handles()[worker]
            .tell(Command::Handle(Event::Configure(Arc::clone(&plan)), done.clone()));
    }
    let (mut forwarded, mut waiting) = (0, 2);
    while waiting > 0 {
        crossbeam_channel::select! {
            recv(sent) -> _ => forwarded += 1,
            recv(configured) -> _ => waiting -= 1,
            default(PATIENCE) => panic!("the workers obey"),
        }
    }
    let counters = loop {
        let tallies = bench.workers.tallies();
        if tallies[1].counters.received == tallies[0].handed_over {
            break tallies[1].counters.clone();
        }
    };
    let lost = counters.gone.drops.of(DropReason::NoPort);
    assert!(lost > 0 && counters.received == forwarded + lost, "{forwarded} and {lost} of {FRAMES}");
    assert_eq!(counters.ports[0].rx_frames, 0, "the successor has not said anything");
    assert!(counters.balance());
}

#[test]
fn a_plan_that_gives_a_ports_id_away_closes_its_device() {
    let bench = Bench::new(2, 1);
    let plan = plan_with_a_successor(2);
    bench.workers.handle(|| Event::Configure(Arc::clone(&plan)));
    assert!(bench.stations[0][0].send(b"anybody?").is_err(), "the near end is closed");
    assert!(bench.stations[1][0].send(&[0; 60]).is_ok());
}

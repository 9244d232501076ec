//! Connections against an obviously right model: a list of sessions that is searched from end to end.

use std::collections::BTreeMap;

use wire::Rng;

use super::*;

/// A session of the model.
#[derive(Clone, Debug)]
struct Slow {
    original: Flow,
    reply: Flow,
    used: u64,
    is_answered: bool,
    /// Who began has gone on after an answer.
    is_assured: bool,
    inside: IpAddr,
    serial: u64,
}

impl Slow {
    fn ends_at(&self) -> u64 {
        // Seconds, the last one begun; the defaults of the plan.
        let timeout = match (self.original.protocol, self.is_answered) {
            (Protocol::Udp, false) => 120,
            (Protocol::Udp, true) => 300,
            (Protocol::Echo, _) => 60,
            (Protocol::Tcp, _) => panic!("the model has no TCP"),
        };
        self.used + timeout + 1
    }
}

struct Model {
    sessions: Vec<Slow>,
    max: usize,
    share: usize,
    opened: u64,
}

impl Model {
    fn expire(&mut self, now: u64) {
        self.sessions.retain(|slow| slow.ends_at() > now);
    }

    fn follow(&mut self, now: u64, flow: &Flow) -> Option<Flow> {
        let slow = self.sessions.iter_mut().find(|slow| slow.original == *flow || slow.reply == *flow)?;
        slow.used = now;
        if slow.original == *flow {
            slow.is_assured |= slow.is_answered;
            return Some(slow.reply.reversed());
        }
        slow.is_answered = true;
        Some(slow.original.reversed())
    }

    /// Who has to yield for a new session of a host, or that it is refused.
    fn make_room(&mut self, inside: IpAddr) -> Result<(), DropReason> {
        let is_theirs = |slow: &Slow| slow.inside == inside;
        if self.sessions.iter().filter(|slow| is_theirs(slow)).count() >= self.share {
            self.yield_oldest(is_theirs)?;
        }
        if self.sessions.len() >= self.max {
            self.yield_oldest(|_| true)?;
        }
        Ok(())
    }

    fn yield_oldest(&mut self, may: impl Fn(&Slow) -> bool) -> Result<(), DropReason> {
        let yielding = self.sessions.iter().filter(|slow| !slow.is_assured && may(slow));
        let oldest = yielding.map(|slow| slow.serial).min().ok_or(DropReason::SessionsMax)?;
        self.sessions.retain(|slow| slow.serial != oldest);
        Ok(())
    }

    /// Outside endpoints by inside ones: each has one, and each is of one.
    fn check_mappings(&self) {
        let (mut outward, mut inward) = (BTreeMap::new(), BTreeMap::new());
        for slow in self.sessions.iter().filter(|slow| slow.reply.dst != slow.original.src) {
            let inside = (slow.original.protocol, slow.original.src);
            let outside = (slow.original.protocol, slow.reply.dst);
            assert_eq!(*outward.entry((inside, slow.reply.dst.address)).or_insert(outside), outside);
            assert_eq!(*inward.entry(outside).or_insert(inside), inside, "what maps out maps back");
        }
    }
}

fn random_flow(rng: &mut Rng, v6_share: u64) -> Flow {
    let below = |rng: &mut Rng, bound| u16::try_from(rng.below(bound)).unwrap();
    let (host, l4_port, server) = (2 + below(rng, 6), 1 + below(rng, 40), 1 + below(rng, 5));
    let (src, dst) = if rng.chance(v6_share, 4) {
        (std::format!("[fd00::{host}]:{l4_port}"), std::format!("[2001:db8:9::{server}]:53"))
    } else {
        (std::format!("172.16.0.{host}:{l4_port}"), std::format!("192.0.2.{server}:53"))
    };
    if rng.chance(1, 4) {
        let dst = Endpoint { l4_port: 0, ..end(&dst) };
        return Flow { protocol: Protocol::Echo, src: end(&src), dst };
    }
    udp(&src, &dst)
}

fn random_wish(rng: &mut Rng, flow: &Flow) -> Wish {
    let outside = if flow.src.address.is_ipv4() {
        if rng.chance(1, 8) { "203.0.113.2" } else { OUTSIDE }
    } else {
        "2001:db8::1"
    };
    if rng.chance(1, 8) { keep(flow) } else { masquerade(flow, outside) }
}

/// One step: a packet out, an answer, an end, or time.
fn step(rng: &mut Rng, bench: &mut Bench, model: &mut Model, v6_share: u64) {
    let now = bench.now.as_nanos() / 1_000_000_000;
    match rng.below(100) {
        0..60 => {
            let flow = random_flow(rng, v6_share);
            let followed = model.follow(now, &flow);
            assert_eq!(bench.follow(flow, 0), followed, "{flow:?}");
            if followed.is_some() {
                return;
            }
            let wish = random_wish(rng, &flow);
            let expected = model.make_room(wish.inside);
            let opened = bench.open(&flow, 0, &wish);
            assert_eq!(opened.map(|_| ()), expected, "{flow:?}");
            let Ok(followed) = opened else { return };
            let became = became(flow, &followed);
            let slow = Slow {
                original: flow,
                reply: became.reversed(),
                used: now,
                is_answered: false,
                is_assured: false,
                inside: wish.inside,
                serial: model.opened,
            };
            model.opened += 1;
            model.sessions.push(slow);
        }
        60..85 if !model.sessions.is_empty() => {
            let at = usize::try_from(rng.below(model.sessions.len() as u64)).unwrap();
            let reply = model.sessions[at].reply;
            let quoted = bench.all.quoted(&reply.reversed()).unwrap();
            assert_eq!(
                (quoted.src, quoted.dst),
                (model.sessions[at].original.src, model.sessions[at].original.dst)
            );
            assert_eq!(bench.follow(reply, 0), model.follow(now, &reply), "{reply:?}");
        }
        85..87 => {
            let cidr = "172.16.0.2/32".parse().unwrap();
            let filter = SessionFilter {
                address: Some(cidr),
                protocol: Some(Protocol::Udp),
                ..SessionFilter::default()
            };
            let before = model.sessions.len();
            model.sessions.retain(|slow| {
                slow.original.protocol != Protocol::Udp || slow.original.src.address != address("172.16.0.2")
            });
            assert_eq!(bench.all.kill(&filter), before - model.sessions.len());
        }
        _ => {
            let passes = rng.below(30);
            if rng.chance(1, 2) {
                bench.pass(passes);
            } else {
                bench.now = bench.now + Duration::from_secs(passes); // Nobody wakes.
            }
            model.expire(bench.now.as_nanos() / 1_000_000_000);
            // What is over but not swept still takes room, so the limits are only compared once it is.
            bench.pass(0);
        }
    }
}

#[test]
fn connections_agree_with_the_slow_model() {
    let mut yielded = 0;
    for seed in 0..12 {
        let mut rng = Rng::seeded(0x5eed + seed);
        let mut plan = plan();
        let max = [40, 100, 400][usize::try_from(seed % 3).unwrap()];
        plan.nat.sessions_max = max;
        plan.nat.sessions_per_host_max = max / 3;
        let mut bench = Bench::new(&plan);
        let mut model = Model { sessions: Vec::new(), max: max as usize, share: max as usize / 3, opened: 0 };
        for number in 0..4_000 {
            step(&mut rng, &mut bench, &mut model, seed % 4);
            assert_eq!(
                bench.all.stats().sessions as usize,
                model.sessions.len(),
                "seed {seed} step {number}"
            );
            if number % 64 == 0 {
                model.check_mappings();
                let mut listed: Vec<_> =
                    bench.sessions().iter().map(|info| (info.original, info.reply)).collect();
                let mut expected: Vec<_> =
                    model.sessions.iter().map(|slow| (slow.original, slow.reply)).collect();
                listed.sort_unstable();
                expected.sort_unstable();
                assert_eq!(listed, expected, "seed {seed} step {number}");
                let in_use: u32 = bench.all.stats().l4_ports.iter().map(|pool| pool.in_use).sum();
                assert_eq!(in_use, bench.all.stats().mappings);
            }
        }
        bench.pass(10_000);
        let stats = bench.all.stats();
        assert_eq!((stats.sessions, stats.mappings, bench.all.next_deadline()), (0, 0, None));
        yielded += stats.evicted;
        assert!(stats.expired > 0 && stats.ended > 0);
        assert_eq!(stats.opened, stats.expired + stats.evicted + stats.ended, "each ends in one way");
    }
    assert!(yielded > 0, "the limits were reached");
}

//! Router advertisements: how stations learn their IPv6 prefixes and their default router (RFC 4861 §6.2, RFC 4862).
//!
//! ```text
//!  0    1  2         4          5      6         8               16
//!  134  0  checksum  hop limit  flags  lifetime  timers (0)      options
//!          1, 1, MAC | 5, 1, MTU | 3, 4, prefix length, L A, valid, preferred, reserved, prefix …
//! ```
//!
//! Done in the domain of a network whose policy asks for it and which has an IPv6 /64. The router advertises itself as
//! a default router for half an hour, its MAC address, the domain's MTU, and every IPv6 subnet: as on-link, and if it
//! is a /64 for stations to make addresses in. Hop limit 255 and a link-local source are what makes stations believe it.
//!
//! When: three times within half a minute after the domain or what is advertised in it has changed, then every 198 to
//! 600 s; to a station that solicits, at once and to it alone; to all after a solicitation from `::`, but no sooner than
//! 3 s after the last. A prefix that has left the plan is advertised with lifetimes of 0 in the three after the change; a
//! gateway that leaves says so once, with a lifetime of 0. Managed and other configuration (DHCPv6), recursive DNS
//! servers (RFC 8106) and route information (RFC 4191) are not advertised, and nothing is learned from the
//! advertisements of others. Nothing here is remembered per station, so it has no limit but the rate of answers.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use serde::{Deserialize, Serialize};
use wire::{Cidr, FrameBuf, Instant, Mac, Rng};

use super::link::{Link, is_autonomous};
use super::nd;
use crate::plan::SUBNETS_MAX;

/// How long stations keep the router as their default router.
pub const ROUTER_LIFETIME: Duration = Duration::from_secs(1800);
/// The longest time between two advertisements (RFC 4861 §6.2.1, `MaxRtrAdvInterval`), and the shortest, a third of it.
const INTERVAL_MAX: Duration = Duration::from_secs(600);
const INTERVAL_MIN: Duration = Duration::from_secs(198);
/// How many come sooner at first, and how much (RFC 4861 §10).
const INITIAL_COUNT: u8 = 3;
const INITIAL_INTERVAL_MAX: Duration = Duration::from_secs(16);
/// `MIN_DELAY_BETWEEN_RAS` and `MAX_RA_DELAY_TIME` (RFC 4861 §10).
const BETWEEN_MIN: Duration = Duration::from_secs(3);
const SOLICITED_DELAY_MAX: Duration = Duration::from_millis(500);
/// Seconds that an address made in a prefix is good for, and for new connections (RFC 4861 §6.2.1).
const VALID_LIFETIME_S: u32 = 2_592_000;
const PREFERRED_LIFETIME_S: u32 = 604_800;

const ADVERTISEMENT: u8 = 134;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
/// As the router's own packets have it, for stations to use.
const HOP_LIMIT: u8 = 64;
/// Octets of the header, the MAC address and the MTU; of one prefix; of the longest.
const FIXED_LEN: usize = 32;
const PREFIX_LEN: usize = 32;
const MESSAGE_MAX: usize = FIXED_LEN + 2 * SUBNETS_MAX * PREFIX_LEN;

/// When a domain is told of its router.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Advertiser {
    /// When all are told next.
    pub(super) next: Instant,
    /// When all were told last.
    last: Option<Instant>,
    initial_left: u8,
    /// Prefixes that are advertised as void.
    retired: Vec<Cidr>,
}

impl Advertiser {
    /// One that begins at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self { next: now, last: None, initial_left: INITIAL_COUNT, retired: Vec::new() }
    }

    /// What is advertised has changed; these prefixes are not on the link any more.
    pub(super) fn restart(&mut self, now: Instant, gone: impl Iterator<Item = Cidr>, current: &[Cidr]) {
        self.retired.extend(gone.filter(|subnet| subnet.address().is_ipv6()).map(Cidr::network));
        self.retired.retain(|retired| current.iter().all(|subnet| subnet.network() != *retired));
        self.retired.sort_unstable();
        self.retired.dedup();
        self.retired.truncate(SUBNETS_MAX);
        self.initial_left = INITIAL_COUNT;
        self.next = self.no_sooner(now);
    }

    /// Somebody without an address asks: all are told soon.
    pub(super) fn hurry(&mut self, now: Instant, rng: &mut Rng) {
        let delay = span(Duration::ZERO, SOLICITED_DELAY_MAX, rng);
        self.next = self.next.min(self.no_sooner(now + delay));
    }

    /// All have been told.
    pub(super) fn told(&mut self, now: Instant, rng: &mut Rng) {
        self.last = Some(now);
        self.initial_left = self.initial_left.saturating_sub(1);
        let interval = span(INTERVAL_MIN, INTERVAL_MAX, rng);
        let interval = if self.initial_left > 0 { interval.min(INITIAL_INTERVAL_MAX) } else { interval };
        if self.initial_left == 0 {
            self.retired.clear();
        }
        self.next = now + interval;
    }

    fn no_sooner(&self, at: Instant) -> Instant {
        self.last.map_or(at, |last| at.max(last + BETWEEN_MIN))
    }
}

/// Some time from `min` to `max`.
pub(super) fn span(min: Duration, max: Duration, rng: &mut Rng) -> Duration {
    let width = u64::try_from((max - min).as_nanos()).expect("spans are minutes");
    min + Duration::from_nanos(rng.below(width + 1))
}

/// Makes the frame the advertisement of the router on a link to all or to one station.
pub(super) fn emit(link: &Link, lifetime: Duration, to: Option<(Mac, Ipv6Addr)>, frame: &mut FrameBuf) {
    let lifetime_s = u16::try_from(lifetime.as_secs()).expect("RFC 4861 §6.2.1 has at most 9,000 s");
    let mut message = [0; MESSAGE_MAX];
    let (fixed, prefixes) = message.split_at_mut(FIXED_LEN);
    fixed[0] = ADVERTISEMENT;
    fixed[4] = HOP_LIMIT;
    fixed[6..8].copy_from_slice(&lifetime_s.to_be_bytes());
    fixed[16..18].copy_from_slice(&[nd::SOURCE_LINK_LAYER_ADDRESS, 1]);
    fixed[18..24].copy_from_slice(&link.mac.0);
    fixed[24..26].copy_from_slice(&[MTU, 1]);
    fixed[28..32].copy_from_slice(&u32::from(link.mtu).to_be_bytes());

    let retired = link.advertiser.iter().flat_map(|advertiser| advertiser.retired.iter());
    let current = link.subnets.iter().map(|&subnet| (subnet, VALID_LIFETIME_S, PREFERRED_LIFETIME_S));
    let all = current.chain(retired.map(|&subnet| (subnet, 0, 0)));
    let mut len = FIXED_LEN;
    for (option, (subnet, valid_s, preferred_s)) in
        prefixes.chunks_exact_mut(PREFIX_LEN).zip(all.filter(|(subnet, ..)| subnet.address().is_ipv6()))
    {
        emit_prefix(option, subnet, valid_s, preferred_s);
        len += PREFIX_LEN;
    }
    let (dst_mac, dst) = to.unwrap_or((nd::ALL_NODES_MAC, nd::ALL_NODES));
    nd::emit(link.mac, dst_mac, link.link_local, dst, &message[..len], frame);
}

/// A prefix information option (RFC 4861 §4.6.2) into 32 zeros.
fn emit_prefix(option: &mut [u8], subnet: Cidr, valid_s: u32, preferred_s: u32) {
    let IpAddr::V6(prefix) = subnet.network().address() else { return };
    let flags = if is_autonomous(subnet) { ON_LINK | AUTONOMOUS } else { ON_LINK };
    option[..4].copy_from_slice(&[PREFIX_INFORMATION, 4, subnet.prefix_len(), flags]);
    option[4..8].copy_from_slice(&valid_s.to_be_bytes());
    option[8..12].copy_from_slice(&preferred_s.to_be_bytes());
    option[16..32].copy_from_slice(&prefix.octets());
}

//! Arithmetic of subnets: which there are in a network, which of them may be handed out, and which are free.
//!
//! A pool walks from its first to its last subnet in steps of one. The first subnet of a network is left out unless
//! somebody asks for it (`SubnetMin`), as with flanneld. Numbers are 128 bits wide and never leave the network: a
//! pool that exists has room for all its subnets. No clock, no chance.
//!
//! Source: flannel pkg/subnet/config.go, pkg/subnet/etcd/local_manager.go (`allocateSubnet`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Cidr;

/// Free subnets that a choice is made from (flannel's `allocateSubnet`). Those behind are looked at when these are taken.
pub const CANDIDATES_MAX: usize = 100;

/// A network and the part of it that subnets are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    network: Cidr,
    subnet_len: u8,
    first: u128,
    last: u128,
}

impl Pool {
    /// Every subnet of the network but the first; `None` unless there are at least two and the network's host bits are
    /// zero.
    pub fn whole(network: Cidr, subnet_len: u8) -> Option<Self> {
        let subnet = Cidr::new(network.address(), subnet_len)?;
        let has_room = network.is_network() && network.prefix_len() < subnet_len && step(subnet).is_some();
        if !has_room {
            return None;
        }
        let step = step(subnet)?;
        let first = number(network.address());
        let last = first + (span(network) - (step - 1));
        Some(Self { network, subnet_len, first: first + step, last })
    }

    /// The subnets from `first` to `last`, which must be subnets' addresses; `None` if there is none.
    #[must_use]
    pub fn between(self, first: IpAddr, last: IpAddr) -> Option<Self> {
        let pool = Self { first: number(first), last: number(last), ..self };
        let is_subnet = |address| self.network.contains(address) && self.subnet_at(address).is_network();
        (is_subnet(first) && is_subnet(last) && pool.first <= pool.last).then_some(pool)
    }

    /// All of it.
    pub const fn network(&self) -> Cidr {
        self.network
    }

    /// The length of every subnet's prefix.
    pub const fn subnet_len(&self) -> u8 {
        self.subnet_len
    }

    /// The address of the first subnet that may be handed out.
    pub fn first(&self) -> IpAddr {
        self.address(self.first)
    }

    /// The address of the last.
    pub fn last(&self) -> IpAddr {
        self.address(self.last)
    }

    /// Whether `subnet` could have been handed out under this configuration.
    pub fn may_hand_out(&self, subnet: Cidr) -> bool {
        let address = number(subnet.address());
        self.network.contains(subnet.address())
            && subnet.prefix_len() == self.subnet_len
            && subnet.is_network()
            && (self.first..=self.last).contains(&address)
    }

    /// The first [`CANDIDATES_MAX`] subnets that overlap none of `taken`.
    ///
    /// What is taken is skipped whole, so the work grows with the number of leases and not with the network's size.
    pub fn free(&self, taken: impl IntoIterator<Item = Cidr>) -> Vec<Cidr> {
        let mut taken: Vec<(u128, u128)> = taken
            .into_iter()
            .filter(|prefix| prefix.overlaps(self.network))
            .map(|prefix| {
                (number(prefix.network().address()), number(prefix.network().address()) + span(prefix))
            })
            .collect();
        taken.sort_unstable();
        let step = step(self.subnet_at(self.first())).expect("a pool's subnets are smaller than its network");
        let mut free = Vec::new();
        let mut taken = taken.into_iter().peekable();
        let mut next = self.first;
        while next <= self.last && free.len() < CANDIDATES_MAX {
            while taken.next_if(|&(_, end)| end < next).is_some() {}
            match taken.peek() {
                Some(&(start, end)) if start <= next + (step - 1) => {
                    // On to the first subnet behind what is taken; it may be the end of all numbers.
                    let steps = (end - next) / step + 1;
                    let Some(behind) = steps.checked_mul(step).and_then(|far| next.checked_add(far)) else {
                        break;
                    };
                    next = behind;
                }
                Some(_) | None => {
                    free.push(self.subnet_at(self.address(next)));
                    let Some(behind) = next.checked_add(step) else { break };
                    next = behind;
                }
            }
        }
        free
    }

    fn subnet_at(&self, address: IpAddr) -> Cidr {
        Cidr::new(address, self.subnet_len).expect("a pool's length fits its family")
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.network.address() {
            IpAddr::V4(_) => {
                Ipv4Addr::from_bits(u32::try_from(number).expect("a pool's subnets lie in its network"))
                    .into()
            }
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The number of the last address of a prefix, counted from its first as 0.
fn span(prefix: Cidr) -> u128 {
    let host_bits = if prefix.address().is_ipv4() { 32 } else { 128 } - u32::from(prefix.prefix_len());
    1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1)
}

/// The size of a prefix; `None` if it is all of IPv6.
fn step(prefix: Cidr) -> Option<u128> {
    span(prefix).checked_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn pool(network: &str, len: u8) -> Pool {
        Pool::whole(cidr(network), len).unwrap()
    }

    #[test]
    fn pools_that_cannot_be_are_none() {
        for (network, len) in [("10.0.0.0/8", 8), ("10.0.0.0/8", 33), ("10.0.0.1/8", 24), ("::/0", 0)] {
            assert_eq!(Pool::whole(cidr(network), len), None, "{network} {len}");
        }
        let ten = pool("10.5.0.0/16", 24);
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(ten.between(address("10.5.2.0"), address("10.5.1.0")), None);
        assert_eq!(ten.between(address("10.5.1.1"), address("10.5.2.0")), None);
        assert_eq!(ten.between(address("10.5.0.0"), address("10.6.0.0")), None);
        assert!(
            ten.between(address("10.5.0.0"), address("10.5.0.0")).unwrap().may_hand_out(cidr("10.5.0.0/24"))
        );
    }

    #[test]
    fn the_ends_of_all_addresses_are_reached() {
        assert_eq!(
            pool("240.0.0.0/4", 6).free([]),
            [cidr("244.0.0.0/6"), cidr("248.0.0.0/6"), cidr("252.0.0.0/6")]
        );
        let top = pool("c000::/2", 4);
        assert_eq!(top.free([]).last(), Some(&cidr("f000::/4")));
        assert_eq!(top.free([cidr("f000::/5"), cidr("e000::/4")]), [cidr("d000::/4")]);
        assert_eq!(pool("::/0", 2).free([cidr("::/0")]), []);
    }

    #[test]
    fn what_may_be_handed_out_is_in_range_of_the_length_and_whole() {
        let pool = pool("10.5.0.0/16", 24);
        for (subnet, may) in [
            ("10.5.1.0/24", true),
            ("10.5.255.0/24", true),
            ("10.5.0.0/24", false),
            ("10.6.1.0/24", false),
            ("10.5.1.0/25", false),
            ("10.5.1.7/24", false),
            ("fd00::/24", false),
        ] {
            assert_eq!(pool.may_hand_out(cidr(subnet)), may, "{subnet}");
        }
    }

    proptest! {
        /// Against the slow way: look at every subnet, and for each at everything that is taken.
        #[test]
        fn free_subnets_agree_with_the_slow_model(
            taken in prop::collection::vec((any::<u16>(), 14_u8..=30), 0..60),
        ) {
            let pool = pool("10.5.0.0/16", 22);
            let taken: Vec<Cidr> = taken
                .into_iter()
                .map(|(low, len)| Cidr::new(Ipv4Addr::from_bits(0x0a05_0000 | u32::from(low)).into(), len).unwrap())
                .collect();
            let slow: Vec<Cidr> = (1..64_u32)
                .map(|index| Cidr::new(Ipv4Addr::from_bits(0x0a05_0000 | index << 10).into(), 22).unwrap())
                .filter(|subnet| !taken.iter().any(|other| other.overlaps(*subnet)))
                .collect();
            prop_assert!(slow.iter().all(|&subnet| pool.may_hand_out(subnet)));
            prop_assert_eq!(pool.free(taken), slow);
        }
    }
}

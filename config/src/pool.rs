//! The addresses of a subnet that may be given out: its `ip_range` without what is reserved.
//!
//! Addresses are numbers here, so that a reserved prefix is stepped over at once however many addresses it has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Cidr;

use crate::spec::NetworkSpec;

/// What may be given out of one subnet.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    subnet: Cidr,
    /// First and last of each range, ascending.
    ranges: Vec<(u128, u128)>,
    reserved: Vec<(u128, u128)>,
}

impl Pool {
    /// The pool of `subnet` in a network. Ranges that are not in the subnet do not count: they are faults of their own.
    pub(crate) fn new(network: &NetworkSpec, subnet: Cidr) -> Self {
        let within =
            |range: &&Cidr| subnet.contains(range.address()) && range.prefix_len() >= subnet.prefix_len();
        let mut ranges: Vec<(u128, u128)> = network.ip_range.iter().filter(within).map(span).collect();
        if ranges.is_empty() {
            ranges.push(span(&subnet));
        }
        ranges.sort_unstable();
        let same_family = |prefix: &Cidr| prefix.address().is_ipv4() == subnet.address().is_ipv4();
        let mut reserved: Vec<(u128, u128)> = network
            .reserved
            .iter()
            .map(|prefix| prefix.0)
            .filter(same_family)
            .map(|prefix| span(&prefix))
            .collect();
        reserved.sort_unstable();
        Self { subnet, ranges, reserved }
    }

    /// Whether the address is one of the pool's.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let number = number(address);
        let in_one_of =
            |spans: &[(u128, u128)]| spans.iter().any(|(first, last)| (*first..=*last).contains(&number));
        self.subnet.contains_host(address) && in_one_of(&self.ranges) && !in_one_of(&self.reserved)
    }

    /// An address of the subnet with its prefix length.
    pub(crate) fn with_len(&self, address: IpAddr) -> Option<Cidr> {
        Cidr::new(address, self.subnet.prefix_len())
    }

    /// The lowest address that is free, with the subnet's prefix length. Below `reached` there is none, as was found
    /// before; `reached` grows.
    pub(crate) fn lowest(&self, reached: &mut u128, is_free: impl Fn(IpAddr) -> bool) -> Option<Cidr> {
        for &(first, last) in &self.ranges {
            *reached = first.max(*reached);
            while *reached <= last {
                let address = self.address(*reached);
                let next = match self.reserved.iter().find(|(first, last)| (*first..=*last).contains(reached))
                {
                    Some((_, last)) => last.checked_add(1)?,
                    None if self.subnet.contains_host(address) && is_free(address) => {
                        return self.with_len(address);
                    }
                    None => reached.checked_add(1)?,
                };
                *reached = next;
            }
        }
        None
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.subnet.address() {
            IpAddr::V4(_) => {
                Ipv4Addr::from_bits(u32::try_from(number).expect("a pool of IPv4 has 32-bit numbers")).into()
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

/// First and last address of a prefix.
fn span(prefix: &Cidr) -> (u128, u128) {
    let first = number(prefix.network().address());
    let bits = if prefix.address().is_ipv4() { 32 } else { 128 };
    let others =
        1_u128.checked_shl(bits - u32::from(prefix.prefix_len())).map_or(u128::MAX, |count| count - 1);
    (first, first + others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, ip_range: &[&str], reserved: &[&str]) -> Pool {
        let network = NetworkSpec {
            ip_range: ip_range.iter().map(|text| text.parse().unwrap()).collect(),
            reserved: reserved.iter().map(|text| text.parse().unwrap()).collect(),
            ..NetworkSpec::default()
        };
        Pool::new(&network, subnet.parse().unwrap())
    }

    fn all(pool: &Pool, count_max: usize) -> Vec<String> {
        let mut given = std::collections::BTreeSet::new();
        let mut reached = 0;
        while given.len() < count_max {
            let Some(cidr) = pool.lowest(&mut reached, |address| !given.contains(&address)) else { break };
            assert!(pool.has(cidr.address()), "{cidr}");
            given.insert(cidr.address());
        }
        given.into_iter().map(|address| address.to_string()).collect()
    }

    #[test]
    fn addresses_come_in_order_without_what_is_reserved() {
        assert_eq!(all(&pool("10.0.0.0/30", &[], &[]), 9), ["10.0.0.1", "10.0.0.2"]);
        let ranged = pool("10.0.0.0/24", &["10.0.0.248/30", "10.0.0.4/31"], &["10.0.0.249", "10.0.0.5"]);
        assert_eq!(all(&ranged, 9), ["10.0.0.4", "10.0.0.248", "10.0.0.250", "10.0.0.251"]);
        assert!(all(&pool("10.0.0.0/30", &[], &["10.0.0.0/8"]), 9).is_empty());
        let half = pool("fd00::/64", &[], &["fd00::/65", "fd00::8000:0:0:0"]);
        assert_eq!(all(&half, 2), ["fd00::8000:0:0:1", "fd00::8000:0:0:2"], "2^63 are stepped over");
        let top = pool("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", &[], &[]);
        assert_eq!(all(&top, 999).len(), 255, "the last address of all is one");
    }
}

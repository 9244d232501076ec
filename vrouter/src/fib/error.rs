//! Why a table was not built: each fault with the offending value and what to do.

use core::fmt;
use core::net::IpAddr;

use wire::Cidr;

use super::{NEXT_HOPS_MAX, NODES_MAX, ROUTES_MAX, TARGETS_MAX};

/// Why a table was not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibError {
    /// More than [`ROUTES_MAX`]: so many.
    TooManyRoutes(usize),
    /// The prefix has bits set that do not name the network.
    HostBits(Cidr),
    /// Two routes for one prefix.
    PrefixTwice(Cidr),
    /// The route goes through next hops, but has none.
    NoNextHop(Cidr),
    /// The route has more than [`NEXT_HOPS_MAX`]: so many.
    TooManyNextHops(Cidr, usize),
    /// The route has this next hop twice.
    NextHopTwice(Cidr, IpAddr),
    /// An IPv4 next hop of an IPv6 route, or the other way round.
    OtherFamily(Cidr, IpAddr),
    /// The next hop is unspecified, loopback, multicast or broadcast.
    NotAHostAddress(Cidr, IpAddr),
    /// More than [`TARGETS_MAX`] different targets: so many.
    TooManyTargets(usize),
    /// The trie of one family would have more than [`NODES_MAX`] nodes, for the prefixes are long and far apart.
    TooScattered,
}

impl fmt::Display for FibError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooManyRoutes(count) => {
                write!(f, "there are {count} routes, {ROUTES_MAX} is the most; remove some")
            }
            Self::HostBits(prefix) => {
                write!(f, "{prefix} has host bits set; did you mean {}?", prefix.network())
            }
            Self::PrefixTwice(prefix) => {
                write!(f, "{prefix} has two routes; give it one with several next hops, or remove one")
            }
            Self::NoNextHop(prefix) => write!(f, "the route to {prefix} has no next hop; name one"),
            Self::TooManyNextHops(prefix, count) => {
                write!(
                    f,
                    "the route to {prefix} has {count} next hops, {NEXT_HOPS_MAX} is the most; remove some"
                )
            }
            Self::NextHopTwice(prefix, hop) => {
                write!(f, "the route to {prefix} has next hop {hop} twice; remove one")
            }
            Self::OtherFamily(prefix, hop) => {
                write!(f, "the route to {prefix} cannot go through {hop}: the families differ")
            }
            Self::NotAHostAddress(prefix, hop) => {
                write!(f, "the route to {prefix} cannot go through {hop}: it is no single host's address")
            }
            Self::TooManyTargets(count) => write!(
                f,
                "the routes have {count} different targets, {TARGETS_MAX} is the most; let more of them share next hops"
            ),
            Self::TooScattered => {
                write!(f, "the routes need more than {NODES_MAX} nodes; use fewer long prefixes")
            }
        }
    }
}

impl core::error::Error for FibError {}

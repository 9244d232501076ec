//! The router's plan: where it stands, which way packets go, whom it translates, what it refuses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vrouter::fib::{Fib, NextHop, Route, Target};
use vrouter::{
    AclRule, Gateway, NatPlan, NetworkPolicy, OneToOne, Protocol, Publish, RouterPlan, Side, Timeouts,
};
use wire::{Cidr, DomainId, UnicastMac};

use super::{Compiler, unicast};
use crate::derive;
use crate::ends::{AclEnd, Inside};
use crate::spec::{
    AclAction, AclProto, AclSpec, Document, Filtering, NatSpec, NetworkSpec, PortSpec, Proto, PublishSpec,
    RouteKind, RouteSpec, UplinkSpec,
};

/// What is published, in the order of the document; the ids are still to be given.
pub(super) fn publishes(document: &Document) -> Vec<Publish> {
    document.publish.iter().map(|publish| published(document, publish)).collect()
}

fn published(document: &Document, publish: &PublishSpec) -> Publish {
    let PublishSpec { listen, proto, to } = publish;
    let is_any = listen.address.is_unspecified();
    Publish {
        id: 0,
        listen: (!is_any).then_some(listen.address),
        protocol: match proto {
            Proto::Tcp => Protocol::Tcp,
            Proto::Udp => Protocol::Udp,
        },
        l4_port_first: listen.l4_ports.first(),
        l4_port_last: listen.l4_ports.last(),
        to: derive::station_address(&document.port[&to.port], listen.address.is_ipv4())
            .expect("targets are checked to have an address of the family"),
        to_l4_port_first: to.l4_ports.first(),
    }
}

impl Compiler<'_> {
    pub(super) fn router_plan(&self, publishes: Vec<Publish>) -> RouterPlan {
        RouterPlan {
            gateways: self.gateways(),
            fib: Arc::new(self.fib()),
            direct: Arc::new(self.direct_fib()),
            nat: nat(&self.config.nat),
            publishes,
            one_to_one: self.one_to_one(),
            acl: self.config.acl.iter().map(|rule| self.acl_rule(rule)).collect(),
        }
    }

    fn gateways(&self) -> Vec<Gateway> {
        let networks = self.routed().map(|(domain, name, network)| Gateway {
            domain,
            mac: unicast(derive::gateway_mac(name, network)),
            addresses: network.gateway.clone(),
            subnets: derive::routed_subnets(network).collect(),
            mtu: network.mtu,
            side: Side::Network(policy(network, self.sole(name))),
        });
        let uplink = self.uplink().map(|(domain, uplink)| Gateway {
            domain,
            mac: unicast(derive::uplink_mac(uplink)),
            addresses: uplink.address.iter().map(|cidr| cidr.address()).collect(),
            subnets: uplink_subnets(uplink),
            mtu: uplink.mtu,
            side: Side::Uplink,
        });
        let mut gateways: Vec<Gateway> = networks.chain(uplink).chain(self.overlay_gateways()).collect();
        gateways.sort_by_key(|gateway| gateway.domain);
        gateways
    }

    /// The made-up MAC address of what stands behind the network's TUN device, if it has one.
    fn sole(&self, network: &str) -> Option<UnicastMac> {
        let is_of_it = |port: &PortSpec| port.tun && port.network.as_deref() == Some(network);
        let (name, port) = self.config.port.iter().find(|(_, port)| is_of_it(port))?;
        Some(unicast(derive::port_mac(name, port)))
    }

    /// The networks in which the router stands.
    fn routed(&self) -> impl Iterator<Item = (DomainId, &str, &NetworkSpec)> {
        let networks = self.config.network.iter().filter(|(_, network)| !network.gateway.is_empty());
        networks.map(|(name, network)| (self.domain(name), name.as_str(), network))
    }

    fn uplink(&self) -> Option<(DomainId, &UplinkSpec)> {
        self.config.uplink.as_ref().map(|uplink| (self.domain(derive::UPLINK), uplink))
    }

    /// Connected prefixes, the uplink's default routes, and what was given.
    fn fib(&self) -> Fib {
        let networks = self.routed().flat_map(|(domain, _, network)| {
            derive::routed_subnets(network).map(move |subnet| (domain, subnet))
        });
        let outside = self.uplink().into_iter().flat_map(|(domain, uplink)| {
            uplink_subnets(uplink).into_iter().map(move |subnet| (domain, subnet))
        });
        let connected = networks
            .chain(outside)
            .map(|(domain, prefix)| Route { prefix, target: Target::Connected(domain) });
        let defaults = self.uplink().into_iter().flat_map(|(domain, uplink)| {
            derive::uplink_gateways(uplink).into_iter().map(move |address| Route {
                prefix: derive::default_prefix(address.is_ipv4()),
                target: Target::Via(vec![NextHop { domain, address }]),
            })
        });
        let given = self.config.route.iter().map(|route| self.route(route));
        let peers = self.overlay_routes();
        let routes: Vec<Route> = connected.chain(defaults).chain(given).chain(peers).collect();
        Fib::build(&routes).expect("what a table of routes refuses has been refused with its line")
    }

    fn route(&self, route: &RouteSpec) -> Route {
        let target = match route.kind {
            Some(RouteKind::Blackhole) => Target::Blackhole,
            Some(RouteKind::Unreachable) => Target::Unreachable,
            Some(RouteKind::Prohibit) => Target::Prohibit,
            None => Target::Via(route.via.iter().map(|address| self.next_hop(*address)).collect()),
        };
        Route { prefix: route.to, target }
    }

    fn next_hop(&self, address: IpAddr) -> NextHop {
        let domain = derive::domain_of(self.config, address).expect("next hops are checked to be neighbours");
        NextHop { domain: self.domain(domain), address }
    }

    fn one_to_one(&self) -> Vec<OneToOne> {
        let pairs = self.config.one_to_one.iter().map(|pair| OneToOne {
            outside: pair.outside,
            inside: match &pair.inside {
                Inside::Address(address) => *address,
                Inside::Port(port) => {
                    derive::station_address(&self.config.port[port], pair.outside.is_ipv4())
                        .expect("stations are checked to have an address of the family")
                }
            },
        });
        pairs.collect()
    }

    fn acl_rule(&self, rule: &AclSpec) -> AclRule {
        AclRule {
            action: match rule.action {
                AclAction::Allow => vrouter::AclAction::Allow,
                AclAction::Deny => vrouter::AclAction::Deny,
                AclAction::Log => vrouter::AclAction::Log,
            },
            from: self.acl_end(&rule.from),
            to: self.acl_end(&rule.to),
            protocol: rule.proto.map(|proto| match proto {
                AclProto::Tcp => Protocol::Tcp,
                AclProto::Udp => Protocol::Udp,
                AclProto::Icmp => Protocol::Echo,
            }),
            l4_ports: rule.l4_ports.map(|l4_ports| (l4_ports.first(), l4_ports.last())),
        }
    }

    fn acl_end(&self, end: &AclEnd) -> vrouter::AclEnd {
        match end {
            AclEnd::Anyone => vrouter::AclEnd::Anyone,
            AclEnd::Uplink => vrouter::AclEnd::Domain(self.domain(derive::UPLINK)),
            AclEnd::Network(name) => vrouter::AclEnd::Domain(self.domain(name)),
            AclEnd::Port(name) => {
                let addresses = self.config.port[name].address.given().iter();
                vrouter::AclEnd::Prefixes(
                    addresses.map(|cidr| crate::ends::Prefix::of(cidr.address()).0).collect(),
                )
            }
            AclEnd::Prefix(prefix) => vrouter::AclEnd::Prefixes(vec![prefix.0]),
        }
    }
}

/// The networks of the uplink's addresses, each once.
fn uplink_subnets(uplink: &UplinkSpec) -> Vec<Cidr> {
    let mut subnets: Vec<Cidr> = uplink.address.iter().map(|cidr| cidr.network()).collect();
    subnets.sort();
    subnets.dedup();
    subnets
}

fn policy(network: &NetworkSpec, sole: Option<UnicastMac>) -> NetworkPolicy {
    NetworkPolicy {
        masquerade_v4: network.masquerade,
        masquerade_v6: network.masquerade_v6,
        internal: network.internal,
        isolated: network.isolated,
        separate_stations: !network.icc,
        advertise: derive::advertise(network),
        sole,
    }
}

fn nat(nat: &NatSpec) -> NatPlan {
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    NatPlan {
        filtering: match nat.filtering {
            Filtering::EndpointIndependent => vrouter::Filtering::EndpointIndependent,
            Filtering::AddressDependent => vrouter::Filtering::AddressDependent,
            Filtering::AddressAndPortDependent => vrouter::Filtering::AddressAndPortDependent,
        },
        sessions_max: nat.sessions_max,
        sessions_per_host_max: nat.sessions_per_host_max,
        mss_clamp: nat.mss_clamp,
        timeouts: Timeouts {
            tcp_established: seconds(nat.timeouts.tcp_established),
            tcp_transitory: seconds(nat.timeouts.tcp_transitory),
            udp: seconds(nat.timeouts.udp),
            udp_unanswered: seconds(nat.timeouts.udp_unanswered),
            icmp: seconds(nat.timeouts.icmp),
        },
    }
}

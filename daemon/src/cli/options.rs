//! Options that mirror the configuration's keys, one for one, and build the same specifications.
//!
//! An option that is not given leaves its key alone: at its default when something is added, as it was when it is
//! changed. Lists are given with commas or several times and replace what was there; `none` empties them and lifts
//! limits.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use config::{Addresses, Guard, NetworkSpec, PortSpec, Prefix, VxlanSpec};
use wire::{Cidr, Mac};

use super::Failure;
use crate::events::EventKind;

/// Octets of memory, as in `64MiB`, `2GiB` or `1000000`.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("{other:?} is none of KiB, MiB and GiB")),
    };
    let number: usize = digits.parse().map_err(|error| format!("{digits:?}: {error}"))?;
    let octets = number.checked_mul(unit).ok_or("that is more than any memory")?;
    if octets < MEMORY_MIN {
        Err(format!("less than {} MiB is of no use", MEMORY_MIN >> 20))
    } else {
        Ok(octets)
    }
}

/// The least that a flight recorder is good for: two states of a switch with masquerade.
const MEMORY_MIN: usize = 4 << 20;

/// The keys of `[network.NAME]`.
#[derive(Debug, Args)]
pub struct NetworkOptions {
    /// Prefixes, one of each address family
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    subnet: Vec<Cidr>,
    /// The router's addresses here, one of each family
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<IpAddr>,
    /// The part of the subnets that automatic addresses are taken from, or none for all of them
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = value_or_none::<Cidr>)]
    ip_range: Vec<OrNone<Cidr>>,
    /// Addresses and prefixes that are never given out automatically, or none
    #[arg(long, value_name = "ADDRESS|PREFIX", value_delimiter = ',', value_parser = value_or_none::<Prefix>)]
    reserved: Vec<OrNone<Prefix>>,
    /// IPv4 packets that leave through the uplink get its address
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    masquerade: Option<bool>,
    /// IPv6 packets do
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    masquerade_v6: Option<bool>,
    /// Packets are not routed to or from other isolated networks
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    isolated: Option<bool>,
    /// The router advertises itself to IPv6 stations; auto: where it has an address in a /64
    #[arg(long, value_name = "BOOL|auto", value_parser = bool_or_auto)]
    advertise: Option<OrNone<bool>>,
    /// Longest packet in octets
    #[arg(long, value_name = "OCTETS")]
    mtu: Option<u16>,
    /// Packets never leave through the uplink
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    internal: Option<bool>,
    /// Ports of this network may talk to each other
    #[arg(long, overrides_with = "no_icc")]
    icc: bool,
    /// Ports of this network cannot talk to each other
    #[arg(long, overrides_with = "icc")]
    no_icc: bool,
    /// How long a silent station is remembered; 0: for ever
    #[arg(long, value_name = "SECONDS")]
    ageing: Option<u32>,
    /// Stations learned at most
    #[arg(long, value_name = "COUNT")]
    stations_max: Option<u32>,
    /// Reserved group addresses 01:80:c2:00:00:0N that are flooded like others, or none
    #[arg(long, value_name = "N,N…", value_delimiter = ',', value_parser = value_or_none::<u8>)]
    reserved_forward: Vec<OrNone<u8>>,
    /// Stretch the network over VXLAN with this identifier
    #[arg(long, value_name = "VNI")]
    vxlan_vni: Option<u32>,
    /// The UDP port of every VXLAN tunnel end
    #[arg(long, value_name = "L4-PORT")]
    vxlan_port: Option<u16>,
    /// This host's VXLAN tunnel end
    #[arg(long, value_name = "ADDRESS")]
    vxlan_local: Option<IpAddr>,
    /// The other VXLAN tunnel ends
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    vxlan_remote: Vec<IpAddr>,
}

impl NetworkOptions {
    /// `spec` with what was given.
    pub(super) fn apply(self, mut spec: NetworkSpec) -> Result<NetworkSpec, Failure> {
        replace(&mut spec.subnet, self.subnet);
        replace(&mut spec.gateway, self.gateway);
        set(&mut spec.masquerade, self.masquerade);
        set(&mut spec.masquerade_v6, self.masquerade_v6);
        set(&mut spec.isolated, self.isolated);
        set(&mut spec.advertise, self.advertise.map(|OrNone(advertise)| advertise));
        if !self.ip_range.is_empty() {
            spec.ip_range = self.ip_range.into_iter().filter_map(|OrNone(range)| range).collect();
        }
        if !self.reserved.is_empty() {
            spec.reserved = self.reserved.into_iter().filter_map(|OrNone(prefix)| prefix).collect();
        }
        set(&mut spec.mtu, self.mtu);
        set(&mut spec.internal, self.internal);
        set(&mut spec.icc, (self.icc || self.no_icc).then_some(self.icc));
        set(&mut spec.ageing, self.ageing);
        set(&mut spec.stations_max, self.stations_max);
        if !self.reserved_forward.is_empty() {
            spec.reserved_forward =
                self.reserved_forward.into_iter().filter_map(|OrNone(number)| number).collect();
        }
        let vxlan_given = self.vxlan_vni.is_some()
            || self.vxlan_port.is_some()
            || self.vxlan_local.is_some()
            || !self.vxlan_remote.is_empty();
        if vxlan_given {
            let missing = |key| Failure::invalid("--vxlan-…", format!("{key} must be given too"));
            let old = spec.vxlan.take();
            let vni =
                self.vxlan_vni.or(old.as_ref().map(|old| old.vni)).ok_or_else(|| missing("--vxlan-vni"))?;
            let local = self
                .vxlan_local
                .or(old.as_ref().map(|old| old.local))
                .ok_or_else(|| missing("--vxlan-local"))?;
            let mut vxlan = old.unwrap_or(VxlanSpec {
                vni,
                port: VXLAN_PORT,
                local,
                remotes: Vec::new(),
                underlay_mtu: None,
                arp_suppression: false,
                sources: std::collections::BTreeMap::new(),
            });
            (vxlan.vni, vxlan.local) = (vni, local);
            set(&mut vxlan.port, self.vxlan_port);
            replace(&mut vxlan.remotes, self.vxlan_remote);
            spec.vxlan = Some(vxlan);
        }
        Ok(spec)
    }
}

/// RFC 7348 §5.
const VXLAN_PORT: u16 = 4789;

/// The keys of `[port.NAME]`.
#[derive(Debug, Args)]
pub struct PortOptions {
    /// The network it belongs to
    #[arg(long)]
    network: Option<String>,
    /// The namespace its device is moved to, by name or absolute path
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// What its device is called there; default: the port's name
    #[arg(long, value_name = "NAME")]
    ifname: Option<String>,
    /// The station's addresses with prefix length; auto: the next free ones of the network
    #[arg(long, value_name = "CIDR|auto", value_delimiter = ',')]
    address: Vec<String>,
    /// The MAC address of its device
    #[arg(long)]
    mac: Option<Mac>,
    /// The tag that the network has on this port's wire; 0: none
    #[arg(long, value_name = "VID")]
    vlan: Option<u16>,
    /// Further networks by their tag on this port's wire, or none
    #[arg(long, value_name = "VID=NETWORK", value_delimiter = ',', value_parser = trunk_or_none)]
    trunk: Vec<OrNone<(u16, String)>>,
    /// Longest packet in octets
    #[arg(long, value_name = "OCTETS")]
    mtu: Option<u16>,
    /// Stations learned at most
    #[arg(long, value_name = "COUNT")]
    stations_max: Option<u32>,
    /// What the station may not do: mac, arp, nd, ra, dhcp; all; none
    #[arg(long, value_name = "GUARD,…", value_delimiter = ',', value_parser = guards)]
    guard: Vec<Guards>,
    /// Broadcasts a second it may send, or none for no limit
    #[arg(long, value_name = "RATE", value_parser = value_or_none::<u32>)]
    storm_broadcast: Option<OrNone<u32>>,
    /// Multicasts a second it may send, or none for no limit
    #[arg(long, value_name = "RATE", value_parser = value_or_none::<u32>)]
    storm_multicast: Option<OrNone<u32>>,
    /// Frames a second it may send to unknown stations, or none for no limit
    #[arg(long, value_name = "RATE", value_parser = value_or_none::<u32>)]
    storm_unknown: Option<OrNone<u32>>,
    /// It may talk to no other isolated port; default: as its network's icc says
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    isolated: Option<bool>,
}

impl PortOptions {
    /// `spec` with what was given.
    pub(super) fn apply(self, mut spec: PortSpec) -> Result<PortSpec, Failure> {
        keep_or(&mut spec.network, self.network);
        keep_or(&mut spec.netns, self.netns);
        keep_or(&mut spec.ifname, self.ifname);
        if !self.address.is_empty() {
            spec.address = addresses(&self.address)?;
        }
        keep_or(&mut spec.mac, self.mac);
        set(&mut spec.vlan, self.vlan);
        if !self.trunk.is_empty() {
            spec.trunk = self.trunk.into_iter().filter_map(|OrNone(pair)| pair).collect();
        }
        keep_or(&mut spec.mtu, self.mtu);
        keep_or(&mut spec.stations_max, self.stations_max);
        if !self.guard.is_empty() {
            spec.guard = self.guard.into_iter().flat_map(|Guards(guards)| guards).collect();
        }
        set(&mut spec.storm.broadcast, self.storm_broadcast.map(|OrNone(rate)| rate));
        set(&mut spec.storm.multicast, self.storm_multicast.map(|OrNone(rate)| rate));
        set(&mut spec.storm.unknown, self.storm_unknown.map(|OrNone(rate)| rate));
        keep_or(&mut spec.isolated, self.isolated);
        Ok(spec)
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

fn keep_or<T>(place: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *place = given;
    }
}

fn replace<T>(place: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *place = given;
    }
}

/// A value, or the word `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OrNone<T>(Option<T>);

fn value_or_none<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<OrNone<T>, String> {
    match text {
        "none" => Ok(OrNone(None)),
        value => value.parse().map(|value| OrNone(Some(value))).map_err(|error: T::Err| error.to_string()),
    }
}

fn bool_or_auto(text: &str) -> Result<OrNone<bool>, String> {
    match text {
        "auto" => Ok(OrNone(None)),
        value => value
            .parse()
            .map(|value| OrNone(Some(value)))
            .map_err(|_| "expected true, false or auto".to_owned()),
    }
}

fn trunk_or_none(text: &str) -> Result<OrNone<(u16, String)>, String> {
    if text == "none" {
        return Ok(OrNone(None));
    }
    let (vid, network) = text.split_once('=').ok_or("expected VID=NETWORK, as in 10=a")?;
    let vid = vid.parse().map_err(|error| format!("{vid:?} is no VLAN identifier: {error}"))?;
    Ok(OrNone(Some((vid, network.to_owned()))))
}

/// What one word of `--guard` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guards(Vec<Guard>);

fn guards(text: &str) -> Result<Guards, String> {
    match text {
        "none" => Ok(Guards(Vec::new())),
        "all" => Ok(Guards(Guard::ALL.into())),
        name => serde_json::from_value(name.into())
            .map(|guard| Guards(vec![guard]))
            .map_err(|_| "expected mac, arp, nd, ra, dhcp, all or none".to_owned()),
    }
}

fn addresses(texts: &[String]) -> Result<Addresses, Failure> {
    match texts {
        [word] if word == "auto" => return Ok(Addresses::Auto),
        [word] if word == "none" => return Ok(Addresses::Given(Vec::new())),
        _ => {}
    }
    let parse = |text: &String| {
        text.parse().map_err(|error| Failure::invalid("--address", format!("{text:?} is not valid: {error}")))
    };
    texts.iter().map(parse).collect::<Result<_, _>>().map(Addresses::Given)
}

/// `PORT=CAPTURE`.
pub(super) fn port_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (port, file) = text.split_once('=').ok_or("expected PORT=CAPTURE, as in c1=c1.pcapng")?;
    Ok((port.to_owned(), file.into()))
}

/// The id of an event kind.
pub(super) fn event_kind(text: &str) -> Result<EventKind, String> {
    EventKind::ALL.iter().copied().find(|kind| kind.id() == text).ok_or_else(|| {
        let ids: Vec<_> = EventKind::ALL.iter().map(|kind| kind.id()).collect();
        format!("expected one of {}", ids.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, NetworkCommand, PortCommand};
    use clap::{CommandFactory as _, Parser as _};

    fn network(line: &str, spec: NetworkSpec) -> Result<NetworkSpec, Failure> {
        let words = format!("tapestry network set n {line}");
        let command = Cli::try_parse_from(words.split_whitespace()).unwrap().command;
        let Command::Network(NetworkCommand::Set { options, .. }) = command else { panic!("{command:?}") };
        options.apply(spec)
    }

    fn port(line: &str, spec: PortSpec) -> Result<PortSpec, Failure> {
        let words = format!("tapestry port set p {line}");
        let command = Cli::try_parse_from(words.split_whitespace()).unwrap().command;
        let Command::Port(PortCommand::Set { options, .. }) = command else { panic!("{command:?}") };
        options.apply(spec)
    }

    #[test]
    fn grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_network_key_has_an_option() {
        let line = "--subnet 10.0.0.0/8,fd00::/64 --gateway 10.0.0.1 --masquerade --mtu 9000 --internal=true --no-icc \
                    --ageing 0 --stations-max 7 --reserved-forward 0,14 --vxlan-vni 42 --vxlan-local 192.0.2.1 \
                    --vxlan-remote 192.0.2.2 --vxlan-port 8472 --masquerade-v6 --isolated --advertise false \
                    --ip-range 10.1.0.0/16 --reserved 10.1.0.9,fd00::/120";
        let given = network(line, NetworkSpec::default()).unwrap();
        let text = r#"{"subnet": ["10.0.0.0/8", "fd00::/64"], "gateway": ["10.0.0.1"], "masquerade": true,
            "mtu": 9000, "internal": true, "icc": false, "ageing": 0, "stations_max": 7, "reserved_forward": [0, 14],
            "masquerade_v6": true, "isolated": true, "advertise": false, "ip_range": ["10.1.0.0/16"],
            "reserved": ["10.1.0.9", "fd00::/120"], "vxlan": {"vni": 42, "port": 8472, "local": "192.0.2.1", "remotes": ["192.0.2.2"]}}"#;
        assert_eq!(given, serde_json::from_str(text).unwrap());
    }

    #[test]
    fn every_port_key_has_an_option() {
        let line = "--network a --netns ns1 --ifname eth0 --address 172.16.0.2/16,fd00::2/64 --mac 02:42:ac:10:00:02 \
                    --vlan 5 --trunk 10=b --trunk 20=c --mtu 1400 --stations-max 3 --guard mac,arp \
                    --storm-broadcast 1 --storm-multicast 2 --storm-unknown 3 --isolated";
        let given = port(line, PortSpec::default()).unwrap();
        let text = r#"{"network": "a", "netns": "ns1", "ifname": "eth0", "address": ["172.16.0.2/16", "fd00::2/64"],
            "mac": "02:42:ac:10:00:02", "vlan": 5, "trunk": {"10": "b", "20": "c"}, "mtu": 1400, "stations_max": 3,
            "guard": ["mac", "arp"], "storm": {"broadcast": 1, "multicast": 2, "unknown": 3}, "isolated": true}"#;
        assert_eq!(given, serde_json::from_str(text).unwrap());
    }

    #[test]
    fn what_is_not_named_is_kept() {
        let full =
            port("--network a --guard all --storm-unknown 3 --trunk 1=b", PortSpec::default()).unwrap();
        assert_eq!(port("", full.clone()).unwrap(), full);
        let less = port("--guard none --storm-unknown none --trunk none --address auto", full).unwrap();
        let kept =
            PortSpec { network: Some("a".to_owned()), address: Addresses::Auto, ..PortSpec::default() };
        assert_eq!(less, kept);
        let closed = NetworkSpec { icc: false, ..NetworkSpec::default() };
        assert_eq!(network("--mtu 9000", closed.clone()).unwrap().icc, closed.icc);
        assert!(network("--icc", closed).unwrap().icc);
    }

    #[test]
    fn half_a_tunnel_is_refused() {
        assert!(matches!(network("--vxlan-vni 1", NetworkSpec::default()), Err(Failure::Refused(_))));
    }

    #[test]
    fn nonsense_is_refused_by_the_grammar() {
        for line in ["--mac 1", "--trunk 10", "--trunk x=a", "--guard everything", "--storm-unknown lots"] {
            let words = format!("tapestry port add p {line}");
            assert!(Cli::try_parse_from(words.split_whitespace()).is_err(), "{line}");
        }
        assert!(matches!(port("--address 10.0.0", PortSpec::default()), Err(Failure::Refused(_))));
    }
}

#[cfg(test)]
mod memory_tests {
    use super::*;

    #[test]
    fn memory_has_binary_units() {
        assert_eq!(memory("64MiB"), Ok(64 << 20));
        assert_eq!(memory("1GiB"), Ok(1 << 30));
        assert_eq!(memory("5000000"), Ok(5_000_000));
        for wrong in ["", "MiB", "64MB", "-1GiB", "1", "99999999999GiB", "6é4", "１MiB"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }
}

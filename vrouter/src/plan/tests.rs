//! Plans that are refused, each for its reason.

use super::*;
use std::vec;
use wire::Mac;

fn gateway(domain: u16, addresses: Vec<IpAddr>) -> Gateway {
    let mac = UnicastMac::new(Mac([2, 0, 0, 0, 0, 1])).unwrap();
    Gateway::of_network(DomainId(domain), mac, addresses, Vec::new())
}

fn uplink(domain: u16) -> Gateway {
    Gateway { side: Side::Uplink, ..gateway(domain, vec![[192, 168, 9, 7].into()]) }
}

fn check(gateways: Vec<Gateway>) -> Result<(), PlanError> {
    RouterPlan { gateways, ..RouterPlan::default() }.check()
}

#[test]
fn contradictions_have_names() {
    let good: IpAddr = [172, 16, 0, 1].into();
    let many: Vec<IpAddr> = (1..=17).map(|host| [172, 16, 0, host].into()).collect();
    assert_eq!(check(vec![]), Ok(()));
    assert_eq!(check(vec![gateway(0, vec![good]), gateway(1, vec![[172, 17, 0, 1].into()])]), Ok(()));
    assert_eq!(
        check(vec![gateway(3, vec![good]), gateway(3, vec![])]),
        Err(PlanError::DomainTwice(DomainId(3)))
    );
    assert_eq!(
        check(vec![gateway(3, vec![good]), gateway(4, vec![good])]),
        Err(PlanError::AddressTwice(DomainId(4), good))
    );
    assert_eq!(check(vec![uplink(1), uplink(2)]), Err(PlanError::UplinkTwice(DomainId(2))));
    assert_eq!(check(vec![gateway(0, many[..GATEWAY_ADDRESSES_MAX].to_vec())]), Ok(()));
    assert_eq!(check(vec![gateway(0, many)]), Err(PlanError::TooManyAddresses(DomainId(0))));
    for bad in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "::1"] {
        let bad = bad.parse().unwrap();
        assert_eq!(
            check(vec![gateway(0, vec![good, bad])]),
            Err(PlanError::NotAHostAddress(DomainId(0), bad))
        );
    }
}

/// TCP at `listen` (`None`: everywhere), L4 ports `first` to `last`, to 172.16.0.9.
fn publish(id: u32, listen: Option<[u8; 4]>, first: u16, last: u16) -> Publish {
    Publish {
        id,
        listen: listen.map(IpAddr::from),
        protocol: Protocol::Tcp,
        l4_port_first: first,
        l4_port_last: last,
        to: [172, 16, 0, 9].into(),
        to_l4_port_first: first,
    }
}

fn check_publishes(publishes: Vec<Publish>) -> Result<(), PlanError> {
    let gateways = vec![gateway(0, vec![[172, 16, 0, 1].into()]), uplink(1)];
    RouterPlan { gateways, publishes, ..RouterPlan::default() }.check()
}

#[test]
fn published_l4_ports_belong_to_one_entry() {
    let here = Some([192, 168, 9, 7]);
    let there = Some([172, 16, 0, 1]);
    let udp = Publish { protocol: Protocol::Udp, ..publish(2, None, 80, 80) };
    for (what, second, expected) in [
        ("another L4 port", publish(2, here, 90, 99), Ok(())),
        ("another address", publish(2, there, 80, 89), Ok(())),
        ("another protocol", udp, Ok(())),
        ("the same", publish(2, here, 80, 89), Err(PlanError::PublishOverlap(1, 2))),
        ("its end", publish(2, here, 89, 95), Err(PlanError::PublishOverlap(1, 2))),
        ("everywhere, around it", publish(2, None, 1, 65_535), Err(PlanError::PublishOverlap(2, 1))),
        ("everywhere, its end", publish(2, None, 89, 89), Err(PlanError::PublishOverlap(2, 1))),
        ("everywhere, beside it", publish(2, None, 79, 79), Ok(())),
        ("one id twice", publish(1, here, 1, 1), Err(PlanError::PublishOverlap(1, 1))),
        ("a stranger's address", publish(2, Some([8, 8, 8, 8]), 1, 1), Err(PlanError::PublishElsewhere(2))),
        ("no L4 port", publish(2, here, 0, 1), Err(PlanError::Publish(2))),
        ("an empty run", publish(2, here, 2, 1), Err(PlanError::Publish(2))),
    ] {
        assert_eq!(check_publishes(vec![publish(1, here, 80, 89), second]), expected, "{what}");
    }
    let past_the_end = Publish { to_l4_port_first: 65_535, ..publish(1, here, 1, 2) };
    assert_eq!(check_publishes(vec![past_the_end]), Err(PlanError::Publish(1)));
    let other_family = Publish { to: "fd00::9".parse().unwrap(), ..publish(1, here, 1, 2) };
    assert_eq!(check_publishes(vec![other_family]), Err(PlanError::Publish(1)));
}

#[test]
fn an_outside_address_is_one_stations() {
    let pair =
        |outside: [u8; 4], inside: [u8; 4]| OneToOne { outside: outside.into(), inside: inside.into() };
    let check = |one_to_one| {
        let gateways = vec![gateway(0, vec![[172, 16, 0, 1].into()]), uplink(1)];
        RouterPlan { gateways, one_to_one, ..RouterPlan::default() }.check()
    };
    let ours = [192, 168, 9, 7];
    assert_eq!(check(vec![pair(ours, [172, 16, 0, 9])]), Ok(()));
    let refused = |outside: [u8; 4]| Err(PlanError::OneToOne(outside.into()));
    assert_eq!(check(vec![pair([8, 8, 8, 8], [172, 16, 0, 9])]), refused([8, 8, 8, 8]));
    assert_eq!(check(vec![pair(ours, [172, 16, 0, 1])]), refused(ours));
    assert_eq!(check(vec![pair(ours, [224, 0, 0, 1])]), refused(ours));
    assert_eq!(check(vec![pair(ours, [172, 16, 0, 8]), pair(ours, [172, 16, 0, 9])]), refused(ours));
}

#[test]
fn access_rules_ask_for_l4_ports_only_where_there_are_some() {
    let rule = |protocol, l4_ports| AclRule {
        action: AclAction::Deny,
        from: AclEnd::Anyone,
        to: AclEnd::Domain(DomainId(1)),
        protocol,
        l4_ports,
    };
    let check = |acl| RouterPlan { acl, ..RouterPlan::default() }.check();
    assert_eq!(check(vec![rule(None, None), rule(Some(Protocol::Tcp), Some((1, 1)))]), Ok(()));
    assert_eq!(check(vec![rule(None, None), rule(None, Some((1, 1)))]), Err(PlanError::AclRule(1)));
    assert_eq!(check(vec![rule(Some(Protocol::Echo), Some((1, 1)))]), Err(PlanError::AclRule(0)));
    assert_eq!(check(vec![rule(Some(Protocol::Udp), Some((2, 1)))]), Err(PlanError::AclRule(0)));
    assert_eq!(check(vec![rule(None, None); ACL_RULES_MAX + 1]), Err(PlanError::TooManyAclRules));
}

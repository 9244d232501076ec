//! Masquerading and forwarding: flanneld's rules in one table of ours, and who sees to it that they stay.
//!
//! Let C be the network and P our own subnet. In this order, for each family:
//!
//! | match | verdict | because |
//! |---|---|---|
//! | mark 0x4000/0x4000 | return | kube-proxy sees to it |
//! | from P to C | return | a pod here to any pod keeps its address |
//! | from C to P | return | and so does any pod to one here |
//! | not from C, to P | return | outside to a pod here keeps it, too |
//! | from C, not to a group | masquerade | a pod to the outside |
//! | not from C, to C | masquerade | the host, or the outside through it, to pods elsewhere |
//!
//! That is the iptables flavour of flanneld; its nftables flavour differs in the fourth rule by accident. The table's
//! name contains the network, so that several instances do not meet. It stays when we go, as flanneld's rules do. It is
//! looked at whenever any table changes and every `-iptables-resync` seconds, and made anew if a rule is missing or another's,
//! or the table dormant.
//!
//! Forwarding: rules that accept, as in flanneld; they overrule no other table's refusal (a DROP policy of iptables'
//! FORWARD chain, say), because nftables does not work that way. Clock: tokio's.
//!
//! Source: flannel pkg/trafficmngr/iptables/iptables.go.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use wire::Cidr;

use super::nft::{Chain, Found, Hook, Match, Nft, Rule, Table, Verdict};
use crate::registry::lease::Subnets;
use crate::registry::network::Network;

/// kube-proxy's mark for packets that it will masquerade.
const KUBE_MARK: u32 = 0x4000;

/// After the table was made anew it is left alone for so long, lest two programs that undo each other do nothing else.
const PAUSE: Duration = Duration::from_millis(200);

/// What the firewall is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) masquerade: bool,
    pub(super) random_fully: bool,
    pub(super) forward: bool,
}

/// What the table of a network is called.
pub(super) fn name(network: Cidr) -> String {
    format!("tapestry-flannel-{}-{}", network.address(), network.prefix_len())
}

/// The table for a network and our subnets of it; `None` if there is nothing to do.
pub(super) fn table(network: &Network, own: Subnets, wish: Wish) -> Option<Table> {
    let pairs = || {
        let families = [(network.v4, Some(own.v4)), (network.v6, own.v6)];
        families.into_iter().filter_map(|(pool, own)| Some((pool?.network(), own?)))
    };
    let mut chains = Vec::new();
    if wish.masquerade {
        let mark = Rule { matches: vec![Match::Mark(KUBE_MARK)], verdict: Verdict::Return, comment: MASQ };
        let rules = pairs().flat_map(|(all, ours)| masquerade(all, ours, wish.random_fully));
        chains.push(Chain {
            name: "postrtg",
            hook: Hook::SourceNat,
            rules: std::iter::once(mark).chain(rules).collect(),
        });
    }
    if wish.forward {
        let rules = pairs().flat_map(|(all, _)| [from(all), to(all)]).map(|prefix| Rule {
            matches: vec![prefix],
            verdict: Verdict::Accept,
            comment: "flanneld forward",
        });
        chains.push(Chain { name: "forward", hook: Hook::Forward, rules: rules.collect() });
    }
    let network = pairs().next()?.0;
    (!chains.is_empty()).then(|| Table { name: name(network), chains })
}

const MASQ: &str = "flanneld masq";

fn masquerade(all: Cidr, ours: Cidr, random_fully: bool) -> [Rule; 5] {
    let groups = match all.address() {
        std::net::IpAddr::V4(_) => Cidr::new(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        std::net::IpAddr::V6(_) => Cidr::new(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    };
    let groups = groups.expect("both are prefixes");
    let rule = |matches: [Match; 2], verdict| Rule { matches: matches.to_vec(), verdict, comment: MASQ };
    let masquerade = Verdict::Masquerade { random_fully };
    [
        rule([from(ours), to(all)], Verdict::Return),
        rule([from(all), to(ours)], Verdict::Return),
        rule([outside(from(all)), to(ours)], Verdict::Return),
        rule([from(all), outside(to(groups))], masquerade),
        rule([outside(from(all)), to(all)], masquerade),
    ]
}

const fn from(prefix: Cidr) -> Match {
    Match::Prefix { prefix, is_source: true, is_within: true }
}

const fn to(prefix: Cidr) -> Match {
    Match::Prefix { prefix, is_source: false, is_within: true }
}

const fn outside(within: Match) -> Match {
    match within {
        Match::Prefix { prefix, is_source, is_within } => {
            Match::Prefix { prefix, is_source, is_within: !is_within }
        }
        Match::Mark(_) => within,
    }
}

/// Makes the table and keeps it there for as long as this is polled.
///
/// # Errors
/// If it cannot be made the first time. Later failures are logged, and it is tried again.
pub(super) async fn keep(table: Table, resync: Duration, made: impl FnOnce()) -> io::Result<()> {
    let mut listener = Nft::listen()?;
    let mut nft = Nft::open()?;
    nft.replace(&table)?;
    let mut as_made = nft.find(&table.name)?;
    made();
    let mut said = String::new();
    loop {
        tokio::select! {
            changed = listener.changed() => changed?,
            () = tokio::time::sleep(resync) => {}
        }
        put_back(&mut nft, &table, &mut as_made, &mut said);
        // What follows at once, our own change too, is looked at together.
        let more = async {
            loop {
                listener.changed().await?;
            }
        };
        if let Ok(failed) = tokio::time::timeout(PAUSE, more).await {
            return failed;
        }
        put_back(&mut nft, &table, &mut as_made, &mut said);
    }
}

/// Makes the table anew if it is not `as_made`. `said` is the failure that was logged last.
fn put_back(nft: &mut Nft, table: &Table, as_made: &mut Found, said: &mut String) {
    let outcome = nft.find(&table.name).and_then(|there| {
        if there == *as_made {
            return Ok(());
        }
        nft.replace(table)?;
        *as_made = nft.find(&table.name)?;
        tracing::warn!("nftables table inet {} was changed by somebody; made anew", table.name);
        Ok(())
    });
    let failure = outcome.err().map(|error| error.to_string()).unwrap_or_default();
    if !failure.is_empty() && failure != *said {
        tracing::error!("{failure}; it is tried again");
    }
    *said = failure;
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish { masquerade: true, random_fully: true, forward: true };

    fn network(document: &str) -> Network {
        Network::parse(document.as_bytes()).unwrap()
    }

    #[test]
    fn each_family_has_its_rules_in_order() {
        let dual = network(r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"}"#);
        let own = "10.5.2.0-24&fd00:0:0:2::-64".parse().unwrap();
        let table = table(&dual, own, WISH).unwrap();
        assert_eq!(table.name, "tapestry-flannel-10.5.0.0-16");
        let verdicts: Vec<Verdict> = table.chains[0].rules.iter().map(|rule| rule.verdict).collect();
        let masquerade = Verdict::Masquerade { random_fully: true };
        let family = [Verdict::Return, Verdict::Return, Verdict::Return, masquerade, masquerade];
        assert_eq!(verdicts, [&[Verdict::Return][..], &family, &family].concat());
        assert_eq!(table.chains[1].rules.len(), 4);
        let v4: Cidr = "10.5.0.0/16".parse().unwrap();
        assert_eq!(table.chains[0].rules[5].matches, [outside(from(v4)), to(v4)]);
    }

    #[test]
    fn what_is_not_wished_is_not_made() {
        let v4 = network(r#"{"Network":"10.5.0.0/16"}"#);
        let own: Subnets = "10.5.2.0-24".parse().unwrap();
        let only = |masquerade, forward| table(&v4, own, Wish { masquerade, forward, ..WISH });
        assert_eq!(only(false, false), None);
        assert_eq!(only(true, false).unwrap().chains.len(), 1);
        assert_eq!(only(false, true).unwrap().chains[0].name, "forward");
    }
}

//! Impossible worlds are refused, each fault with its line and reason.

use super::*;

/// A switch with ports c1 and c2, and two hosts; `more` is put at the end.
fn world(more: &str) -> String {
    format!(
        "[node.s1]\nconfig = '''\n[network.a]\n[port.c1]\nnetwork = \"a\"\n[port.c2]\nnetwork = \"a\"\n'''\n\
         [host.h1]\naddress = [\"10.0.0.1/24\"]\n[host.h2]\naddress = [\"10.0.0.2/24\"]\n\
         [[link]]\nbetween = [\"h1\", \"s1:c1\"]\n[[link]]\nbetween = [\"h2\", \"s1:c2\"]\n{more}"
    )
}

/// Lines of [`world`] before what is added.
const LINES: usize = 16;

#[track_caller]
fn refused(text: &str, line: usize, reason: &str) {
    let report = check("w.toml", text).unwrap_err().to_string();
    assert!(report.starts_with(&format!("w.toml:{line}:")), "{report}");
    assert!(report.contains(reason), "{report}");
}

#[test]
fn a_world_that_can_be_is_read() {
    let topology = check("w.toml", &world("[[flow]]\nkind = \"udp\"\nfrom = \"h1\"\nto = \"h2\"\n")).unwrap();
    assert_eq!(topology.cables[0].ends, [End::Host(0), End::Port(0, "c1".to_owned())]);
    let flow = &topology.flows[0];
    assert_eq!((flow.to, flow.l4_port), ([10, 0, 0, 2].into(), 5000));
    assert_eq!(flow.served_by, Some((1, 5000)));
    assert_eq!(topology.healed_at(), Instant::ZERO);
}

#[test]
fn what_is_not_given_follows_from_the_port() {
    let text = "[node.s1]\nconfig = '''\n[network.a]\nsubnet = [\"10.0.0.0/24\"]\ngateway = [\"10.0.0.1\"]\n\
         [port.c1]\nnetwork = \"a\"\nnetns = \"x\"\naddress = [\"10.0.0.9/24\"]\nmtu = 1400\n'''\n\
         [host.h1]\n[[link]]\nbetween = [\"h1\", \"s1:c1\"]\n";
    let topology = check("w.toml", text).unwrap();
    let host = &topology.hosts[0];
    assert_eq!(host.mac, Mac([2, 0x42, 10, 0, 0, 9]));
    assert_eq!(host.addresses, ["10.0.0.9/24".parse().unwrap()]);
    assert_eq!(host.routes, [("0.0.0.0/0".parse().unwrap(), [10, 0, 0, 1].into())]);
    assert_eq!(host.mtu, 1400);
}

#[test]
fn impossible_worlds_are_refused_with_line_and_reason() {
    let cases = [
        ("[[flow]]\nkind = \"fly\"\nfrom = \"h1\"\nto = \"h2\"\n", 2, "is not one of"),
        ("nodes = 3\n", 1, "unknown key"),
        ("[[link]]\nbetween = [\"h1\"]\n", 2, ""),
        ("[[link]]\nbetween = [\"h3\", \"s1:c1\"]\n", 2, "no host \"h3\""),
        ("[[link]]\nbetween = [\"s1:c1\", \"s2:c1\"]\n", 2, "no node \"s2\""),
        ("[[link]]\nbetween = [\"h1\", \"s1:c9\"]\n", 2, "s1 has c1, c2"),
        ("[[link]]\nname = \"x\"\nbetween = [\"h1\", \"s1:c1\"]\n", 1, "has a link already"),
        ("[[link]]\nbetween = [\"h1\", \"h1\"]\n", 1, "two different ends"),
        (
            "[[link]]\nbetween = [\"h1\", \"s1:c1\"]\nboth = { flap = { every = \"1s\", down = \"2s\" } }\n",
            3,
            "down for 2s every 1s is never up; say up = false",
        ),
        ("[host.h3]\naddress = [\"10.0.0.3/24\"]\n", 1, "no link"),
        ("[host.\"a b\"]\n", 1, "a name has"),
        ("[[at]]\ntime = \"1s\"\nlink = [\"h9\"]\n", 1, "no link \"h9\"; there are h1, h2"),
        ("[[at]]\ntime = \"1s\"\n", 1, "about links or about a node"),
        ("[[at]]\ntime = \"1s\"\nnode = \"s1\"\n", 1, "nothing changes"),
        ("[[at]]\ntime = \"1s\"\nnode = \"s1\"\nconfig = '''\n[port.c1]\nnet = 1\n'''\n", 6, "unknown key"),
        ("[[at]]\ntime = \"1 s\"\nlink = [\"h1\"]\n", 2, "no length of time"),
        ("[[flow]]\nkind = \"ping\"\nfrom = \"h1\"\nto = \"h1\"\n", 4, "does not need the network"),
        ("[[flow]]\nkind = \"ping\"\nfrom = \"h1\"\nto = \"fd00::1\"\n", 4, "no address of the family"),
        ("[[flow]]\nkind = \"ping\"\nfrom = \"h1\"\nto = \"h3\"\n", 4, "no host \"h3\""),
        ("[[flow]]\nkind = \"udp\"\nfrom = \"h1\"\nto = \"h2\"\nsize = \"9kB\"\n", 5, "16 to 1400"),
        ("[[flow]]\nkind = \"udp\"\nfrom = \"h1\"\nto = \"h2\"\nbytes = \"9kB\"\n", 5, "bulk alone"),
        ("[[flow]]\nkind = \"udp\"\nfrom = \"h1\"\nto = \"h2\"\nstop = \"0s\"\n", 5, "before it begins"),
        ("[[flow]]\nkind = \"udp\"\nfrom = \"h1\"\nto = \"h2\"\nserved_by = \"h2:x\"\n", 5, "neither a host"),
    ];
    for (more, line, reason) in cases {
        refused(&world(more), LINES + line, reason);
    }
    let twice = "[[flow]]\nkind = \"udp\"\nfrom = \"h1\"\nto = \"h2\"\nl4_port = 53\n";
    refused(&world(&format!("{twice}{twice}")), LINES + 6, "flow[0] is served at L4 port 53 already");
    refused("[node.s1]\nconfig = '''\n[network.a]\nmtu = 5\n'''\n", 4, "mtu");
    refused("[node.s1]\nconfig = \"workers = 99\"\n", 2, "workers");
    refused("[node.s1\n", 1, "this is no TOML");
    refused(&world("").replace("address = [\"10.0.0.1/24\"]\n", ""), 9, "no address");
}

#[test]
fn rings_are_refused_unless_they_are_meant() {
    let ring = |more: &str, networks: [&str; 2]| {
        let node = |name: &str| {
            format!(
                "[node.{name}]\nconfig = '''\n[network.a]\n[network.b]\n[port.x]\nnetwork = \"{}\"\n[port.y]\nnetwork = \"{}\"\n'''\n",
                networks[0], networks[1]
            )
        };
        let links = "[[link]]\nbetween = [\"s1:x\", \"s2:x\"]\n[[link]]\nbetween = [\"s1:y\", \"s2:y\"]\n";
        format!("{more}{}{}{links}", node("s1"), node("s2"))
    };
    refused(&ring("", ["a", "a"]), 21, "closes a ring");
    assert!(check("w.toml", &ring("loops = true\n", ["a", "a"])).is_ok());
    assert!(check("w.toml", &ring("", ["a", "b"])).is_ok(), "they are two segments");
}

/// Two switches in an overlay, of which `links` say how they meet.
fn overlaid(links: &str) -> String {
    format!(
        "[node.\"n{{n}}\"]\ncount = 2\nconfig = '''\n[overlay]\nbackend = \"vxlan\"\nregistry = \"etcd\"\n\
         network = \"pods\"\nlocal = \"192.0.2.{{n}}\"\n[network.pods]\nsubnet = [\"10.1.{{n}}.0/24\"]\n\
         gateway = [\"10.1.{{n}}.1\"]\n'''\n{links}"
    )
}

#[test]
fn the_world_is_the_registry_and_many_are_written_once() {
    let links = "[[link]]\nbetween = [\"n{n}\", \"underlay\"]\ncount = 2\n";
    let topology = check("w.toml", &overlaid(links)).unwrap();
    assert_eq!(topology.cables[1].ends, [End::Socket(1), End::Underlay]);
    let plan = &topology.nodes[0].compiled.plan;
    assert_eq!(plan.tunnels.len(), 1);
    assert_eq!(plan.tunnels[0].remote.to_string(), "192.0.2.2:8472");
    assert_eq!(plan.tunnels[0].sources, ["10.1.2.0/24".parse().unwrap()]);
}

#[test]
fn impossible_underlays_are_refused() {
    refused(&overlaid(""), 1, "its tunnels have no way");
    let link = |text: &str| world(&format!("[[link]]\n{text}\n"));
    refused(&link("between = [\"s1\", \"h1\"]"), LINES + 1, "to \"underlay\" and to nothing else");
    refused(&link("between = [\"s1\", \"underlay\"]\ncount = 0"), LINES + 1, "count is 0");
    let text = overlaid("").replace("192.0.2.{n}", "192.0.2.7");
    refused(&text, 1, "192.0.2.7 is the address of n1 already");
    refused(&overlaid("").replace("n{n}", "n"), 1, "more than one node");
}

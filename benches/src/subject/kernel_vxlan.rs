//! Linux' own VXLAN between two hosts, made as flanneld makes it: `flannel.1` without learning, the other end's MAC and
//! address known by static neighbour and forwarding entries, a route to its subnet, and pods behind veth pairs.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use tapestry::sys::tried;

use super::Running;
use super::process;
use crate::site::{Site, mac_of};

const POD: &str = "pod";

pub(super) fn version() -> io::Result<String> {
    let ip = process::first_line(&process::find("ip")?, "-V")?;
    Ok(format!("Linux {}, {ip}", rustix::system::uname().release().to_string_lossy()))
}

pub(super) fn start(site: &Site) -> io::Result<Running> {
    let (ip, bridge) = (process::find("ip")?, process::find("bridge")?);
    for (number, (host, local, pod)) in (1_u8..).zip(site.hosts()) {
        Site::connect_to(host, pod, POD)?;
        let other = 3 - number;
        let gateway = pod.gateway.expect("a pod has a gateway");
        let [mac, far_mac] = [number, other].map(|number| format!("0e:2a:00:00:00:0{number}"));
        let [own, far] = [number, other].map(|number| Ipv4Addr::new(10, 244, number, 0));
        let [_, remote] = if number == 1 { Site::HOSTS } else { [Site::HOSTS[1], Site::HOSTS[0]] };
        let mtu = Site::TUNNELLED_MTU;
        let commands = [
            (&ip, format!("link set dev {POD} address {} mtu {mtu}", mac_of(gateway))),
            (&ip, format!("addr add {gateway}/24 dev {POD}")),
            (
                &ip,
                format!(
                    "link add flannel.1 address {mac} type vxlan id 1 dev eth0 local {local} dstport 8472 nolearning"
                ),
            ),
            (&ip, format!("addr add {own}/32 dev flannel.1")),
            (&ip, format!("link set dev flannel.1 mtu {mtu} up")),
            (&ip, format!("neigh add {far} lladdr {far_mac} dev flannel.1 nud permanent")),
            (&bridge, format!("fdb append {far_mac} dev flannel.1 dst {remote}")),
            (&ip, format!("route add {far}/24 via {far} dev flannel.1 onlink")),
        ];
        host.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            commands.iter().try_for_each(|(program, words)| {
                let words: Vec<&std::ffi::OsStr> = words.split(' ').map(AsRef::as_ref).collect();
                process::run(program, &words).map(drop)
            })
        })?
        .map_err(tried("joining two hosts by the kernel's VXLAN"))?;
    }
    Ok(Running::without_process())
}

//! The building site of one measurement: two endpoints' namespaces with a place for the subject between them.
//!
//! ```text
//!   switched  a: eth0 10.99.0.1/24 ── [ the subject, in namespace `middle` ] ── b: eth0 10.99.0.2/24
//!   routed    a: eth0 10.99.0.1/24 ── 10.99.0.254 [ the subject ] 10.98.0.254 ── b: eth0 10.98.0.2/24
//!             c: eth0 10.97.0.1/24 ── 10.97.0.254 [             ]
//!   tunnelled a: eth0 10.244.1.2/24 ── [ host `middle` 192.168.77.1 ] ── wire ── [ host `far` .2 ] ── b: 10.244.2.2/24
//! ```
//!
//! On a tunnelled path there are two hosts as flannel knows them, a veth pair of MTU 1500 between, and a subnet each.
//!
//! On a routed path `a` has a default route and `b` none: it can answer only because the subject masquerades. `c` is who
//! disturbs them.
//!
//! The namespaces have no names, so nothing can be left behind: they go with the value, or with the process however
//! it ends. Every subject gets fresh ones. Endpoint interfaces have the same MAC and IP addresses and MTU 1500
//! whatever the subject is, and no static neighbours: ARP goes through the subject too.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tapestry::link::Namespace;
use tapestry::sys::tried;
use wire::Mac;

use crate::counters;

/// One end of the path under test.
#[derive(Debug)]
pub struct Endpoint {
    /// Its namespace.
    pub namespace: Namespace,
    /// Of its interface.
    pub mac: Mac,
    /// Of its interface, in a network of [`Endpoint::PREFIX_LEN`].
    pub address: Ipv4Addr,
    /// Who leads it to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Of its interface.
    pub mtu: u16,
}

impl Endpoint {
    /// Every endpoint's interface.
    pub const IFNAME: &str = "eth0";
    /// How much of an address is the network's.
    pub const PREFIX_LEN: u8 = 24;
    /// How long anything that should happen may take.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Runs `visit` on a thread inside the namespace: sockets made there stay there.
    ///
    /// # Errors
    /// What `visit` returns, or if the namespace cannot be entered.
    pub fn within<T: Send>(&self, visit: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        self.namespace.run(visit)?
    }

    /// UDP datagrams that came to a socket of the endpoint's.
    ///
    /// # Errors
    /// If /proc is not as Linux has it.
    pub fn datagrams_received(&self) -> io::Result<u64> {
        self.within(counters::datagrams_received)
    }

    /// TCP segments that the endpoint had to send again.
    ///
    /// # Errors
    /// If /proc is not as Linux has it.
    pub fn tcp_segments_resent(&self) -> io::Result<u64> {
        self.within(counters::tcp_segments_resent)
    }

    /// Takes interface `ifname` out of `from` and makes it the endpoint's own. Without a `queue_len` its transmit queue
    /// stays as long as whoever made it wanted.
    ///
    /// # Errors
    /// With what was tried.
    pub fn adopt(&self, from: &Namespace, ifname: &str, queue_len: Option<u32>) -> io::Result<()> {
        let file = self.namespace.as_fd().as_raw_fd();
        converse(from, async |handle| {
            let index = index_of(handle, ifname).await?;
            let link = LinkUnspec::new_with_index(index).name(Self::IFNAME).setns_by_fd(file);
            handle.link().set(link.build()).execute().await
        })
        .map_err(tried(format!("moving {ifname} to {}", self.namespace)))?;
        let (mac, address, mtu) = (self.mac.0.to_vec(), self.address, u32::from(self.mtu));
        converse(&self.namespace, async |handle| {
            let mut link = LinkUnspec::new_with_name(Self::IFNAME).address(mac).mtu(mtu).up();
            if let Some(len) = queue_len {
                link = link.txqueuelen(len);
            }
            handle.link().set(link.build()).execute().await?;
            let index = index_of(handle, Self::IFNAME).await?;
            handle.address().add(index, address.into(), Self::PREFIX_LEN).execute().await?;
            if let Some(gateway) = self.gateway {
                let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index);
                handle.route().add(route.build()).execute().await?;
            }
            Ok(())
        })
        .map_err(tried(format!("giving {} its address", self.namespace)))
    }
}

/// What the subject is to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Both are in one network.
    Switched,
    /// They are in two, the subject routes and `b` sees its address instead of `a`'s.
    Routed,
    /// They are pods of two hosts, each with a subnet, and the subject is what joins the hosts.
    Tunnelled,
}

/// Two endpoints and the room between.
#[derive(Debug)]
pub struct Site {
    /// What the subject is to them.
    pub path: Path,
    /// Who sends.
    pub a: Endpoint,
    /// Who receives.
    pub b: Endpoint,
    /// Who disturbs them from a network of its own; on a switched path nobody does.
    pub c: Option<Endpoint>,
    /// Where the subject lives; of a tunnelled path `a`'s host.
    pub middle: Namespace,
    /// `b`'s host, of a tunnelled path; empty otherwise.
    pub far: Namespace,
}

impl Site {
    /// The router's address in `a`'s network, of a routed path.
    pub const A_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);
    /// The router's address in `b`'s network, of a routed path: whom `b` sees.
    pub const B_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 254);
    /// The router's address in `c`'s network, of a routed path.
    pub const C_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 254);

    /// The addresses of `a`'s and `b`'s host, of a tunnelled path.
    pub const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 77, 1), Ipv4Addr::new(192, 168, 77, 2)];
    /// Of pods whose packets cross the hosts' wire in VXLAN.
    pub const TUNNELLED_MTU: u16 = 1450;

    /// Fresh namespaces.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN.
    pub fn build(path: Path) -> io::Result<Self> {
        let pod = |host| (Ipv4Addr::new(10, 244, host, 2), Some(Ipv4Addr::new(10, 244, host, 1)));
        let switched = Ipv4Addr::new(10, 99, 0, 1);
        let ((a, a_gateway), (b, b_gateway), mtu) = match path {
            Path::Switched => ((switched, None), (Ipv4Addr::new(10, 99, 0, 2), None), 1500),
            Path::Routed => ((switched, Some(Self::A_GATEWAY)), (Ipv4Addr::new(10, 98, 0, 2), None), 1500),
            Path::Tunnelled => (pod(1), pod(2), Self::TUNNELLED_MTU),
        };
        let endpoint = |label, address, gateway| {
            let namespace = Namespace::anonymous(label)?;
            Ok::<_, io::Error>(Endpoint { namespace, mac: mac_of(address), address, gateway, mtu })
        };
        let site = Self {
            path,
            a: endpoint("a", a, a_gateway)?,
            b: endpoint("b", b, b_gateway)?,
            c: match path {
                Path::Switched | Path::Tunnelled => None,
                Path::Routed => Some(endpoint("c", Ipv4Addr::new(10, 97, 0, 1), Some(Self::C_GATEWAY))?),
            },
            middle: Namespace::anonymous("middle")?,
            far: Namespace::anonymous("far")?,
        };
        if path == Path::Tunnelled {
            site.lay_wire()?;
        }
        Ok(site)
    }

    /// Joins the two hosts of a tunnelled path by a veth pair, [`Endpoint::IFNAME`] at both ends.
    fn lay_wire(&self) -> io::Result<()> {
        const WIRE: &str = "wire";
        let file = self.far.as_fd().as_raw_fd();
        converse(&self.middle, async |handle| {
            handle.link().add(LinkVeth::new(Endpoint::IFNAME, WIRE).build()).execute().await?;
            let index = index_of(handle, WIRE).await?;
            let moved = LinkUnspec::new_with_index(index).name(Endpoint::IFNAME).setns_by_fd(file);
            handle.link().set(moved.build()).execute().await
        })
        .map_err(tried("making the wire between the hosts"))?;
        for (host, address) in [&self.middle, &self.far].into_iter().zip(Self::HOSTS) {
            converse(host, async |handle| {
                let index = index_of(handle, Endpoint::IFNAME).await?;
                handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
                handle.address().add(index, address.into(), Endpoint::PREFIX_LEN).execute().await
            })
            .map_err(tried(format!("giving host {address} its address")))?;
        }
        Ok(())
    }

    /// The hosts of a tunnelled path with their addresses, and the pod of each.
    pub fn hosts(&self) -> [(&Namespace, Ipv4Addr, &Endpoint); 2] {
        let [middle, far] = Self::HOSTS;
        [(&self.middle, middle, &self.a), (&self.far, far, &self.b)]
    }

    /// Whom `a`'s frames to `b` are addressed to.
    pub fn next_mac(&self) -> Mac {
        match self.path {
            Path::Switched => self.b.mac,
            Path::Routed => mac_of(Self::A_GATEWAY),
            Path::Tunnelled => mac_of(self.a.gateway.expect("a pod has a gateway")),
        }
    }

    /// Both endpoints with the interface each is to have.
    pub fn ends<'a>(&'a self, ifnames: [&'a str; 2]) -> [(&'a Endpoint, &'a str); 2] {
        let [a, b] = ifnames;
        [(&self.a, a), (&self.b, b)]
    }

    /// Makes a veth pair per endpoint: one end the endpoint's, the other, up and named as given, in `middle`.
    ///
    /// # Errors
    /// With what was tried.
    pub fn connect_by_veth(&self, ifnames: [&str; 2]) -> io::Result<()> {
        self.ends(ifnames).into_iter().try_for_each(|(endpoint, ifname)| self.connect_one(endpoint, ifname))
    }

    /// Who disturbs, on a routed path.
    ///
    /// # Errors
    /// On another.
    pub fn disturber(&self) -> io::Result<&Endpoint> {
        self.c.as_ref().ok_or_else(|| io::Error::other("nobody disturbs a switched path"))
    }

    /// Makes the veth pair of one endpoint alone.
    ///
    /// # Errors
    /// With what was tried.
    pub fn connect_one(&self, endpoint: &Endpoint, ifname: &str) -> io::Result<()> {
        Self::connect_to(&self.middle, endpoint, ifname)
    }

    /// Makes the veth pair of one endpoint alone, its other end in `host`.
    ///
    /// # Errors
    /// With what was tried.
    pub fn connect_to(host: &Namespace, endpoint: &Endpoint, ifname: &str) -> io::Result<()> {
        let far = format!("{ifname}-far");
        converse(host, async |handle| {
            handle.link().add(LinkVeth::new(ifname, &far).up().build()).execute().await
        })
        .map_err(tried(format!("making the veth pair {ifname}")))?;
        endpoint.adopt(host, &far, None)
    }

    /// Gives interfaces of `middle` the router's MAC and IP addresses.
    ///
    /// # Errors
    /// With what was tried.
    pub fn address_router(&self, ifnames: [&str; 3]) -> io::Result<()> {
        converse(&self.middle, async |handle| {
            let addresses = [Self::A_GATEWAY, Self::B_GATEWAY, Self::C_GATEWAY];
            for (ifname, address) in ifnames.into_iter().zip(addresses) {
                let link = LinkUnspec::new_with_name(ifname).address(mac_of(address).0.to_vec());
                handle.link().set(link.build()).execute().await?;
                let index = index_of(handle, ifname).await?;
                handle.address().add(index, address.into(), Endpoint::PREFIX_LEN).execute().await?;
            }
            Ok(())
        })
        .map_err(tried("giving the router its addresses"))
    }

    /// Makes a Linux bridge in `middle` of interfaces there.
    ///
    /// # Errors
    /// With what was tried.
    pub fn bridge(&self, ifnames: [&str; 2]) -> io::Result<()> {
        const BRIDGE: &str = "br0";
        converse(&self.middle, async |handle| {
            handle.link().add(LinkBridge::new(BRIDGE).up().build()).execute().await?;
            let index = index_of(handle, BRIDGE).await?;
            for ifname in ifnames {
                let port = LinkUnspec::new_with_name(ifname).controller(index);
                handle.link().set(port.build()).execute().await?;
            }
            Ok(())
        })
        .map_err(tried("making a Linux bridge"))
    }

    /// Whether `middle` has an interface of this name.
    ///
    /// # Errors
    /// If netlink cannot be reached.
    pub fn middle_has(&self, ifname: &str) -> io::Result<bool> {
        self.middle.run(|| counters::interface_exists(ifname))?
    }

    /// A path by which another process may open an endpoint's namespace.
    pub fn path_of(endpoint: &Endpoint) -> OsString {
        endpoint.namespace.path().into_os_string()
    }
}

/// A MAC address as `config` would derive it from the address.
pub(crate) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x42, a, b, c, d])
}

async fn index_of(handle: &Handle, ifname: &str) -> Result<u32, rtnetlink::Error> {
    use futures_util::TryStreamExt;
    let mut links = handle.link().get().match_name(ifname.to_owned()).execute();
    let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
    Ok(link.header.index)
}

/// One netlink conversation in a namespace.
fn converse<T: Send>(
    namespace: &Namespace,
    talk: impl AsyncFnOnce(&Handle) -> Result<T, rtnetlink::Error> + Send,
) -> io::Result<T> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _within = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection()?;
        runtime.spawn(connection);
        runtime.block_on(talk(&handle)).map_err(|error| {
            if let rtnetlink::Error::NetlinkError(message) = &error {
                message.to_io()
            } else {
                io::Error::other(error)
            }
        })
    })?
}

//! One conversation with rtnetlink at a time, in whichever namespace: connect, ask, wait, hang up.
//!
//! rtnetlink wants a tokio runtime. Every conversation runs on a thread of its own in the namespace it is about, with a
//! runtime that ends with it, so callers are synchronous, may themselves be tokio tasks, and hold nothing open.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use wire::{Cidr, Mac};

use super::{Layer, LinkState, Namespace, TX_QUEUE_LEN};
use crate::sys::tried;

/// Index of the loopback interface in every namespace (Linux net/core/dev.c, `LOOPBACK_IFINDEX`).
const LOOPBACK_INDEX: u32 = 1;

/// Runs `talk` with a netlink connection in the namespace.
pub(super) fn converse<T: Send>(
    namespace: &Namespace,
    talk: impl AsyncFnOnce(&Handle) -> io::Result<T> + Send,
) -> io::Result<T> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _within = runtime.enter();
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(tried(format!("opening netlink in {namespace}")))?;
        runtime.spawn(connection);
        runtime.block_on(talk(&handle))
    })?
}

/// Raises the loopback interface.
pub(super) fn raise_loopback(namespace: &Namespace) -> io::Result<()> {
    converse(namespace, async |handle| {
        raise(handle, LOOPBACK_INDEX).await.map_err(tried(format!("raising loopback in {namespace}")))
    })
}

/// The interface of this name, with its addresses.
pub(super) async fn find(handle: &Handle, name: &str) -> io::Result<Option<LinkState>> {
    let mut answers = pin!(handle.link().get().match_name(name).execute());
    let message = match answers.try_next().await.map_err(raw) {
        Ok(message) => message,
        // ERANGE, EINVAL: not a name that an interface can have.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)) => {
            None
        }
        Err(error) => return Err(error),
    };
    let Some(message) = message else { return Ok(None) };
    let mut state = state_of(&message);
    let mut addresses = pin!(handle.address().get().set_link_index_filter(state.index).execute());
    while let Some(address) = addresses.try_next().await.map_err(raw)? {
        state.addresses.extend(address_of(&address));
    }
    Ok(Some(state))
}

/// Every interface, with its addresses.
pub(super) async fn list(handle: &Handle) -> io::Result<Vec<LinkState>> {
    let mut states = Vec::new();
    let mut answers = pin!(handle.link().get().execute());
    while let Some(message) = answers.try_next().await.map_err(raw)? {
        states.push(state_of(&message));
    }
    let mut addresses = pin!(handle.address().get().execute());
    while let Some(address) = addresses.try_next().await.map_err(raw)? {
        if let Some(state) = states.iter_mut().find(|state| state.index == address.header.index) {
            state.addresses.extend(address_of(&address));
        }
    }
    Ok(states)
}

/// Sets what an interface has wherever it is.
pub(super) async fn shape(handle: &Handle, index: u32, mac: Option<Mac>, mtu: u16) -> io::Result<()> {
    let mut message = LinkUnspec::new_with_index(index).mtu(u32::from(mtu)).txqueuelen(TX_QUEUE_LEN);
    if let Some(mac) = mac {
        message = message.address(mac.0.to_vec());
    }
    set(handle, message.build()).await
}

/// Moves and renames in one request, during which nobody else can touch either namespace's interfaces.
pub(super) async fn place(
    handle: &Handle,
    index: u32,
    there: Option<&Namespace>,
    name: &str,
) -> io::Result<()> {
    let mut message = LinkUnspec::new_with_index(index).name(name);
    if let Some(there) = there {
        message = message.setns_by_fd(there.as_fd().as_raw_fd());
    }
    set(handle, message.build()).await
}

/// Adds an address; an IPv6 one is usable at once.
pub(super) async fn add_address(handle: &Handle, index: u32, address: Cidr) -> io::Result<()> {
    let mut request = handle.address().add(index, address.address(), address.prefix_len());
    if address.address().is_ipv6() {
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    request.execute().await.map_err(raw)
}

/// Adds the default route of the gateway's family.
pub(super) async fn add_default_route(handle: &Handle, index: u32, gateway: IpAddr) -> io::Result<()> {
    let message = match gateway {
        IpAddr::V4(gateway) => {
            RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build()
        }
        IpAddr::V6(gateway) => {
            RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(index).build()
        }
    };
    handle.route().add(message).execute().await.map_err(raw)
}

/// Adds the route to `to`; EEXIST if there is one.
pub(super) async fn add_route(handle: &Handle, index: u32, to: Cidr, via: IpAddr) -> io::Result<()> {
    let message = route(index, to, via).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    handle.route().add(message).execute().await.map_err(raw)
}

/// Removes the route to `to`; ESRCH if there is none.
pub(super) async fn remove_route(handle: &Handle, index: u32, to: Cidr, via: IpAddr) -> io::Result<()> {
    let message = route(index, to, via).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    handle.route().del(message).execute().await.map_err(raw)
}

/// `None` if the two are of different families.
fn route(index: u32, to: Cidr, via: IpAddr) -> Option<RouteMessage> {
    let to = to.network();
    Some(match (to.address(), via) {
        (IpAddr::V4(address), IpAddr::V4(via)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, to.prefix_len())
            .gateway(via)
            .output_interface(index)
            .build(),
        (IpAddr::V6(address), IpAddr::V6(via)) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(address, to.prefix_len())
            .gateway(via)
            .output_interface(index)
            .build(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    })
}

/// Makes a pair of interfaces.
pub(super) async fn add_pair(handle: &Handle, pair: LinkMessage) -> io::Result<()> {
    handle.link().add(pair).execute().await.map_err(raw)
}

/// Raises an interface.
pub(super) async fn raise(handle: &Handle, index: u32) -> io::Result<()> {
    set(handle, LinkUnspec::new_with_index(index).up().build()).await
}

/// Deletes an interface.
pub(super) async fn delete(handle: &Handle, index: u32) -> io::Result<()> {
    handle.link().del(index).execute().await.map_err(raw)
}

async fn set(handle: &Handle, message: LinkMessage) -> io::Result<()> {
    handle.link().set(message).execute().await.map_err(raw)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "netlink's attributes, not ours: the rest is not asked about"
)]
fn state_of(message: &LinkMessage) -> LinkState {
    let flags = message.header.flags;
    let mut state = LinkState {
        index: message.header.index,
        name: String::new(),
        kind: None,
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        carrier_changes: 0,
        tx_queue_len: 0,
        layer: match message.header.link_layer_type {
            LinkLayerType::Ether => Layer::Ethernet,
            LinkLayerType::Loopback => Layer::Loopback,
            _ => Layer::Other,
        },
        master: None,
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Address(octets) => state.mac = octets.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::CarrierChanges(count) => state.carrier_changes = *count,
            LinkAttribute::TxQueueLen(len) => state.tx_queue_len = *len,
            LinkAttribute::Controller(index) => state.master = (*index != 0).then_some(*index),
            LinkAttribute::LinkInfo(infos) => {
                state.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    state
}

/// The interface's own address: IFA_LOCAL where there is one (of a point-to-point link IFA_ADDRESS is the peer's).
fn address_of(message: &AddressMessage) -> Option<Cidr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let local = find(|each| if let AddressAttribute::Local(address) = each { Some(*address) } else { None });
    let address =
        || find(|each| if let AddressAttribute::Address(address) = each { Some(*address) } else { None });
    Cidr::new(local.or_else(address)?, message.header.prefix_len)
}

/// What the kernel said, with its number where there is one.
fn raw(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        message.to_io()
    } else {
        io::Error::other(error)
    }
}

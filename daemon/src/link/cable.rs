//! A pair of interfaces that are joined as by a cable (veth): for a demonstration, not for ports.

use std::io;

use rtnetlink::LinkVeth;
use wire::Cidr;

use super::{Namespace, index_of, netlink};
use crate::sys::tried;

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// The name of its interface.
    pub ifname: &'a str,
    /// The interface's address.
    pub address: Cidr,
}

/// Joins two namespaces; both ends are up. The pair goes with either of them.
///
/// # Errors
/// With what was tried, if a name is taken, say.
pub fn plug(near: End<'_>, far: End<'_>) -> io::Result<()> {
    /// The far end's name until it is there.
    const PROVISIONAL: &str = "tapestry-far";
    netlink::converse(near.namespace, async |handle| {
        netlink::add_pair(handle, LinkVeth::new(near.ifname, PROVISIONAL).build()).await
    })
    .map_err(tried(format!("making the pair of {} in {}", near.ifname, near.namespace)))?;
    let index = index_of(near.namespace, PROVISIONAL)?;
    netlink::converse(near.namespace, async |handle| {
        netlink::place(handle, index, Some(far.namespace), far.ifname).await
    })
    .map_err(tried(format!("moving {} to {}", far.ifname, far.namespace)))?;
    for End { namespace, ifname, address } in [near, far] {
        let index = index_of(namespace, ifname)?;
        netlink::converse(namespace, async |handle| {
            netlink::add_address(handle, index, address).await?;
            netlink::raise(handle, index).await
        })
        .map_err(tried(format!("giving {ifname} in {namespace} its address")))?;
    }
    Ok(())
}

//! What a person may write of a world: one type for each table of the file.
//!
//! Keys are the field names, absent keys have the defaults stated here, unknown keys are errors. What is written is well
//! typed and otherwise unchecked; a [`crate::world::Topology`] has passed every check.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quantity::{Percent, Rate, Size, Span};
use crate::link::{Burst, Faults, Flap};

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct WorldSpec {
    /// Where all chance comes from, if nobody says otherwise.
    #[serde(default)]
    pub seed: u64,
    /// How long the world lives, if nobody says otherwise; default 10 s.
    #[serde(rename = "for", default = "life")]
    pub life: Span,
    /// After the last change to a link or a switch, what should work does within this time; default 5 s.
    #[serde(default = "heal_within")]
    pub heal_within: Span,
    /// Whether switches are joined in a ring, so that frames may pass one again and again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loops: bool,
    /// Switches by name.
    pub node: BTreeMap<String, NodeSpec>,
    /// Hosts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host: BTreeMap<String, HostSpec>,
    /// Wires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link: Vec<LinkSpec>,
    /// What happens to wires and switches, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<ActionSpec>,
    /// What hosts do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flow: Vec<FlowSpec>,
}

fn life() -> Span {
    Span(Duration::from_secs(10))
}

fn heal_within() -> Span {
    Span(Duration::from_secs(5))
}

/// `[node.NAME]`: a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct NodeSpec {
    /// Its configuration, the text that a live switch has in its file. Where that says `registry = "etcd"`, the world is
    /// the registry, and all such switches are each other's peers.
    pub config: String,
    /// So many alike, with their number for `{n}` (`many.rs`); default: this one, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
}

/// `[host.NAME]`: a station with a stack of its own, behind a port of a switch. What is not given is as the
/// configuration of that port says.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct HostSpec {
    /// Its addresses, at most [`ADDRESSES_MAX`].
    #[serde(with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub address: Vec<wire::Cidr>,
    /// Next routers, at most one of each family.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway: Vec<IpAddr>,
    /// Its MAC address; default, where the port does not say: 02:00:00:00 and its number.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub mac: Option<wire::Mac>,
    /// Longest packet (L3 octets), 576 (with IPv6 1280) to 9000; default 1500 where the port does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// So many alike, with their number for `{n}` (`many.rs`); default: this one, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
}

/// Addresses of a host.
pub(super) const ADDRESSES_MAX: usize = 6;

/// `[[link]]`: a wire between two ends, each a host or a switch's port as in `s1:c1`; or between a switch as such, `s1`, and
/// the network that its datagrams travel in, `underlay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct LinkSpec {
    /// The ends.
    pub between: [String; 2],
    /// What it is called in `[[at]]`; default: its first end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it does in both directions.
    #[serde(default, skip_serializing_if = "FaultSpec::is_empty")]
    pub both: FaultSpec,
    /// Likewise from the first end to the second.
    #[serde(default, skip_serializing_if = "FaultSpec::is_empty")]
    pub forth: FaultSpec,
    /// Likewise from the second end to the first.
    #[serde(default, skip_serializing_if = "FaultSpec::is_empty")]
    pub back: FaultSpec,
    /// So many alike, with their number for `{n}` (`many.rs`); default: this one, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
}

/// What a wire does to frames; what is absent stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct FaultSpec {
    /// Whether anything passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Going down again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap: Option<FlapSpec>,
    /// Bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Octets that wait at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Size>,
    /// From one end to the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// At most this much more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// Lost, each frame on its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Percent>,
    /// Lost in bursts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<BurstSpec>,
    /// Arriving twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Percent>,
    /// Held back by `reorder_by`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Percent>,
    /// For how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_by: Option<Span>,
    /// Arriving with one bit flipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Percent>,
}

/// Going down again and again, and up in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Flapping")]
pub struct FlapSpec {
    every: Span,
    down: Span,
}

/// What is written of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Flapping {
    every: Span,
    down: Span,
}

impl TryFrom<Flapping> for FlapSpec {
    type Error = String;

    fn try_from(Flapping { every, down }: Flapping) -> Result<Self, String> {
        Self::new(every, down)
    }
}

impl FlapSpec {
    /// Down for so long each time, and `every` from one time to the next; down for nothing at all ends it.
    ///
    /// # Errors
    /// That it would never be up.
    pub fn new(every: Span, down: Span) -> Result<Self, String> {
        if down.is_zero() || down.0 < every.0 {
            Ok(Self { every, down })
        } else {
            Err(format!("down for {down} every {every} is never up; say up = false"))
        }
    }
}

/// Loss in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct BurstSpec {
    /// From the good state to the bad, each frame.
    pub enter: Percent,
    /// Back.
    pub leave: Percent,
    /// Lost in the bad state; default all.
    #[serde(default = "everything")]
    pub loss: Percent,
}

fn everything() -> Percent {
    Percent(crate::link::Share::ALL)
}

impl FaultSpec {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This, and what `earlier` says beside it.
    #[must_use]
    pub fn over(&self, earlier: &Self) -> Self {
        Self {
            up: self.up.or(earlier.up),
            flap: self.flap.or(earlier.flap),
            rate: self.rate.or(earlier.rate),
            queue: self.queue.or(earlier.queue),
            delay: self.delay.or(earlier.delay),
            jitter: self.jitter.or(earlier.jitter),
            loss: self.loss.or(earlier.loss),
            burst: self.burst.or(earlier.burst),
            duplicate: self.duplicate.or(earlier.duplicate),
            reorder: self.reorder.or(earlier.reorder),
            reorder_by: self.reorder_by.or(earlier.reorder_by),
            corrupt: self.corrupt.or(earlier.corrupt),
        }
    }

    /// `faults` with what is given changed.
    pub fn on(&self, faults: Faults) -> Faults {
        let mut changed = faults;
        let set = |to: &mut Duration, span: Option<Span>| *to = span.map_or(*to, |span| span.0);
        let draw = |to: &mut crate::link::Share, share: Option<Percent>| *to = share.map_or(*to, |it| it.0);
        changed.up = self.up.unwrap_or(faults.up);
        changed.flap = self
            .flap
            .map_or(faults.flap, |flap| Some(Flap { every: flap.every.0, down: flap.down.0 }))
            .filter(|flap| !flap.down.is_zero());
        changed.rate = self.rate.map_or(faults.rate, |rate| Some(rate.0));
        changed.queue = self.queue.map_or(faults.queue, |size| size.0);
        set(&mut changed.delay, self.delay);
        set(&mut changed.jitter, self.jitter);
        draw(&mut changed.loss, self.loss);
        changed.burst = self.burst.map_or(faults.burst, |burst| {
            Some(Burst { enter: burst.enter.0, leave: burst.leave.0, loss: burst.loss.0 })
        });
        draw(&mut changed.duplicate, self.duplicate);
        draw(&mut changed.reorder, self.reorder);
        set(&mut changed.reorder_by, self.reorder_by);
        draw(&mut changed.corrupt, self.corrupt);
        changed
    }
}

/// `[[at]]`: something changes. Either a wire (`link` with what it does from then on, or `heal`) or a switch (`node`
/// with `config` or `restart`).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct ActionSpec {
    /// When.
    pub time: Span,
    /// Which wires, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link: Vec<String>,
    /// What they do in both directions from then on.
    #[serde(skip_serializing_if = "FaultSpec::is_empty")]
    pub both: FaultSpec,
    /// Likewise from the first end to the second.
    #[serde(skip_serializing_if = "FaultSpec::is_empty")]
    pub forth: FaultSpec,
    /// Likewise from the second end to the first.
    #[serde(skip_serializing_if = "FaultSpec::is_empty")]
    pub back: FaultSpec,
    /// They do what `[[link]]` says again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub heal: bool,
    /// Which switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// It gets this configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// It begins anew and knows nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

/// `[[flow]]`: what one host does with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct FlowSpec {
    /// What is done.
    pub kind: FlowKind,
    /// The host that begins.
    pub from: String,
    /// Whom it speaks to: a host, whose first address of a family that both have it is, or an address.
    pub to: String,
    /// The L4 port that it speaks to; default 5000 and the number of the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l4_port: Option<u16>,
    /// Who answers, as a host or as `HOST:L4-PORT`; default: `to` at `l4_port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// When it begins; default 0.
    #[serde(default, skip_serializing_if = "Span::is_zero")]
    pub start: Span,
    /// When it ends; default: with the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Span>,
    /// From one packet, question or connection to the next; default: 1 s for ping and churn, 100 ms for request, 10 ms for
    /// UDP. Not for bulk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Octets of a packet's or question's data, 16 to 60,000 (UDP and ping 1400); default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Octets of an answer (request, churn), 1 to 60,000; default 1 kB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Size>,
    /// Octets that are sent in all (bulk); default: as many as the time allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Whether it should work.
    #[serde(default)]
    pub expect: Expect,
    /// So many alike, with their number for `{n}` (`many.rs`); default: this one, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
}

/// What a flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// Echo requests.
    Ping,
    /// Datagrams at a steady rate, one way.
    Udp,
    /// As much as TCP carries, one way.
    Bulk,
    /// Questions and answers over one connection.
    Request,
    /// A connection for each question.
    Churn,
}

/// Whether a flow should work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Something arrives, and again after the last change.
    #[default]
    Works,
    /// Nothing ever arrives.
    Fails,
    /// Either.
    Any,
}

/// A value that is read by `FromStr`.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
    }
}

/// A list of such values.
mod texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts: Vec<String> = Vec::deserialize(deserializer)?;
        let parse = |text: &String| {
            text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
        };
        texts.iter().map(parse).collect()
    }
}

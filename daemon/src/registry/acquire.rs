//! Acquiring a lease: which questions to put to the registry, in which order, and what the answers come to.
//!
//! ```text
//!             ┌────────────────────────── lost the race, up to ATTEMPTS_MAX times ─────────────────────────┐
//!             ▼                                                                                            │
//!  List ──▶ a lease of our public address? ──▶ it fits the configuration: Grant, Replace ─────────▶ Done   │
//!             │ none                        └▶ it does not: Delete, and List again                         │
//!             ▼                                                                                            │
//!           the subnet that we had before, if free and fit; else one of the first 100 free ones by chance  │
//!             └──▶ Grant, Create ──▶ created: Done      not created: Revoke ───────────────────────────────┘
//! ```
//!
//! A state machine without I/O: [`Acquisition::next`] takes the answer to the last request and gives the next step. An
//! answer that did not come is [`Answer::Nothing`]; what the request did is then unknown, and everything begins with a
//! List again, which shows it; that costs no attempt, for nobody else was faster. Writes say what they expect to find,
//! so a machine that was asleep in between overwrites nobody.
//!
//! A key without an etcd lease is a reservation that an operator made: it is taken, and stays without (flannel
//! Documentation/reservations.md; flanneld makes an ordinary lease of it); a lease that we had before goes first. Clock: none. Chance: a seed.
//!
//! Source: flannel pkg/subnet/etcd/local_manager.go.

use std::fmt;

use wire::{Cidr, Rng};

use super::lease::{Holder, Subnets};
use super::network::Network;
use super::pool::Pool;
use super::roster::Entry;

/// How long a lease lives without being renewed, in seconds (flannel's `subnetTTL`).
pub const TTL_SECS: u64 = 24 * 60 * 60;
/// How often somebody else may be faster before it is given up (flannel's `raceRetries`).
pub const ATTEMPTS_MAX: u32 = 10;

/// What the registry is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Every lease.
    List,
    /// An etcd lease of [`TTL_SECS`].
    Grant,
    /// Write a key that must not exist.
    Create {
        /// What follows `PREFIX/subnets/`.
        key: String,
        /// What it is to hold.
        value: String,
        /// The etcd lease that it goes with.
        lease: i64,
    },
    /// Write a key that must be as it was.
    Replace {
        /// What follows `PREFIX/subnets/`.
        key: String,
        /// What it is to hold.
        value: String,
        /// The etcd lease that it goes with; 0: none.
        lease: i64,
        /// The revision at which it must have been written last.
        written: i64,
    },
    /// Delete a key that must be as it was.
    Delete {
        /// What follows `PREFIX/subnets/`.
        key: String,
        /// The revision at which it must have been written last.
        written: i64,
    },
    /// End an etcd lease.
    Revoke {
        /// Its id.
        lease: i64,
    },
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To List: every entry.
    Listed(Vec<Entry>),
    /// To Grant: the id.
    Granted(i64),
    /// To Create, Replace and Delete: it is done, at this revision.
    Done(i64),
    /// To Create, Replace and Delete: what was expected was not there; nothing is done.
    Unexpected,
    /// To Revoke.
    Revoked,
    /// No answer, or an error: whether it was done is unknown.
    Nothing,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put this to the registry.
    Ask(Request),
    /// The lease is ours.
    Acquired(Acquired),
    /// It cannot be had.
    Failed(Failed),
}

/// A lease that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// What is leased.
    pub subnets: Subnets,
    /// The etcd lease that the key goes with; 0: none, it is a reservation.
    pub lease: i64,
    /// The revision at which the key was written.
    pub written: i64,
    /// Whether it was ours before.
    pub reused: bool,
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// No subnet is free.
    OutOfSubnets,
    /// Somebody else was faster [`ATTEMPTS_MAX`] times.
    Outrun,
    /// The only subnet that will do is leased to others.
    Taken,
    /// The only subnet that will do is none of the network's.
    Unfit,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfSubnets => "out of subnets: every subnet from SubnetMin to SubnetMax is leased",
            Self::Outrun => "max retries reached trying to acquire a subnet: others were faster ten times",
            Self::Taken => "the subnet is leased to another host",
            Self::Unfit => "the subnet is none that the network's configuration hands out",
        })
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where subnets come from.
    pub network: Network,
    /// What our lease is to say.
    pub holder: Holder,
    /// What we had before, as the subnet file tells.
    pub previous: Option<Subnets>,
    /// No other will do, whatever we had before.
    pub only: Option<Subnets>,
}

/// An acquisition under way.
#[derive(Debug)]
pub struct Acquisition {
    wish: Wish,
    rng: Rng,
    attempts: u32,
    state: State,
}

/// Which answer is waited for.
#[derive(Debug)]
enum State {
    Listing,
    GrantingFor(Target),
    Writing(Target, i64),
    Deleting,
    Revoking,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
struct Target {
    subnets: Subnets,
    /// The revision of our own older lease; without one the key is to be created.
    replaces: Option<i64>,
}

impl Acquisition {
    /// The first request is [`Request::List`].
    pub fn new(wish: Wish, seed: u64) -> Self {
        Self { wish, rng: Rng::seeded(seed), attempts: 1, state: State::Listing }
    }

    /// What follows from the answer to the request before.
    ///
    /// # Panics
    /// If the answer is one to another request.
    pub fn next(&mut self, answer: Answer) -> Step {
        match (std::mem::replace(&mut self.state, State::Listing), answer) {
            (_, Answer::Nothing) => Step::Ask(Request::List),
            (State::Listing, Answer::Listed(entries)) => self.choose(&entries),
            (State::GrantingFor(target), Answer::Granted(lease)) => self.write(target, lease),
            (State::Writing(Target { subnets, replaces }, lease), Answer::Done(written)) => {
                Step::Acquired(Acquired { subnets, lease, written, reused: replaces.is_some() })
            }
            (State::Writing(_, lease), Answer::Unexpected) if lease != 0 => {
                self.state = State::Revoking;
                Step::Ask(Request::Revoke { lease })
            }
            (State::Deleting, Answer::Done(_)) => Step::Ask(Request::List),
            (State::Writing(..) | State::Deleting, Answer::Unexpected)
            | (State::Revoking, Answer::Revoked) => self.again(),
            (state, answer) => panic!("{answer:?} is no answer in {state:?}"),
        }
    }

    fn again(&mut self) -> Step {
        if self.attempts >= ATTEMPTS_MAX {
            return Step::Failed(Failed::Outrun);
        }
        self.attempts += 1;
        Step::Ask(Request::List)
    }

    fn choose(&mut self, entries: &[Entry]) -> Step {
        if self.wish.only.is_some_and(|only| !self.fits(only)) {
            return Step::Failed(Failed::Unfit);
        }
        let leases: Vec<(&Entry, Subnets)> =
            entries.iter().filter_map(|entry| Some((entry, entry.key.parse().ok()?))).collect();
        let is_ours = |entry: &Entry| {
            Holder::parse(&entry.value).is_ok_and(|holder| holder.is_same_host(self.wish.holder.public_ip))
        };
        // Should there be several, the last that was written is the one that others use.
        let ours = leases.iter().filter(|(entry, _)| is_ours(entry)).max_by_key(|(entry, _)| entry.written);
        if let Some(&(entry, subnets)) = ours {
            if !self.fits(subnets) || self.wish.only.is_some_and(|only| only != subnets) {
                self.state = State::Deleting;
                return Step::Ask(Request::Delete { key: entry.key.clone(), written: entry.written });
            }
            // To others a lease counts more than a reservation that may wait for its host, so it goes when we take that.
            let left = leases.iter().map(|(each, _)| each).find(|each| is_ours(each) && each.lease != 0);
            if let Some(left) = left.filter(|_| entry.lease == 0) {
                self.state = State::Deleting;
                return Step::Ask(Request::Delete { key: left.key.clone(), written: left.written });
            }
            let target = Target { subnets, replaces: Some(entry.written) };
            return if entry.lease == 0 { self.write(target, 0) } else { self.grant(target) };
        }
        let is_free = |wanted: &Subnets| !leases.iter().any(|(_, subnets)| subnets.overlap(*wanted));
        if let Some(only) = self.wish.only {
            let target = Target { subnets: only, replaces: None };
            return if is_free(&only) { self.grant(target) } else { Step::Failed(Failed::Taken) };
        }
        let previous = self.wish.previous.filter(|&previous| self.fits(previous)).filter(is_free);
        let taken: Vec<Cidr> = leases.iter().flat_map(|(_, subnets)| subnets.iter()).collect();
        match previous.or_else(|| self.by_chance(&taken)) {
            Some(subnets) => self.grant(Target { subnets, replaces: None }),
            None => Step::Failed(Failed::OutOfSubnets),
        }
    }

    /// Whether subnets could have been handed out under this configuration, for each family that it has and no other.
    fn fits(&self, subnets: Subnets) -> bool {
        let fits = |pool: Option<Pool>, subnet: Option<Cidr>| match (pool, subnet) {
            (Some(pool), Some(subnet)) => pool.may_hand_out(subnet),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        fits(self.wish.network.v4, Some(subnets.v4)) && fits(self.wish.network.v6, subnets.v6)
    }

    fn by_chance(&mut self, taken: &[Cidr]) -> Option<Subnets> {
        let mut pick = |pool: &Pool| {
            let free = pool.free(taken.iter().copied());
            let index = usize::try_from(self.rng.below(free.len() as u64)).expect("it is below a length");
            free.get(index).copied()
        };
        let v4 = pick(self.wish.network.v4.as_ref()?)?;
        let v6 = match &self.wish.network.v6 {
            Some(pool) => Some(pick(pool)?),
            None => None,
        };
        Some(Subnets { v4, v6 })
    }

    fn grant(&mut self, target: Target) -> Step {
        self.state = State::GrantingFor(target);
        Step::Ask(Request::Grant)
    }

    fn write(&mut self, target: Target, lease: i64) -> Step {
        self.state = State::Writing(target, lease);
        let (key, value) = (target.subnets.to_string(), self.wish.holder.to_json());
        Step::Ask(match target.replaces {
            Some(written) => Request::Replace { key, value, lease, written },
            None => Request::Create { key, value, lease },
        })
    }
}

#[cfg(test)]
#[path = "acquire/tests.rs"]
mod tests;

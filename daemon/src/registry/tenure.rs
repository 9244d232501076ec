//! Tenure: keeping a lease that is ours, from its acquisition until it is lost.
//!
//! ```text
//!  idle ──(time to live − margin)──▶ Grant ──▶ Replace ──▶ idle for another term
//!    ▲                                 └───────────┴─ failed: from the start after RETRY
//! ```
//!
//! As with flanneld a renewal is a new etcd lease under the same key, not a keep-alive, so that a process that has died
//! keeps its subnet until the term ends. Unlike flanneld's, the renewal writes only if the key is as we know it: who
//! slept through the end of his term must not take the subnet from whom it was given to since.
//!
//! What the watch shows of our key decides the rest ([`Tenure::seen`]): another value of the same host is contested, which is
//! how two machines with one public address look; so is our own value under an etcd lease that we have not written it with
//! ([`LEASES_MAX`]), for such machines may write the very same. It is told and written over at once, under the etcd lease that
//! we have, so that peers do not send to a wrong MAC address until the next renewal. Whoever writes again is fought with pauses
//! that double from one second to [`RETRY`] and are forgotten after [`CALM`]. Another host's value is taken, and no key is gone:
//! both mean that the lease is lost, for good.
//!
//! Revisions tell older news from newer only within one history. In that of a cluster that was emptied, or put back to an
//! older copy, they begin low, so none makes another host's value ours, and the list says when they start anew
//! ([`Tenure::listed`]).
//!
//! etcd may be away for any time: nothing is lost by that alone, and the renewal is tried again until it works. Clock: an
//! argument. Source: flannel pkg/subnet/etcd/local_manager.go (`CompleteLease`).

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use wire::Instant;

use super::acquire::{Acquired, Answer, Request, TTL_SECS};
use super::lease::Holder;
use super::roster::Entry;

/// How long a failed renewal is not tried again (flannel's `time.Minute`).
pub const RETRY: Duration = Duration::from_secs(60);

/// How long nobody may have written to our key for the next one to be answered without a pause.
pub const CALM: Duration = Duration::from_secs(600);

/// Etcd leases that are remembered as those of our writes, the last ones. Renewals take months to use them up.
pub const LEASES_MAX: usize = 64;

/// A lease that is ours, and when to do something about it.
#[derive(Debug)]
pub struct Tenure {
    acquired: Acquired,
    holder: Holder,
    margin: Duration,
    /// What our key was written with, as far as we know, the newest last.
    leases: VecDeque<i64>,
    /// `None`: a reservation, which has no end.
    term: Option<Term>,
    contest: Contest,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    ends: Instant,
    renews: Instant,
}

/// What somebody else writes to our key.
#[derive(Clone, Copy, Debug, Default)]
struct Contest {
    /// When we write over it.
    answers: Option<Instant>,
    /// When the last one was seen.
    last: Option<Instant>,
    /// How often we were to write over it, since it was calm.
    times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Granting,
    Replacing(i64),
    /// Writing over what somebody else has written.
    Answering,
}

/// What the registry says of our key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as we have written it.
    Ours,
    /// Another machine writes to it that says it is us; it is written over after so long.
    Contested(Duration),
    /// The same again, before it could be written over.
    StillContested,
    /// It is lost.
    Lost(Loss),
}

/// How a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The key was deleted, or its etcd lease was revoked or has expired.
    Revoked,
    /// The key is another host's.
    Taken,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "the lease has been revoked: its key is gone",
            Self::Taken => "the lease has been taken: its key names another host",
        })
    }
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Put this to the registry.
    Ask(Request),
    /// The lease holds for another term.
    Renewed,
    /// What somebody else has written is written over.
    Restored,
    /// It failed, and will be tried again.
    Later,
}

impl Tenure {
    /// The tenure of what was just acquired. A margin longer than the term renews all the time, once in [`RETRY`].
    pub fn new(acquired: Acquired, holder: Holder, margin: Duration, now: Instant) -> Self {
        let (contest, state) = (Contest::default(), State::Idle);
        let leases = VecDeque::from([acquired.lease]);
        let mut tenure = Self { acquired, holder, margin, leases, term: None, contest, state };
        tenure.begin(now);
        tenure
    }

    /// What we hold.
    pub const fn acquired(&self) -> Acquired {
        self.acquired
    }

    /// What our lease says.
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// When the term ends unless it is renewed.
    pub fn ends(&self) -> Option<Instant> {
        self.term.map(|term| term.ends)
    }

    /// When [`Tenure::wake`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let renews = self.term.map(|term| term.renews);
        let first = renews.into_iter().chain(self.contest.answers).min();
        first.filter(|_| self.state == State::Idle)
    }

    /// What is due.
    pub fn wake(&mut self, now: Instant) -> Option<Request> {
        self.deadline().filter(|due| *due <= now)?;
        if self.contest.answers.is_some_and(|due| due <= now) {
            self.state = State::Answering;
            return Some(replace(&self.acquired, self.holder.to_json(), self.acquired.lease));
        }
        self.state = State::Granting;
        Some(Request::Grant)
    }

    /// What follows from the answer to a request of ours.
    ///
    /// # Panics
    /// If the answer is one to another request.
    pub fn answer(&mut self, answer: &Answer, now: Instant) -> Progress {
        match (std::mem::replace(&mut self.state, State::Idle), answer) {
            (State::Granting, Answer::Granted(lease)) => {
                self.state = State::Replacing(*lease);
                // Now, for whether it was written may remain unknown.
                self.leases.push_back(*lease);
                if self.leases.len() > LEASES_MAX {
                    self.leases.pop_front();
                }
                Progress::Ask(replace(&self.acquired, self.holder.to_json(), *lease))
            }
            (State::Replacing(lease), Answer::Done(written)) => {
                self.acquired = Acquired { lease, written: *written, ..self.acquired };
                self.begin(now);
                self.contest.answers = None;
                Progress::Renewed
            }
            (State::Answering, Answer::Done(written)) => {
                self.acquired.written = *written;
                self.contest.answers = None;
                Progress::Restored
            }
            // Should the write have happened all the same, the watch says so, and the next one fits.
            (State::Granting | State::Replacing(_) | State::Answering, Answer::Nothing)
            | (State::Replacing(_) | State::Answering, Answer::Unexpected) => {
                // A renewal writes over it, too, and under a new etcd lease, should ours be gone.
                self.contest.answers =
                    self.contest.answers.filter(|_| self.term.is_none()).map(|_| now + RETRY);
                if let Some(term) = &mut self.term {
                    term.renews = now + RETRY;
                }
                Progress::Later
            }
            (state, answer) => panic!("{answer:?} is no answer in {state:?}"),
        }
    }

    /// Everything was listed as of this revision. One before our own write is no later one of the same history.
    pub fn listed(&mut self, revision: i64) {
        if revision < self.acquired.written {
            self.acquired.written = 0;
        }
    }

    /// What the registry has under our key.
    pub fn seen(&mut self, own: Option<&Entry>, now: Instant) -> Standing {
        let Some(entry) = own else { return Standing::Lost(Loss::Revoked) };
        match Holder::parse(&entry.value) {
            Ok(holder) if holder == self.holder && self.is_our_write(entry.lease) => {
                // A lower one, too, which may be of another history; in the midst of a fight it is rather old news.
                if self.contest.answers.is_none() || entry.written > self.acquired.written {
                    self.acquired.written = entry.written;
                }
                Standing::Ours
            }
            // We write over nobody else, so this is no older news either.
            Ok(holder) if !holder.is_same_host(self.holder.public_ip) => Standing::Lost(Loss::Taken),
            Ok(_) | Err(_) if entry.written <= self.acquired.written => Standing::Ours, // Older news than our own write.
            // Broken, or of a machine with our address.
            Ok(_) | Err(_) => {
                self.acquired.written = entry.written;
                self.contest.seen(now).map_or(Standing::StillContested, Standing::Contested)
            }
        }
    }

    /// Whether our value under this etcd lease is by us, or by an operator who has made a reservation of it.
    fn is_our_write(&self, lease: i64) -> bool {
        lease == 0 || self.leases.contains(&lease)
    }

    fn begin(&mut self, now: Instant) {
        let ttl = Duration::from_secs(TTL_SECS);
        let wait = ttl.checked_sub(self.margin).unwrap_or(RETRY).max(RETRY);
        let is_reservation = self.acquired.lease == 0;
        self.term = (!is_reservation).then(|| Term { ends: now + ttl, renews: now + wait });
    }
}

impl Contest {
    /// Somebody has written; how long until we do, unless that was known.
    fn seen(&mut self, now: Instant) -> Option<Duration> {
        if self.last.replace(now).is_none_or(|last| now.since(last) >= CALM) {
            self.times = 0;
        }
        if self.answers.is_some() {
            return None;
        }
        let doubled = self.times.checked_sub(1).map(|times| Duration::from_secs(1 << times.min(6)));
        let pause = doubled.unwrap_or_default().min(RETRY);
        self.times = self.times.saturating_add(1);
        self.answers = Some(now + pause);
        Some(pause)
    }
}

fn replace(acquired: &Acquired, value: String, lease: i64) -> Request {
    Request::Replace { key: acquired.subnets.to_string(), value, lease, written: acquired.written }
}

#[cfg(test)]
#[path = "tenure/tests.rs"]
mod tests;

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
//! told and then renewed over, for that is how two machines with one public address look; another host's is
//! taken, and no key is gone: both mean that the lease is lost, for good.
//!
//! etcd may be away for any time: nothing is lost by that alone, and the renewal is tried again until it works. Clock: an
//! argument. Source: flannel pkg/subnet/etcd/local_manager.go (`CompleteLease`).

use std::fmt;
use std::time::Duration;

use wire::Instant;

use super::acquire::{Acquired, Answer, Request, TTL_SECS};
use super::lease::Holder;
use super::roster::Entry;

/// How long a failed renewal is not tried again (flannel's `time.Minute`).
pub const RETRY: Duration = Duration::from_secs(60);

/// A lease that is ours, and when to do something about it.
#[derive(Debug)]
pub struct Tenure {
    acquired: Acquired,
    holder: Holder,
    margin: Duration,
    /// `None`: a reservation, which has no end.
    term: Option<Term>,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    ends: Instant,
    renews: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Granting,
    Replacing(i64),
}

/// What the registry says of our key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as we have written it.
    Ours,
    /// Another machine writes to it that says it is us.
    Contested,
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
    /// It failed, and will be tried again.
    Later,
}

impl Tenure {
    /// The tenure of what was just acquired. A margin longer than the term renews all the time, once in [`RETRY`].
    pub fn new(acquired: Acquired, holder: Holder, margin: Duration, now: Instant) -> Self {
        let mut tenure = Self { acquired, holder, margin, term: None };
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
        self.term.filter(|term| term.state == State::Idle).map(|term| term.renews)
    }

    /// What is due.
    pub fn wake(&mut self, now: Instant) -> Option<Request> {
        let is_due = |term: &&mut Term| term.state == State::Idle && term.renews <= now;
        self.term.as_mut().filter(is_due)?.state = State::Granting;
        Some(Request::Grant)
    }

    /// What follows from the answer to a request of ours.
    ///
    /// # Panics
    /// If the answer is one to another request.
    pub fn answer(&mut self, answer: &Answer, now: Instant) -> Progress {
        let term = self.term.as_mut().expect("without a term nothing is asked");
        match (term.state, answer) {
            (State::Granting, Answer::Granted(lease)) => {
                term.state = State::Replacing(*lease);
                Progress::Ask(replace(&self.acquired, self.holder.to_json(), *lease))
            }
            (State::Replacing(lease), Answer::Done(written)) => {
                self.acquired = Acquired { lease, written: *written, ..self.acquired };
                self.begin(now);
                Progress::Renewed
            }
            // Should the write have happened all the same, the watch says so, and the next one fits.
            (State::Granting | State::Replacing(_), Answer::Nothing)
            | (State::Replacing(_), Answer::Unexpected) => {
                *term = Term { renews: now + RETRY, state: State::Idle, ..*term };
                Progress::Later
            }
            (state, answer) => panic!("{answer:?} is no answer in {state:?}"),
        }
    }

    /// What the registry has under our key.
    pub fn seen(&mut self, own: Option<&Entry>) -> Standing {
        let Some(entry) = own else { return Standing::Lost(Loss::Revoked) };
        if entry.written <= self.acquired.written {
            return Standing::Ours; // Older news than our own write.
        }
        match Holder::parse(&entry.value) {
            Ok(holder) if holder == self.holder => {
                self.acquired.written = entry.written;
                Standing::Ours
            }
            Ok(holder) if !holder.is_same_host(self.holder.public_ip) => Standing::Lost(Loss::Taken),
            // Broken, or of a machine with our address.
            Ok(_) | Err(_) => {
                self.acquired.written = entry.written;
                Standing::Contested
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        let ttl = Duration::from_secs(TTL_SECS);
        let wait = ttl.checked_sub(self.margin).unwrap_or(RETRY).max(RETRY);
        let is_reservation = self.acquired.lease == 0;
        self.term =
            (!is_reservation).then(|| Term { ends: now + ttl, renews: now + wait, state: State::Idle });
    }
}

fn replace(acquired: &Acquired, value: String, lease: i64) -> Request {
    Request::Replace { key: acquired.subnets.to_string(), value, lease, written: acquired.written }
}

#[cfg(test)]
#[path = "tenure/tests.rs"]
mod tests;

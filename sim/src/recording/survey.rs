//! What a recording is, said while its octets go by, of which nothing is kept but the beginning of one record.

use std::collections::BTreeMap;

use super::read::{Octets, Record, parse};
use super::{BODY_MAX, Kind, header};

/// Octets of a record that are kept until it is whole: more than the bodies that are looked at have.
const HEAD_MAX: usize = 64;
/// Octets of a record beside its body: length, kind, checksum.
const AROUND: usize = 4 + 1 + 4;

/// What a recording's octets have said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    octets: u64,
    events: u64,
    missed: u64,
    /// Whether each worker's recording has ended, of those that have begun.
    has_ended: BTreeMap<u16, bool>,
    /// Whose the records are.
    current: u16,
    /// The first octets of the record that goes by.
    head: Vec<u8>,
    /// Octets of it that have gone by.
    gone: usize,
    /// Whether what goes by is no recording: the rest is only counted.
    is_lost: bool,
}

impl Survey {
    /// The next octets.
    pub fn take(&mut self, mut octets: &[u8]) {
        let header = header().len() as u64;
        let skipped = usize::try_from(header.saturating_sub(self.octets)).expect("the header is short");
        self.octets += octets.len() as u64;
        octets = octets.get(skipped..).unwrap_or_default();
        while !octets.is_empty() && !self.is_lost {
            let (taken, rest) = octets.split_at(self.wanted().min(octets.len()));
            octets = rest;
            let kept = taken.len().min(HEAD_MAX - self.head.len());
            self.head.extend_from_slice(&taken[..kept]);
            self.gone += taken.len();
            self.is_lost = self.body_len().is_some_and(|len| len > BODY_MAX);
            if self.body_len().is_some() && self.wanted() == 0 {
                self.record();
            }
        }
    }

    /// Octets so far.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Events in it.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Events that could not be kept.
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Whether it might end here: each worker whose recording has begun has ended.
    pub fn is_whole(&self) -> bool {
        let is_between = self.head.is_empty() && !self.is_lost;
        is_between && !self.has_ended.is_empty() && self.has_ended.values().all(|has_ended| *has_ended)
    }

    /// Octets of the record's length, or the record, that are still to come.
    fn wanted(&self) -> usize {
        self.body_len().map_or(4, |len| len.saturating_add(AROUND)).saturating_sub(self.gone)
    }

    fn body_len(&self) -> Option<usize> {
        let len = self.head.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*len) as usize)
    }

    /// A record has gone by whole.
    fn record(&mut self) {
        let body = self.head.get(5..(self.gone - 4).min(self.head.len())).unwrap_or_default();
        match Kind::of(self.head[4]) {
            None => self.is_lost = true,
            Some(kind @ (Kind::Start | Kind::Worker | Kind::End)) => match parse(kind, &mut Octets(body)) {
                Some(Record::Worker(index)) => self.current = index,
                Some(Record::Start(begins)) => {
                    self.has_ended.insert(self.current, false);
                    self.missed = self.missed.saturating_add(begins.missed);
                }
                Some(Record::End { missed }) => {
                    self.has_ended.insert(self.current, true);
                    self.missed = self.missed.saturating_add(missed);
                }
                Some(
                    Record::Plan { .. }
                    | Record::State { .. }
                    | Record::Event { .. }
                    | Record::Replicas(_)
                    | Record::Outputs { .. },
                )
                | None => self.is_lost = true,
            },
            Some(
                Kind::Frame
                | Kind::Datagram
                | Kind::Wake
                | Kind::Configure
                | Kind::Flush
                | Kind::KillSessions
                | Kind::FlushNeighbours
                | Kind::Gossip,
            ) => self.events += 1,
            Some(Kind::Plan | Kind::State | Kind::Replicas | Kind::Outputs) => {}
        }
        self.head.clear();
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use node::Event;
    use wire::Instant;

    use super::super::{Begins, Recorder, end_of};
    use super::*;

    /// Two workers' recordings, of which the first misses five events on the way and two at its end.
    fn recording() -> Vec<u8> {
        let mut octets = header().to_vec();
        for index in [0, 1] {
            let mut recorder = Recorder::new(index);
            let missed = if index == 0 { 5 } else { 0 };
            let begins = Begins { seed: 1, index, replicas: 2, since_1970_ns: 0, missed, has_state: false };
            recorder.begin(&begins);
            (0..10).for_each(|_| recorder.event(Instant::ZERO, &Event::Wake));
            recorder.replicas(true);
            octets.extend(recorder.take(Vec::new()));
        }
        octets.extend([end_of(0, 2), end_of(1, 0)].concat());
        octets
    }

    #[test]
    fn any_pieces_say_the_same() {
        let octets = recording();
        for len in [1, 2, 3, 5, 8, 64, octets.len()] {
            let mut survey = Survey::default();
            for (at, piece) in octets.chunks(len).enumerate() {
                assert!(!survey.is_whole(), "before piece {at} of {len} octets");
                survey.take(piece);
            }
            assert!(survey.is_whole(), "{len}: {survey:?}");
            let told = (survey.octets(), survey.events(), survey.missed());
            assert_eq!(told, (octets.len() as u64, 20, 7), "{len}");
            survey.take(&octets[8..20]);
            assert!(!survey.is_whole(), "something more has begun");
        }
    }

    #[test]
    fn what_is_no_recording_is_counted_and_never_whole() {
        for rest in [&[0xff; 100][..], &[1, 0, 0, 0, 99, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 14, 0, 0, 0, 0]] {
            let mut survey = Survey::default();
            survey.take(&header());
            survey.take(rest);
            survey.take(&[7; 1_000]);
            assert_eq!(survey.octets(), 1_008 + rest.len() as u64);
            assert!(!survey.is_whole() && survey.events() == 0, "{survey:?}");
        }
    }
}

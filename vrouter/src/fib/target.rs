//! Answers as small numbers: equal targets have one code, and their next hops are stored once.
//!
//! Codes follow the order of targets, so equal routes give equal codes whatever order they came in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use wire::DomainId;

use super::{FibError, NextHop, NextHops, Resolved, Route, TARGETS_MAX, Target};

/// A target's number; [`Code::NONE`] or one of [`TARGETS_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Code(pub(super) u16);

impl Code {
    /// No route is for the destination.
    pub(super) const NONE: Self = Self(0);
    /// Greater than every code.
    pub(super) const END: u16 = 0xff00;
}

const _: () = assert!(TARGETS_MAX == Code::END as usize - 1);

/// What codes mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Targets {
    /// By code.
    kinds: Vec<Kind>,
    /// Lists of next hops, one after another.
    hops: Vec<NextHop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    None,
    Connected(DomainId),
    /// Where the list starts, and how many next hops it has.
    Via(u32, u16),
    Blackhole,
    Unreachable,
    Prohibit,
}

impl Targets {
    /// What the code means; `None` for [`Code::NONE`].
    #[inline]
    pub(super) fn resolve(&self, code: Code) -> Option<Resolved<'_>> {
        match *self.kinds.get(usize::from(code.0))? {
            Kind::Via(start, len) => {
                let start = start as usize;
                Some(Resolved::Via(NextHops(&self.hops[start..start + usize::from(len)])))
            }
            Kind::Connected(domain) => Some(Resolved::Connected(domain)),
            Kind::Blackhole => Some(Resolved::Blackhole),
            Kind::Unreachable => Some(Resolved::Unreachable),
            Kind::Prohibit => Some(Resolved::Prohibit),
            Kind::None => None,
        }
    }

    /// Octets that they take.
    pub(super) fn memory(&self) -> usize {
        self.kinds.capacity() * size_of::<Kind>() + self.hops.capacity() * size_of::<NextHop>()
    }

    /// How many different targets there are.
    pub(super) fn count(&self) -> usize {
        self.kinds.len().saturating_sub(1)
    }
}

/// Gives equal targets one code.
#[derive(Debug)]
pub(super) struct Codebook<'a> {
    codes: BTreeMap<&'a Target, Code>,
}

impl<'a> Codebook<'a> {
    /// Codes for the targets of all `routes`, which have been checked.
    ///
    /// # Errors
    /// [`FibError::TooManyTargets`].
    pub(super) fn of(routes: &'a [Route]) -> Result<Self, FibError> {
        let mut codes = BTreeMap::new();
        let mut last = None;
        for Route { target, .. } in routes {
            if last != Some(target) {
                codes.insert(target, Code::NONE);
                last = Some(target);
            }
        }
        if codes.len() > TARGETS_MAX {
            return Err(FibError::TooManyTargets(codes.len()));
        }
        for (number, code) in (1..).zip(codes.values_mut()) {
            *code = Code(number);
        }
        Ok(Self { codes })
    }

    /// The code for a target of one of the routes that the codes were made for.
    pub(super) fn code(&self, target: &Target) -> Code {
        self.codes[target]
    }

    /// What the codes mean.
    pub(super) fn into_targets(self) -> Targets {
        let mut targets = Targets { kinds: Vec::with_capacity(self.codes.len() + 1), hops: Vec::new() };
        if !self.codes.is_empty() {
            targets.kinds.push(Kind::None);
        }
        for target in self.codes.into_keys() {
            let kind = match target {
                Target::Connected(domain) => Kind::Connected(*domain),
                Target::Via(hops) => {
                    let start = u32::try_from(targets.hops.len()).expect("at most TARGETS_MAX lists");
                    targets.hops.extend_from_slice(hops);
                    Kind::Via(start, u16::try_from(hops.len()).expect("at most NEXT_HOPS_MAX"))
                }
                Target::Blackhole => Kind::Blackhole,
                Target::Unreachable => Kind::Unreachable,
                Target::Prohibit => Kind::Prohibit,
            };
            targets.kinds.push(kind);
        }
        targets.hops.shrink_to_fit();
        targets
    }
}

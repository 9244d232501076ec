//! What several rounds say together: the median with the least and the greatest, and ratios taken round by round.
//!
//! Rounds alternate between the subjects, so that a machine that is slower for a minute is slower for all. A ratio is
//! therefore formed within each round first, and its median taken then: drift cancels. A round in which either
//! subject has no figure does not count.

use serde::Serialize;

/// The middle of several figures, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle figure; the mean of the middle two of an even count.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Summary {
    /// Sums up `figures`; `None` if there are none or one is not a number.
    pub fn of(figures: &[f64]) -> Option<Self> {
        if figures.is_empty() || figures.iter().any(|figure| figure.is_nan()) {
            return None;
        }
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (upper, lower) = (sorted[sorted.len() / 2], sorted[(sorted.len() - 1) / 2]);
        Some(Self {
            median: f64::midpoint(lower, upper),
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            count: sorted.len(),
        })
    }
}

/// How `ours` stands to `theirs`: the ratio of each round that has both. `None` if no round has.
pub fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Summary> {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .filter_map(|(ours, theirs)| Some((*ours)? / (*theirs)?))
        .filter(|ratio| ratio.is_finite())
        .collect();
    Summary::of(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        let summary = Summary::of(&[9.0, 1.0, 5.0]).unwrap();
        assert_eq!(summary, Summary { median: 5.0, min: 1.0, max: 9.0, count: 3 });
        assert_eq!(Summary::of(&[4.0, 2.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Both slow down by half in the second round; the third has no partner.
        let ours = [Some(10.0), Some(5.0), Some(100.0)];
        let theirs = [Some(20.0), Some(10.0), None];
        assert_eq!(ratio(&ours, &theirs).unwrap(), Summary { median: 0.5, min: 0.5, max: 0.5, count: 2 });
    }

    #[test]
    fn a_round_against_nothing_is_no_ratio() {
        assert_eq!(ratio(&[Some(1.0)], &[Some(0.0)]), None);
        assert_eq!(ratio(&[None], &[Some(1.0)]), None);
    }
}

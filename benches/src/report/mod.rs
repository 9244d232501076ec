//! What people read: a table on the terminal, Markdown to commit, JSON for machines, an SVG chart to look at.

mod chart;
mod markdown;
mod table;

pub use chart::svg;
pub use markdown::markdown;
pub use table::terminal;

use crate::stats::Summary;

/// A figure with as many digits as it deserves: three, and no exponent.
fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// The median, and from where to where.
fn spread(summary: Summary) -> String {
    let Summary { median, min, max, .. } = summary;
    format!("{} ({}–{})", figure(median), figure(min), figure(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_or_so() {
        for (value, text) in [
            (17.04, "17.0"),
            (664.7, "665"),
            (1.043, "1.04"),
            (0.0, "0.00"),
            (0.0023, "0.0023"),
            (12_345.6, "12346"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_spread_shows_its_ends() {
        assert_eq!(spread(Summary { median: 17.0, min: 16.2, max: 18.1, count: 5 }), "17.0 (16.2–18.1)");
    }
}

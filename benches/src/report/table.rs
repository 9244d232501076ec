//! The table on the terminal.

use std::fmt::Write as _;

use super::{figure, spread};
use crate::outcome::Outcome;
use crate::site::Path;
use crate::subject::Subject;
use crate::threshold::Verdict;

/// Figures by metric and subject with ratios, then the promises.
pub fn terminal(outcome: &Outcome, verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for metric in outcome.metrics() {
        let better = if metric.more_is_better() { "more is better" } else { "less is better" };
        line(&mut text, format_args!("\n{} ({}, {better})", metric.title(), metric.unit()));
        for entrant in &outcome.entrants {
            let subject = entrant.subject;
            let Some(summary) = outcome.summary(subject, metric) else {
                line(&mut text, format_args!("  {subject:<12} no figure"));
                continue;
            };
            let ours = match subject.path() {
                Path::Switched => Subject::Tapestry,
                Path::Routed => Subject::TapestryNat,
                Path::Tunnelled => Subject::TapestryVxlan,
            };
            let ratio = outcome.ratio(ours, subject, metric).filter(|_| subject != ours);
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ours} is {} × it", spread(ratio)));
            line(&mut text, format_args!("  {subject:<12} {:<26} {ratio}", spread(summary)));
        }
    }
    line(&mut text, format_args!("\nWhat must be reached"));
    for verdict in verdicts {
        let measured = verdict.measured.map_or_else(|| "–".to_owned(), figure);
        let (what, bound, word) = (&verdict.what, &verdict.bound, verdict.word());
        line(&mut text, format_args!("  {what:<60} {bound:<10} {measured:>8}  {word}"));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::example;
    use crate::threshold::verdicts;

    #[test]
    fn everybody_has_a_line_and_ratios_are_ours_to_theirs() {
        let outcome = example::outcome();
        let text = terminal(&outcome, &verdicts(&outcome));
        assert!(text.contains("TCP bulk, 1 stream (Gbit/s, more is better)"), "{text}");
        assert!(text.contains("  tapestry     17.0 (16.0–18.0)"), "{text}");
        assert!(
            text.contains("  bridge       20.0 (20.0–20.0)           tapestry is 0.80 (0.80–0.80) × it"),
            "{text}"
        );
        assert!(text.contains("≥ 0.85 ×       0.80  MISS"), "{text}");
    }
}

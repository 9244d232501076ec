//! The report to commit: what was measured, on what, by which command.

use std::fmt::Write as _;

use super::{figure, spread};
use crate::metric::Metric;
use crate::outcome::Outcome;
use crate::subject::Subject;
use crate::threshold::Verdict;

/// The whole page. `chart` is the SVG's file name beside it.
pub fn markdown(outcome: &Outcome, verdicts: &[Verdict], chart: &str) -> String {
    let mut page = Page(String::new());
    page.line("# Side by side\n");
    page.line(
        "One run; within each round the subjects take turns. Figures are medians with least–greatest of the",
    );
    page.line("rounds; ratios are taken within each round, and their median is shown.\n");
    conditions(&mut page, outcome);
    page.line(&format!("\n![Medians of every workload]({chart})\n"));
    promises(&mut page, verdicts);
    page.line("\n## Figures\n");
    figures(&mut page, outcome);
    ratios(&mut page, outcome);
    asides(&mut page, outcome);
    entrants(&mut page, outcome);
    failures(&mut page, outcome);
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        writeln!(self.0, "{line}").expect("writing to a string does not fail");
    }

    fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
        self.line(&format!("| {} |", cells.join(" | ")));
    }

    fn header<S: AsRef<str>>(&mut self, cells: &[S]) {
        self.row(cells);
        self.row(cells.iter().map(|_| "---"));
    }
}

fn conditions(page: &mut Page, outcome: &Outcome) {
    let (machine, method) = (&outcome.machine, outcome.method);
    let kind = if machine.virtual_machine { "virtual machine" } else { "bare metal" };
    page.line(&format!(
        "- Machine: {}, {} cores, {} GiB, {kind}; {}",
        machine.processor, machine.processors, machine.memory_gib, machine.kernel
    ));
    page.line(&format!("- Command: `{}`", outcome.command));
    page.line(&format!("- Date: {}", machine.date));
    page.line(&format!(
        "- {} rounds; throughput {} s after {} s of warm-up, round trips {} s after {} s; fixed rate {}/s, timed from \
         when each request was due; floods of {} frames/s",
        method.rounds,
        method.throughput.measured.as_secs_f64(),
        method.throughput.warm_up.as_secs_f64(),
        method.round_trip.measured.as_secs_f64(),
        method.round_trip.warm_up.as_secs_f64(),
        method.rate,
        method.flood_rate
    ));
    page.line("- Nothing is pinned to a core: subject, sender and receiver share the cores as the scheduler decides");
}

fn promises(page: &mut Page, verdicts: &[Verdict]) {
    page.line("## What must be reached\n");
    page.header(&["what", "bound", "measured", ""]);
    for verdict in verdicts {
        let measured = verdict.measured.map_or_else(|| "–".to_owned(), figure);
        page.row([verdict.what.as_str(), &verdict.bound, &measured, verdict.word()]);
    }
}

fn figures(page: &mut Page, outcome: &Outcome) {
    let subjects: Vec<Subject> = outcome.entrants.iter().map(|entrant| entrant.subject).collect();
    by_subject(page, outcome, &subjects, |subject, metric| outcome.summary(subject, metric).map(spread));
}

fn ratios(page: &mut Page, outcome: &Outcome) {
    let entrants: Vec<Subject> = outcome.entrants.iter().map(|entrant| entrant.subject).collect();
    for (ours, heading) in [
        (Subject::Tapestry, "Tapestry in relation to each"),
        (
            Subject::TapestryNat,
            "Tapestry's routing + masquerade in relation to plain switching and to Linux's",
        ),
        (Subject::TapestryVxlan, "Tapestry's VXLAN between two hosts in relation to others"),
    ] {
        if !entrants.contains(&ours) {
            continue;
        }
        let is_other = |subject: &Subject| {
            *subject != ours && (subject.path() == ours.path() || *subject == Subject::Tapestry)
        };
        let others: Vec<Subject> = entrants.iter().copied().filter(is_other).collect();
        page.line(&format!("\n## {heading}\n"));
        by_subject(page, outcome, &others, |subject, metric| {
            outcome.ratio(ours, subject, metric).map(|ratio| format!("{} ×", spread(ratio)))
        });
    }
}

fn by_subject(
    page: &mut Page,
    outcome: &Outcome,
    subjects: &[Subject],
    cell: impl Fn(Subject, Metric) -> Option<String>,
) {
    let mut header = vec!["workload", "unit"];
    header.extend(subjects.iter().map(|subject| subject.name()));
    page.header(&header);
    for metric in outcome.metrics() {
        let mut row = vec![metric.title().to_owned(), metric.unit().to_owned()];
        row.extend(subjects.iter().map(|&subject| cell(subject, metric).unwrap_or_else(|| "–".to_owned())));
        page.row(&row);
    }
}

/// What helps to understand the figures, by name.
fn asides(page: &mut Page, outcome: &Outcome) {
    let names: std::collections::BTreeSet<&String> =
        outcome.runs.iter().flat_map(|run| run.asides.keys()).collect();
    if names.is_empty() {
        return;
    }
    page.line("\n## Beside the figures, medians\n");
    let mut header = vec![String::new()];
    header.extend(outcome.entrants.iter().map(|entrant| entrant.subject.name().to_owned()));
    page.header(&header);
    for name in names {
        let mut row = vec![name.clone()];
        row.extend(outcome.entrants.iter().map(|entrant| {
            outcome.aside(entrant.subject, name).map_or_else(|| "–".to_owned(), |aside| figure(aside.median))
        }));
        page.row(&row);
    }
}

fn entrants(page: &mut Page, outcome: &Outcome) {
    page.line("\n## Who took part\n");
    page.header(&["subject", "what it is", "version"]);
    for entrant in &outcome.entrants {
        page.row([entrant.subject.name(), entrant.subject.phrase(), &entrant.version]);
    }
    for absent in &outcome.absent {
        page.row([absent.subject.name(), absent.subject.phrase(), &format!("**absent**: {}", absent.reason)]);
    }
}

fn failures(page: &mut Page, outcome: &Outcome) {
    if outcome.runs.iter().all(|run| run.failures.is_empty()) {
        return;
    }
    page.line("\n## What came to nothing\n");
    for run in &outcome.runs {
        for failure in &run.failures {
            page.line(&format!("- round {}, {}: {failure}", run.round + 1, run.subject));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::example;
    use crate::threshold::verdicts;

    #[test]
    fn the_page_says_where_how_and_what_is_missing() {
        let outcome = example::outcome();
        let page = markdown(&outcome, &verdicts(&outcome), "chart.svg");
        for expected in [
            "Example (family 1 model 1), 2 cores, 24 GiB, virtual machine; Linux 6.18.0 x86_64",
            "`compare --repeat 2`",
            "2026-01-02T03:04:05Z",
            "![Medians of every workload](chart.svg)",
            "| TCP bulk, 1 stream | Gbit/s | 17.0 (16.0–18.0) | 18.0 (16.0–20.0) | 20.0 (20.0–20.0) |",
            "| vde | VDE, vde_switch with two TAPs | **absent**: vde_switch is not installed |",
            "| offered kframes/s | 1220 | 1220 | 400 |",
            "- round 2, bridge: bulk: the endpoints cannot reach each other",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in:\n{page}");
        }
    }

    #[test]
    fn every_row_of_a_table_is_as_wide_as_its_header() {
        let outcome = example::outcome();
        let page = markdown(&outcome, &verdicts(&outcome), "chart.svg");
        let mut width = None;
        for line in page.lines() {
            let cells = line.starts_with('|').then(|| line.matches(" | ").count());
            assert!(width.is_none() || cells.is_none() || cells == width, "{line}");
            width = cells;
        }
    }
}

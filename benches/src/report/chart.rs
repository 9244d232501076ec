//! The chart: one panel a metric, one bar a subject, its length the median, its whisker from least to greatest.
//!
//! Plain SVG by hand: rectangles, lines and words need no library, and the file stays small enough to be read.

use std::fmt::Write as _;

use super::figure;
use crate::metric::Metric;
use crate::outcome::Outcome;
use crate::stats::Summary;
use crate::subject::Subject;

const PANELS: [Metric; 6] =
    [Metric::Bulk1, Metric::Bulk4, Metric::Frames64, Metric::ClosedP50, Metric::PacedP50, Metric::PacedP99];
const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = 480.0;
const MARGIN: f64 = 20.0;
/// Where bars begin, right of the subjects' names.
const BARS_AT: f64 = 90.0;
/// The longest bar; the rest of the panel is for its figure.
const BAR_MAX: f64 = 270.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
const HEADING: f64 = 64.0;
const TITLE: f64 = 34.0;

/// The chart of an outcome.
pub fn svg(outcome: &Outcome) -> String {
    let panels: Vec<Metric> = outcome.metrics().filter(|metric| PANELS.contains(metric)).collect();
    let panel_height = TITLE + ROW * outcome.entrants.len() as f64 + MARGIN;
    let width = PANEL_WIDTH * COLUMNS as f64 + MARGIN * 2.0;
    let height = HEADING + panel_height * panels.len().div_ceil(COLUMNS) as f64 + MARGIN;
    let mut drawing = Drawing(String::new());
    drawing.line(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">"#
    ));
    drawing.line(format_args!(r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##));
    drawing.text(
        MARGIN,
        26.0,
        r#"font-size="17" font-weight="bold""#,
        "Tapestry beside its limits and its peers",
    );
    let machine = &outcome.machine;
    let beneath = format!(
        "Medians of {} rounds, whiskers from least to greatest. {} cores, {}; {}",
        outcome.method.rounds,
        machine.processors,
        machine.kernel,
        machine.date.get(..10).unwrap_or_default()
    );
    drawing.text(MARGIN, 46.0, r##"fill="#555555""##, &beneath);
    for (number, &metric) in panels.iter().enumerate() {
        let x = MARGIN + PANEL_WIDTH * (number % COLUMNS) as f64;
        let y = HEADING + panel_height * (number / COLUMNS) as f64;
        panel(&mut drawing, outcome, metric, x, y);
    }
    drawing.line(format_args!("</svg>"));
    drawing.0
}

fn panel(drawing: &mut Drawing, outcome: &Outcome, metric: Metric, x: f64, y: f64) {
    let summaries: Vec<(Subject, Option<Summary>)> = outcome
        .entrants
        .iter()
        .map(|entrant| (entrant.subject, outcome.summary(entrant.subject, metric)))
        .collect();
    let greatest = summaries.iter().filter_map(|(_, summary)| summary.map(|summary| summary.max));
    let scale = BAR_MAX / greatest.fold(f64::MIN_POSITIVE, f64::max);
    let better = if metric.more_is_better() { "longer is better" } else { "shorter is better" };
    let title = format!("{}, {} ({better})", metric.title(), metric.unit());
    drawing.text(x, y + 16.0, r#"font-size="13" font-weight="bold""#, &title);
    for (row, (subject, summary)) in summaries.into_iter().enumerate() {
        let top = y + TITLE + ROW * row as f64;
        let baseline = top + BAR - 3.0;
        let end = format!(r#"text-anchor="end"{}"#, emphasis(subject));
        drawing.text(x + BARS_AT - 8.0, baseline, &end, subject.name());
        let Some(summary) = summary else {
            drawing.text(x + BARS_AT, baseline, r##"fill="#999999""##, "no figure");
            continue;
        };
        bar(drawing, x + BARS_AT, top, scale, subject, summary);
    }
}

fn bar(drawing: &mut Drawing, x: f64, y: f64, scale: f64, subject: Subject, summary: Summary) {
    let (length, colour) = (summary.median * scale, colour(subject));
    drawing.line(format_args!(
        r#"<rect x="{x:.1}" y="{y:.1}" width="{length:.1}" height="{BAR}" fill="{colour}"/>"#
    ));
    let (middle, from, to) = (y + BAR / 2.0, x + summary.min * scale, x + summary.max * scale);
    let (top, bottom) = (middle - 3.0, middle + 3.0);
    drawing.line(format_args!(
        r##"<path d="M{from:.1} {middle:.1}H{to:.1}M{from:.1} {top:.1}V{bottom:.1}M{to:.1} {top:.1}V{bottom:.1}" stroke="#222222" fill="none"/>"##
    ));
    drawing.text(to + 8.0, y + BAR - 3.0, emphasis(subject).trim_start(), &figure(summary.median));
}

/// Ours stands out, the limits recede, peers are between.
fn colour(subject: Subject) -> &'static str {
    match subject {
        Subject::Tapestry
        | Subject::TapestryRecorded
        | Subject::TapestryNat
        | Subject::TapestryVxlan
        | Subject::TapestryTunnelGso
        | Subject::TapestryUdp => "#00796b",
        Subject::CopyLoop | Subject::TunTap => "#bdbdbd",
        Subject::Bridge
        | Subject::OvsTap
        | Subject::OvsVeth
        | Subject::Vde
        | Subject::LinuxNat
        | Subject::KernelVxlan => "#90b4d8",
    }
}

fn emphasis(subject: Subject) -> &'static str {
    if subject.is_ours() { r#" font-weight="bold""# } else { "" }
}

struct Drawing(String);

impl Drawing {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to a string does not fail");
    }

    fn text(&mut self, x: f64, y: f64, attributes: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let space = if attributes.is_empty() { "" } else { " " };
        self.line(format_args!(r#"<text x="{x:.1}" y="{y:.1}"{space}{attributes}>{words}</text>"#));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::example;

    #[test]
    fn bars_are_in_proportion_and_the_greatest_fits() {
        let drawing = svg(&example::outcome());
        // TCP bulk: the greatest of all is 20, ours is 17.
        assert!(drawing.contains(r##"width="229.5" height="14" fill="#00796b""##), "{drawing}");
        assert!(drawing.contains(r##"width="270.0" height="14" fill="#90b4d8""##), "{drawing}");
    }

    #[test]
    fn words_cannot_break_the_markup() {
        let mut outcome = example::outcome();
        outcome.machine.kernel = "a <b> & c".to_owned();
        let drawing = svg(&outcome);
        assert!(drawing.contains("a &lt;b&gt; &amp; c"), "{drawing}");
        assert_eq!(drawing.matches("<text").count(), drawing.matches("</text>").count());
    }
}

//! Aligned columns and readable quantities.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// How a cell is shown on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

/// Rows under a heading, each column as wide as its widest cell.
pub(super) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<(String, Tone)>>,
    colored: bool,
}

impl Table {
    /// An empty table with these columns.
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let heading = columns.iter().map(|(name, _)| ((*name).to_owned(), Tone::Plain)).collect();
        Self {
            aligns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![heading],
            colored: colored(),
        }
    }

    /// Adds a row of plain cells.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.toned_row(cells.map(|cell| (cell, Tone::Plain)));
    }

    /// Adds a row.
    pub(super) fn toned_row<const N: usize>(&mut self, cells: [(String, Tone); N]) {
        assert_eq!(N, self.aligns.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// The text, a line a row.
    pub(super) fn render(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].0.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, tone), (&width, align)) in row.iter().zip(widths.iter().zip(&self.aligns)) {
                let padding = " ".repeat(width - cell.chars().count());
                let cell = self.paint(cell, *tone);
                match align {
                    Align::Left => write!(line, "{cell}{padding}  "),
                    Align::Right => write!(line, "{padding}{cell}  "),
                }
                .expect("a String takes everything");
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn paint(&self, cell: &str, tone: Tone) -> String {
        match tone {
            Tone::Good if self.colored => format!("\x1b[32m{cell}\x1b[0m"),
            Tone::Bad if self.colored => format!("\x1b[1;31m{cell}\x1b[0m"),
            Tone::Plain | Tone::Good | Tone::Bad => cell.to_owned(),
        }
    }
}

/// Whether to show tones: on a terminal, unless NO_COLOR is set (no-color.org).
fn colored() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

/// Octets with a binary unit and three significant digits: `17.3 MiB`.
pub(super) fn octets(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 9.995 => format!("{value:.2} {}", UNITS[unit]),
        _ if value < 99.95 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A count with its digits in groups of three: `12,345,678`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time span in whole seconds: `2h 3m 4s`; below one second `0s`.
pub(super) fn span(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(milliseconds / 1_000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("NAME", Align::Left), ("COUNT", Align::Right), ("TEXT", Align::Left)]);
        table.row(["a".to_owned(), "1".to_owned(), "é x".to_owned()]);
        table.row(["longer".to_owned(), "123456".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME     COUNT  TEXT\na            1  é x\nlonger  123456\n");
    }

    #[test]
    fn quantities_are_short() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "0.98 KiB"),
            (1_024, "1.00 KiB"),
            (17_300_000, "16.5 MiB"),
            (1 << 40, "1.00 TiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (number, text) in cases {
            assert_eq!(octets(number), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(span(7_384_900), "2h 3m 4s");
        assert_eq!(span(10), "0s");
    }
}

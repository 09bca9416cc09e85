//! Figures in columns, for people.

use std::fmt;

/// A table with a title, a line of headings, and remarks below.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
    remarks: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, headings: &[&str]) -> Self {
        let headings = headings.iter().map(ToString::to_string).collect();
        Self {
            title: title.into(),
            rows: vec![headings],
            remarks: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // What a row is about stands at its left, numbers at the right of their column.
                let cell = match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                };
                line.push(' ');
                line.push_str(&cell);
                line.push(' ');
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for remark in &self.remarks {
            writeln!(f, "  {remark}")?;
        }
        Ok(())
    }
}

/// Milliseconds of a number of seconds, or a dash.
pub(crate) fn millis(seconds: Option<f64>) -> String {
    seconds.map_or_else(dash, |seconds| format!("{:.0} ms", seconds * 1000.0))
}

/// A number with so many digits behind the point and a unit, or a dash.
pub(crate) fn number(number: Option<f64>, digits: usize, unit: &str) -> String {
    number.map_or_else(dash, |number| format!("{number:.digits$}{unit}"))
}

/// What is said of a bar.
pub(crate) const fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "MISSED" }
}

fn dash() -> String {
    "-".to_owned()
}

//! The table and its charts as one page that needs nothing else.

use super::table::{Row, Table};

pub(crate) const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}\
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #8884}\
td:first-child,th:first-child{text-align:left}svg{display:block;margin:1em 0 2em;width:100%;height:auto}\
text{font:13px system-ui,sans-serif;fill:currentColor}:root{color-scheme:light dark}";

/// Returns the page.
pub(crate) fn page(tables: &[Table]) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>nearcast-lab bench abr</title>\n\
         <style>{STYLE}</style>\n<h1>Rules over recorded networks</h1>\n"
    );
    for table in tables {
        text += &format!("<h2>{}</h2>\n<table>\n<tr>", escaped(&table.title()));
        for heading in Table::HEADINGS {
            text += &format!("<th>{heading}</th>");
        }
        text += "</tr>\n";
        for row in table.cells() {
            let cells = row.map(|cell| format!("<td>{}</td>", escaped(&cell)));
            text += &format!("<tr>{}</tr>\n", cells.concat());
        }
        text += "</table>\n";
        text += &bars(table);
        text += &distribution(table);
    }
    text + "</html>\n"
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 70.0;

/// Maps numbers to places.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, number: f64) -> f64 {
        let span = (self.high - self.low).max(f64::MIN_POSITIVE);
        self.from + (number - self.low) / span * (self.to - self.from)
    }
}

/// Draws QoE of each rule as a bar, twice the paired error beside it, and the limit as a line.
#[expect(clippy::cast_precision_loss, reason = "a count of rules")]
fn bars(table: &Table) -> String {
    const STEP: f64 = 24.0;
    let numbers = || {
        table
            .rows
            .iter()
            .map(|row| row.qoe_per_segment)
            .chain(table.optimum_qoe_per_segment)
    };
    let scale = Scale {
        low: numbers().fold(0.0, f64::min),
        high: numbers().fold(0.0, f64::max),
        from: LEFT,
        to: WIDTH - RIGHT,
    };
    let height = STEP * (table.rows.len() as f64 + 1.5);
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"QoE per segment\">\n\
         <text x=\"0\" y=\"14\">QoE per segment; whiskers: two standard errors of the paired difference</text>\n"
    );
    for (place, row) in table.rows.iter().enumerate() {
        let y = STEP * (place as f64 + 1.0);
        let (zero, end) = (scale.at(0.0), scale.at(row.qoe_per_segment));
        text += &format!(
            "<text x=\"0\" y=\"{:.1}\">{}</text>\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"16\" fill=\"#4a7fb5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.3}</text>\n",
            y + 13.0,
            escaped(&row.rule),
            zero.min(end),
            (end - zero).abs(),
            WIDTH - RIGHT + 8.0,
            y + 13.0,
            row.qoe_per_segment
        );
        if let Some(error) = row.paired_se.filter(|error| *error > 0.0) {
            let (low, high) = (
                row.qoe_per_segment - 2.0 * error,
                row.qoe_per_segment + 2.0 * error,
            );
            text += &format!(
                "<path d=\"M{:.1} {:.1}H{:.1}\" stroke=\"#d98032\" stroke-width=\"3\"/>\n",
                scale.at(low.max(scale.low)),
                y + 8.0,
                scale.at(high.min(scale.high))
            );
        }
    }
    if let Some(limit) = table.optimum_qoe_per_segment {
        let x = scale.at(limit);
        text += &format!(
            "<path d=\"M{x:.1} {STEP}V{height:.1}\" stroke=\"currentColor\" stroke-dasharray=\"4 3\"/>\n"
        );
    }
    text + "</svg>\n"
}

/// Colours that can be told apart by most eyes (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#999933",
];

/// Draws how each rule's traces are distributed: the share of traces below each QoE.
#[expect(clippy::cast_precision_loss, reason = "counts of traces and rules")]
fn distribution(table: &Table) -> String {
    const HEIGHT: f64 = 300.0;
    if table.traces < 2 {
        return String::new();
    }
    let numbers = || table.rows.iter().flat_map(|row| row.qoes.iter().copied());
    let across = Scale {
        low: numbers().fold(f64::INFINITY, f64::min),
        high: numbers().fold(f64::NEG_INFINITY, f64::max),
        from: LEFT,
        to: WIDTH - 10.0,
    };
    let up = Scale {
        low: 0.0,
        high: 1.0,
        from: HEIGHT - 30.0,
        to: 24.0,
    };
    let mut text = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"distribution of QoE\">\n\
         <text x=\"0\" y=\"14\">share of traces up to a QoE per segment</text>\n\
         <path d=\"M{LEFT} {:.1}H{:.1}M{LEFT} {:.1}V{:.1}\" stroke=\"currentColor\" fill=\"none\"/>\n\
         <text x=\"{LEFT}\" y=\"{:.1}\">{:.2}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.2}</text>\n",
        up.from,
        across.to,
        up.from,
        up.to,
        HEIGHT - 12.0,
        across.low,
        across.to,
        HEIGHT - 12.0,
        across.high
    );
    for (place, row) in table.rows.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        text += &format!(
            "<text x=\"0\" y=\"{:.1}\" style=\"fill:{colour}\">{}</text>\
             <path d=\"{}\" stroke=\"{colour}\" fill=\"none\" stroke-width=\"1.5\"/>\n",
            40.0 + 18.0 * place as f64,
            escaped(&row.rule),
            steps(row, &across, &up)
        );
    }
    text + "</svg>\n"
}

#[expect(clippy::cast_precision_loss, reason = "a count of traces")]
fn steps(row: &Row, across: &Scale, up: &Scale) -> String {
    let mut sorted = row.qoes.clone();
    sorted.sort_by(f64::total_cmp);
    let mut path = format!("M{:.1} {:.1}", across.at(sorted[0]), up.at(0.0));
    for (place, qoe) in sorted.iter().enumerate() {
        let share = (place + 1) as f64 / sorted.len() as f64;
        path += &format!("H{:.1}V{:.1}", across.at(*qoe), up.at(share));
    }
    path
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

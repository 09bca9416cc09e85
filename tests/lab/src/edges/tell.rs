//! The table for people and for programs.

use anyhow::Result;
use serde::Serialize;

use super::figure::{Bar, Figure, Sample, World, cells, lines};
use super::story::Extra;
use crate::abr::html::{STYLE, escaped};

/// A world and what was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    world: &'static World,
    samples: Vec<Sample>,
}

impl Measured {
    pub(crate) const fn new(world: &'static World, samples: Vec<Sample>) -> Self {
        Self { world, samples }
    }
}

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    schema: &'static str,
    worlds: Vec<Row>,
}

/// Figures of one world, or of all.
#[derive(Debug, Serialize)]
struct Row {
    world: &'static str,
    about: &'static str,
    seeds: usize,
    sessions: usize,
    figures: Vec<Figure>,
}

/// Design §6.
const AIM: f64 = 2.0;

impl Table {
    pub(crate) fn new(measured: &[Measured]) -> Self {
        let row = |one: &Measured| Row {
            world: one.world.name,
            about: one.world.about,
            seeds: one.samples.len(),
            sessions: one.samples.iter().map(|sample| sample.sessions).sum(),
            figures: (one.world.figures)(&one.samples),
        };
        let mut worlds: Vec<Row> = measured.iter().map(row).collect();
        worlds.push(waste(measured));
        Self {
            schema: "nearcast.edges/1",
            worlds,
        }
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Returns the names of figures that are not as good as they have to be.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.worlds.iter().flat_map(|row| {
            let figures = row.figures.iter();
            let missed = figures.filter(|figure| figure.holds == Some(false));
            missed.map(|figure| format!("{}, {}", row.world, figure.name))
        });
        missed.collect()
    }

    /// Returns the table for people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.worlds {
            text += &row.title();
            text += "\n";
            text += &lines(&row.figures);
        }
        text
    }

    /// Returns the table as a page that needs nothing else.
    pub(crate) fn page(&self) -> String {
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>nearcast-lab bench edges</title>\n\
             <style>{STYLE}</style>\n<h1>Edges</h1>\n"
        );
        for row in &self.worlds {
            text += &format!("<h2>{}</h2>\n<table>\n", escaped(&row.title()));
            text += "<tr><th>figure</th><th>value</th><th>bar</th><th></th><th>seeds</th></tr>\n";
            for figure in &row.figures {
                let cells = cells(figure).map(|cell| format!("<td>{}</td>", escaped(&cell)));
                text += &format!("<tr>{}</tr>\n", cells.concat());
            }
            text += "</table>\n";
        }
        text + "</html>\n"
    }
}

impl Row {
    fn title(&self) -> String {
        format!(
            "{}: {} ({} seeds, {} sessions)",
            self.world, self.about, self.seeds, self.sessions
        )
    }
}

/// Returns what races, probes and help cost in all worlds.
fn waste(measured: &[Measured]) -> Row {
    let samples = || measured.iter().flat_map(|one| &one.samples);
    let extras = || samples().flat_map(|sample| &sample.extras);
    let sum = |of: fn(&Extra) -> u64| extras().map(of).sum::<u64>();
    #[expect(clippy::cast_precision_loss, reason = "a share of bytes")]
    let share = sum(|one| one.bytes) as f64 / sum(|one| one.of).max(1) as f64;
    let over = |sample: &&Sample| sample.extras.iter().any(|one| one.is_over());
    let sessions = extras().filter(|one| one.is_over()).count();
    let mut figures = vec![
        Figure::new("share of all bytes".into(), Some(share * 100.0), "%")
            .bar(Some(Bar::AtMost(AIM))),
    ];
    #[expect(clippy::cast_precision_loss, reason = "a count of sessions")]
    let above = Figure::new(
        "sessions above 256 KiB + 3 %".into(),
        Some(sessions as f64),
        "",
    );
    figures.push(above.bar(Some(Bar::AtMost(0.0))));
    for one in measured {
        let extras = || one.samples.iter().flat_map(|sample| &sample.extras);
        let seeds = one.samples.iter().filter(over).map(|sample| sample.seed);
        #[expect(clippy::cast_precision_loss, reason = "a share of bytes")]
        let share = extras().map(|one| one.bytes).sum::<u64>() as f64
            / extras().map(|one| one.of).sum::<u64>().max(1) as f64;
        let figure = Figure::new(one.world.name.into(), Some(share * 100.0), "%");
        figures.push(figure.seeds(seeds.take(3).collect()));
    }
    Row {
        world: "waste",
        about: "bytes of probing, racing and help over all worlds",
        seeds: samples().count(),
        sessions: extras().count(),
        figures,
    }
}

/// Returns a line for each number of each seed.
pub(crate) fn csv(measured: &[Measured]) -> String {
    let mut text = String::from("world,seed,figure,value\n");
    for one in measured {
        for sample in &one.samples {
            for (name, value) in &sample.values {
                let name = name.replace(',', "");
                text += &format!("{},{},{name},{value}\n", one.world.name, sample.seed);
            }
        }
    }
    text
}

//! What is measured of one seed, and the figures of all of them.

use nearcast_protocol::report::SessionReport;
use serde::Serialize;

use super::story::Extra;

/// A kind of world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) name: &'static str,
    /// What happens in it, in a line.
    pub(crate) about: &'static str,
    /// Of so many seeds asked for one is run: those with a crowd take as long as many others.
    pub(crate) clients: u64,
    /// Draws one world by the sample's seed, runs it and notes what came of it.
    pub(crate) run: fn(&mut Sample) -> anyhow::Result<()>,
    pub(crate) figures: fn(&[Sample]) -> Vec<Figure>,
}

/// What came of one seed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) seed: u64,
    /// By name; some of them several times.
    pub(crate) values: Vec<(&'static str, f64)>,
    /// What races, probes and help cost in each session.
    pub(crate) extras: Vec<Extra>,
    pub(crate) sessions: usize,
    pub(crate) virtual_s: f64,
    /// Whether reports are kept.
    pub(crate) keep: bool,
    pub(crate) reports: Vec<SessionReport>,
}

/// One number of a world, and whether it is as good as it has to be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// `None` where nothing was measured.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) bar: Option<Bar>,
    /// Whether the bar holds, which nothing measured does not; `None` without one.
    pub(crate) holds: Option<bool>,
    /// Those that are furthest from what they should be, to look at.
    pub(crate) seeds: Vec<u64>,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Sample {
    pub(crate) fn new(seed: u64, keep: bool) -> Self {
        Self {
            seed,
            keep,
            ..Self::default()
        }
    }

    pub(crate) fn note(&mut self, name: &'static str, value: f64) {
        self.values.push((name, value));
    }

    /// Notes a yes or no.
    pub(crate) fn note_if(&mut self, name: &'static str, holds: bool) {
        self.note(name, if holds { 1.0 } else { 0.0 });
    }
}

/// Seeds that a figure names.
const NAMED: usize = 3;

/// All values of one name, with their seeds, ascending.
#[derive(Debug)]
pub(crate) struct Values(Vec<(f64, u64)>);

impl Values {
    pub(crate) fn of(samples: &[Sample], name: &str) -> Self {
        let values = samples.iter().flat_map(|sample| {
            let named = sample.values.iter().filter(|(other, _)| *other == name);
            named.map(|(_, value)| (*value, sample.seed))
        });
        let mut values: Vec<(f64, u64)> = values.collect();
        values.sort_by(|(a, seed), (b, other)| a.total_cmp(b).then(seed.cmp(other)));
        Self(values)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the value that so large a share is not above; the nearest rank.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of values"
    )]
    fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let place = rank.saturating_sub(1);
        self.0.get(place).map(|(value, _)| *value)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of values")]
    fn mean(&self) -> Option<f64> {
        let sum: f64 = self.0.iter().map(|(value, _)| value).sum();
        (!self.0.is_empty()).then(|| sum / self.0.len() as f64)
    }

    /// Returns the seeds with the largest values.
    fn largest(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = Vec::new();
        for (_, seed) in self.0.iter().rev() {
            if seeds.len() < NAMED && !seeds.contains(seed) {
                seeds.push(*seed);
            }
        }
        seeds
    }

    /// Returns the seeds with the least values.
    pub(crate) fn first(&self) -> Vec<u64> {
        self.0.iter().map(|(_, seed)| *seed).take(NAMED).collect()
    }

    /// Returns the first seeds whose value is 0.
    fn zeros(&self) -> Vec<u64> {
        let zeros = self.0.iter().filter(|(value, _)| *value <= 0.0);
        zeros.map(|(_, seed)| *seed).take(NAMED).collect()
    }
}

/// Returns a quantile of a time.
pub(crate) fn seconds(samples: &[Sample], name: &str, share: f64, bar: Option<f64>) -> Figure {
    let values = Values::of(samples, name);
    let label = if share < 1.0 {
        format!("{name} p{:.0}", share * 100.0)
    } else {
        format!("{name} max")
    };
    Figure::new(label, values.quantile(share), "s")
        .bar(bar.map(Bar::AtMost))
        .seeds(values.largest())
}

/// Returns the largest share of something.
pub(crate) fn largest_share(samples: &[Sample], name: &str, bar: Option<f64>) -> Figure {
    let values = Values::of(samples, name);
    let largest = values.quantile(1.0).map(|share| share * 100.0);
    Figure::new(format!("{name} max"), largest, "%")
        .bar(bar.map(|share| Bar::AtMost(share * 100.0)))
        .seeds(values.largest())
}

/// Returns the mean of yes and no as a share.
pub(crate) fn share(samples: &[Sample], name: &str, bar: Option<f64>) -> Figure {
    let values = Values::of(samples, name);
    Figure::new(
        name.to_owned(),
        values.mean().map(|share| share * 100.0),
        "%",
    )
    .bar(bar.map(|share| Bar::AtLeast(share * 100.0)))
    .seeds(values.zeros())
}

/// Returns a sum of counts.
pub(crate) fn total(samples: &[Sample], name: &str, bar: Option<f64>) -> Figure {
    let values = Values::of(samples, name);
    let sum: f64 = values.0.iter().map(|(value, _)| value).sum();
    let mut some = values;
    some.0.retain(|(value, _)| *value > 0.0);
    Figure::new(name.to_owned(), Some(sum + 0.0), "")
        .bar(bar.map(Bar::AtMost))
        .seeds(some.largest())
}

/// Returns a quantile of a plain number.
pub(crate) fn number(samples: &[Sample], name: &str, share: f64, bar: Option<f64>) -> Figure {
    let mut figure = seconds(samples, name, share, bar);
    figure.unit = "";
    figure
}

impl Figure {
    pub(crate) fn new(name: String, value: Option<f64>, unit: &'static str) -> Self {
        Self {
            name,
            value,
            unit,
            bar: None,
            holds: None,
            seeds: Vec::new(),
        }
    }

    pub(crate) fn bar(mut self, bar: Option<Bar>) -> Self {
        self.bar = bar;
        self.holds = match (bar, self.value) {
            (Some(Bar::AtMost(most)), Some(value)) => Some(value <= most),
            (Some(Bar::AtLeast(least)), Some(value)) => Some(value >= least),
            (Some(_), None) => Some(false),
            (None, _) => None,
        };
        self
    }

    /// Names seeds to look at, where there is anything to see.
    pub(crate) fn seeds(mut self, seeds: Vec<u64>) -> Self {
        self.seeds = seeds;
        self
    }
}

/// Returns figures as a table for people, a line each.
pub(crate) fn lines(figures: &[Figure]) -> String {
    let mut text = String::new();
    let cells: Vec<[String; 5]> = figures.iter().map(cells).collect();
    for line in &cells {
        let parts = line.iter().enumerate().map(|(column, cell)| {
            let width = cells.iter().map(|line| line[column].chars().count()).max();
            let width = width.unwrap_or(0);
            match column {
                0 | 4 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            }
        });
        let line = parts.collect::<Vec<_>>().join("  ");
        text += &format!("  {}\n", line.trim_end());
    }
    text
}

/// Returns a figure's name, value, bar, whether that holds, and seeds to look at.
pub(crate) fn cells(figure: &Figure) -> [String; 5] {
    let told = |value: f64| match figure.unit {
        "" => format!("{:.2}", value)
            .trim_end_matches("0")
            .trim_end_matches('.')
            .to_owned(),
        "s" => format!("{value:.3} s"),
        unit => format!("{value:.2} {unit}"),
    };
    let seeds: Vec<String> = figure.seeds.iter().map(ToString::to_string).collect();
    [
        figure.name.clone(),
        figure.value.map_or_else(|| "-".to_owned(), told),
        match figure.bar {
            Some(Bar::AtMost(most)) => format!("at most {}", told(most)),
            Some(Bar::AtLeast(least)) => format!("at least {}", told(least)),
            None => String::new(),
        },
        match figure.holds {
            Some(true) => "holds".to_owned(),
            Some(false) => "MISSED".to_owned(),
            None => String::new(),
        },
        if seeds.is_empty() {
            String::new()
        } else {
            format!("seeds {}", seeds.join(", "))
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_holds_where_something_was_measured_that_is_good_enough() {
        let holds = |value, bar| {
            let figure = Figure::new("figure".into(), value, "s");
            figure.bar(bar).holds
        };
        let bars = [Bar::AtMost(2.0), Bar::AtLeast(2.0)];
        for (value, expected) in [
            (Some(2.0), [true, true]),
            (Some(1.9), [true, false]),
            (Some(2.1), [false, true]),
            (Some(f64::NAN), [false, false]),
            (None, [false, false]),
        ] {
            assert_eq!(bars.map(|bar| holds(value, Some(bar))), expected.map(Some));
        }
        assert_eq!(holds(Some(2.0), None), None);
    }
}

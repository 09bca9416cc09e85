//! A configuration as the vector that evolution moves, and as text.

use anyhow::{Context as _, Result, ensure};
use nearcast_core::abr::HorizonConfig;
use serde_json::Value;

/// Which numbers are sought, and how.
pub(super) struct Numbers {
    /// Those that are not sought stay as they are here.
    form: Value,
    leaves: Vec<Leaf>,
}

/// One of them.
struct Leaf {
    /// Where it is (RFC 6901).
    pointer: String,
    scale: Scale,
    /// A `Duration`, told in seconds.
    is_span: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// As it is: it may be below 0, and 0 is where it says nothing.
    Plain,
    /// Above 0, as its logarithm.
    Logarithm,
}

/// What has no say where nothing is replaced or given up.
const MARGINS: [&str; 2] = ["/replace_margin", "/abandon_margin"];
/// Logarithms beyond are no numbers that a plan could hold.
const LOGARITHM_MAX: f64 = 15.0;

impl Numbers {
    /// Seeks all numbers that a configuration has, or all but the margins.
    pub(super) fn new(start: &HorizonConfig, margins: bool) -> Result<Self> {
        let form = serde_json::to_value(start).context("the numbers as JSON")?;
        let mut leaves = Vec::new();
        walk(&form, "", &mut leaves);
        leaves.retain(|leaf| margins || !MARGINS.contains(&leaf.pointer.as_str()));
        Ok(Self { form, leaves })
    }

    /// Returns a configuration's vector.
    pub(super) fn vector(&self, config: &HorizonConfig) -> Result<Vec<f64>> {
        let form = serde_json::to_value(config).context("the numbers as JSON")?;
        let leaves = self.leaves.iter().map(|leaf| {
            let value = form.pointer(&leaf.pointer).context("a number is missing")?;
            let number = if leaf.is_span {
                let span: std::time::Duration = serde_json::from_value(value.clone())?;
                span.as_secs_f64()
            } else {
                value.as_f64().context("a number is none")?
            };
            Ok(match leaf.scale {
                Scale::Plain => number,
                Scale::Logarithm => {
                    let name = &leaf.pointer[1..];
                    ensure!(number > 0.0, "{name} is {number}, not above 0");
                    number.ln()
                }
            })
        });
        leaves.collect()
    }

    /// Returns a vector's configuration, its numbers rounded as they are written down.
    pub(super) fn config(&self, vector: &[f64]) -> Result<HorizonConfig> {
        let mut form = self.form.clone();
        for (leaf, number) in self.leaves.iter().zip(vector) {
            let number = rounded(match leaf.scale {
                Scale::Plain => *number,
                Scale::Logarithm => number.clamp(-LOGARITHM_MAX, LOGARITHM_MAX).exp(),
            })?;
            let value = form.pointer_mut(&leaf.pointer);
            *value.context("a number is missing")? = if leaf.is_span {
                serde_json::to_value(std::time::Duration::try_from_secs_f64(number)?)?
            } else {
                number.into()
            };
        }
        serde_json::from_value(form).context("the numbers as a configuration")
    }
}

fn walk(value: &Value, pointer: &str, leaves: &mut Vec<Leaf>) {
    let mut leaf = |is_span| {
        leaves.push(Leaf {
            pointer: pointer.to_owned(),
            scale: scale(pointer),
            is_span,
        });
    };
    match value {
        Value::Number(_) => leaf(false),
        Value::Object(fields) if fields.contains_key("nanos") => leaf(true),
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, &format!("{pointer}/{name}"), leaves);
            }
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                walk(value, &format!("{pointer}/{place}"), leaves);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What shifts or leans does so to either side; all else is a weight, a factor or a span.
fn scale(pointer: &str) -> Scale {
    let name = pointer.split('/').nth(1).unwrap_or_default();
    let leans = name == "middle" || name.starts_with("usual");
    if leans || name.starts_with("shift_by") || name.ends_with("_by") {
        Scale::Plain
    } else {
        Scale::Logarithm
    }
}

/// More digits than this say nothing.
fn rounded(number: f64) -> Result<f64> {
    Ok(format!("{number:.3e}").parse()?)
}

/// Returns the text of a configuration for `HorizonConfig::default` (`cargo fmt` breaks its lines).
pub(super) fn fragment(config: &HorizonConfig) -> String {
    let told = format!("{config:?}");
    let inner = told
        .strip_prefix("HorizonConfig { ")
        .and_then(|rest| rest.strip_suffix(" }"));
    let span = config.kept_until;
    let fields = inner
        .unwrap_or(&told)
        .replace("Leaning { doubt: ", "leaning(")
        .replace(", riches: ", ", ")
        .replace(" }", ")")
        .replace(
            &format!("kept_until: {span:?}"),
            &format!("kept_until: Duration::from_millis({})", span.as_millis()),
        );
    format!("Self {{ {fields} }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_its_vector() {
        let mut start = HorizonConfig {
            kept_until: std::time::Duration::from_secs(30),
            ..HorizonConfig::default()
        };
        start.switch_by.doubt = 0.0;
        let all = Numbers::new(&start, true).unwrap();
        assert_eq!(all.config(&all.vector(&start).unwrap()).unwrap(), start);
        let pensieve = Numbers::new(&start, false).unwrap();
        assert_eq!(all.leaves.len(), pensieve.leaves.len() + MARGINS.len());
        // All others change when the vector does; margins are what they were.
        let vector = pensieve.vector(&start).unwrap();
        let moved: Vec<f64> = vector.iter().map(|number| number - 0.5).collect();
        let moved = pensieve.config(&moved).unwrap();
        let (before, after) = (format!("{start:?}"), format!("{moved:?}"));
        let same = before.split(", ").zip(after.split(", "));
        let same: Vec<&str> = same.filter(|(a, b)| a == b).map(|(a, _)| a).collect();
        assert_eq!(same.len(), MARGINS.len(), "{same:?}");
        assert!(
            moved.low[0] > 0.0 && moved.switch_by.doubt < 0.0,
            "{moved:?}"
        );
        assert_eq!(moved.kept_until.as_millis(), 18_200, "30 s x e^-0.5");
    }

    #[test]
    fn no_vector_is_too_far_for_a_configuration() {
        let numbers = Numbers::new(&HorizonConfig::default(), true).unwrap();
        for far in [-1e9, 1e9] {
            numbers.config(&vec![far; numbers.leaves.len()]).unwrap();
        }
    }

    #[test]
    fn a_weight_of_nothing_has_no_logarithm() {
        let start = HorizonConfig {
            kept: 0.0,
            ..HorizonConfig::default()
        };
        let numbers = Numbers::new(&start, true).unwrap();
        let told = numbers.vector(&start).unwrap_err().to_string();
        assert_eq!(told, "kept is 0, not above 0");
    }

    #[test]
    fn the_text_is_a_body_of_the_default() {
        let mut config = HorizonConfig::default();
        config.low_by.doubt = 0.0;
        config.low_by.riches = -0.25;
        config.abandon_margin = 0.8;
        config.kept_until = std::time::Duration::from_millis(27_430);
        let text = fragment(&config);
        assert!(text.starts_with("Self { middle: ["), "{text}");
        assert!(text.contains("low_by: leaning(0.0, -0.25), "), "{text}");
        assert!(
            text.contains("kept_until: Duration::from_millis(27430), "),
            "{text}"
        );
        assert!(text.ends_with("abandon_margin: 0.8 }\n"), "{text}");
    }
}

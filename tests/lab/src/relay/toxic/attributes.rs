//! Toxiproxy's attributes, read strictly: one that is misspelt would be a fault that never happens.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Toxic;

/// Why a toxic cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// There is no such kind.
    #[error("invalid toxic type: there is no \"{kind}\"; one of {} would be right", Toxic::KINDS.join(", "))]
    Kind {
        /// What was asked for.
        kind: String,
    },
    /// It has no such attribute.
    #[error("{kind} has no attribute \"{name}\"; {known} would be right")]
    Unknown {
        /// The toxic's kind.
        kind: String,
        /// What was given.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// An attribute is not a number that makes sense.
    #[error("\"{name}\" is {value}; {right} would be right")]
    Value {
        /// The attribute.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it has to be.
        right: &'static str,
    },
}

/// Attributes, and which of them were asked for.
pub(super) struct Attributes<'a> {
    given: &'a Map<String, Value>,
    asked: Vec<&'static str>,
}

impl<'a> Attributes<'a> {
    pub(super) const fn new(given: &'a Map<String, Value>) -> Self {
        Self {
            given,
            asked: Vec::new(),
        }
    }

    /// Returns an attribute that is a number from 0 on, 0 where it is not given.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        right: &'static str,
    ) -> Result<u64, AttributeError> {
        self.asked.push(name);
        let Some(value) = self.given.get(name) else {
            return Ok(0);
        };
        let number = value.as_u64().filter(|number| *number <= NUMBER_MAX);
        number.ok_or_else(|| AttributeError::Value {
            name,
            value: value.to_string(),
            right,
        })
    }

    pub(super) fn millis(&mut self, name: &'static str) -> Result<Duration, AttributeError> {
        let number = self.number(name, "a whole number of milliseconds from 0 on")?;
        Ok(Duration::from_millis(number))
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self, kind: &str) -> Result<(), AttributeError> {
        let odd = |name: &&String| !self.asked.contains(&name.as_str());
        match self.given.keys().find(odd) {
            Some(name) => Err(AttributeError::Unknown {
                kind: kind.to_owned(),
                name: name.clone(),
                known: self.asked.join(", "),
            }),
            None => Ok(()),
        }
    }
}

/// What JavaScript's clients can say exactly; as milliseconds, longer than anybody waits.
const NUMBER_MAX: u64 = 1 << 53;

pub(super) fn as_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

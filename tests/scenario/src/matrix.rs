//! One scenario of many: each shape of failure with each object and each place of the body.

use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultSelector};
use nearcast_units::Ratio;

use crate::check::Checker;
use crate::error::{ScenarioError, Source, nearest};
use crate::scenario::{Cell, FaultPlan, Scenario};
use crate::spec::{MatrixSpec, ObjectSpec, ShapeSpec};

/// The name of the fault that a cell has.
const ID: &str = "cell";

/// Makes a scenario of each cell.
pub(crate) fn expand(
    source: Source<'_>,
    base: &Scenario,
    matrix: &MatrixSpec,
) -> Result<Vec<Scenario>, ScenarioError> {
    let known: Vec<&str> = matrix
        .objects
        .iter()
        .map(|object| object.name.get_ref().as_str())
        .collect();
    let mut cells = Vec::new();
    for shape in &matrix.shapes {
        for name in shape.objects.iter().flatten() {
            if !known.contains(&name.get_ref().as_str()) {
                let near = nearest(name.get_ref(), &known);
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let what = format!("the matrix has no object `{}`", name.get_ref());
                return Err(source.error(name.span(), what, hint));
            }
        }
        let is_meant = |object: &&ObjectSpec| {
            let names = shape.objects.as_ref();
            names.is_none_or(|names| {
                names
                    .iter()
                    .any(|name| name.get_ref() == object.name.get_ref())
            })
        };
        for object in matrix.objects.iter().filter(is_meant) {
            let whole = [None];
            let places: Vec<Option<Ratio>> = shape
                .after
                .iter()
                .map(|share| Some(Ratio::from(*share)))
                .collect();
            let places = if places.is_empty() {
                &whole[..]
            } else {
                &places
            };
            for after in places {
                cells.push(cell(source, base, matrix, shape, object, *after)?);
            }
        }
    }
    if cells.is_empty() {
        return Err(source.whole(
            "the matrix has no cell",
            Some("add shapes and objects".to_owned()),
        ));
    }
    Ok(cells)
}

fn cell(
    source: Source<'_>,
    base: &Scenario,
    matrix: &MatrixSpec,
    shape: &ShapeSpec,
    object: &ObjectSpec,
    after: Option<Ratio>,
) -> Result<Scenario, ScenarioError> {
    let checker = Checker { source };
    let edges = base.edge_names();
    let edge = object.edge.as_ref().unwrap_or(&matrix.edge);
    let place = checker.place(edge, &edges)?;
    let on = FaultSelector {
        after: after.or(object.on.after),
        count: shape.count.or(object.on.count),
        ..object.on.clone()
    };
    checker.check_fault(object.name.span(), place, &shape.fault, &on)?;
    let mut expectations = base.expectations.clone();
    expectations.extend(checker.expectations(&object.expect, &edges)?);
    expectations.extend(checker.expectations(&shape.expect, &edges)?);
    let shape_name = shape.name.clone().unwrap_or_else(|| named(&shape.fault));
    let object_name = object.name.get_ref().clone();
    let cell = Cell {
        shape: shape_name,
        object: object_name,
        after: after.map(Ratio::get),
    };
    let mut made = base.clone();
    made.name = format!("{}: {cell}", base.name);
    made.cell = Some(cell);
    made.expectations = expectations;
    made.faults.push(FaultPlan {
        id: ID.to_owned(),
        at: object.at_s.unwrap_or(matrix.at_s).into(),
        within: Duration::ZERO,
        lasts: shape.lasts_s.map(Duration::from),
        every: None,
        place,
        fault: shape.fault.clone(),
        on,
        may_miss: false,
    });
    Ok(made)
}

/// Statuses are told by their number.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few kinds have more to tell"
)]
fn named(fault: &Fault) -> String {
    match fault {
        Fault::Status { status, .. } => status.to_string(),
        Fault::Tls { problem } => format!("tls {problem:?}").to_lowercase(),
        Fault::Dns { problem } => format!("dns {problem:?}").to_lowercase(),
        other => other.name().to_owned(),
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.shape, self.object)?;
        match self.place() {
            Some(place) => write!(f, ", {place}"),
            None => Ok(()),
        }
    }
}

impl Cell {
    /// Returns the place of the body in words; `None` where the whole answer is meant.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let after = self.after?;
        Some(if after <= 0.0 {
            "first byte".to_owned()
        } else if after >= 1.0 {
            "last byte".to_owned()
        } else {
            format!("after {after}")
        })
    }
}

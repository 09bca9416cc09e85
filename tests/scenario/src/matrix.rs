//! One scenario of many: each shape of failure with each object and each place of the body.

use std::ops::Range;
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultSelector};
use nearcast_units::Ratio;
use toml::Spanned;

use crate::check::{Checker, Written};
use crate::error::{ScenarioError, Source, nearest};
use crate::scenario::{Cell, FaultPlan, Scenario};
use crate::spec::{MatrixSpec, ObjectSpec, ShapeSpec};

/// The name of the fault that a cell has.
pub(crate) const ID: &str = "cell";

/// Makes a scenario of each cell.
pub(crate) fn expand(
    source: Source<'_>,
    base: &Scenario,
    (matrix, span): (&MatrixSpec, Range<usize>),
) -> Result<Vec<Scenario>, ScenarioError> {
    let checker = Checker { source };
    let known = objects(checker, matrix)?;
    let mut cells: Vec<Scenario> = Vec::new();
    for spanned in &matrix.shapes {
        let shape = spanned.get_ref();
        if shape.objects.as_ref().is_some_and(Vec::is_empty) {
            return checker.wrong(
                source.key(&spanned.span(), "objects"),
                "the shape is tried with no object",
                "name some, or leave `objects` out for all",
            );
        }
        for name in shape.objects.iter().flatten() {
            if !known.contains(&name.get_ref().as_str()) {
                let near = nearest(name.get_ref(), &known);
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}", known.join(", ")),
                };
                let what = format!("the matrix has no object `{}`", name.get_ref());
                return checker.wrong(name.span(), what, hint);
            }
        }
        let is_meant = |object: &&Spanned<ObjectSpec>| {
            let names = shape.objects.as_ref();
            names.is_none_or(|names| {
                names
                    .iter()
                    .any(|name| name.get_ref() == object.get_ref().name.get_ref())
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
                let cell = cell(
                    checker,
                    base,
                    (matrix, span.clone()),
                    spanned,
                    object,
                    *after,
                )?;
                if cells.iter().any(|other| other.name == cell.name) {
                    return checker.wrong(
                        spanned.span(),
                        format!("there are two cells `{}`", cell.name),
                        "give the shape a `name` of its own, or other `objects` or places (`after`)",
                    );
                }
                cells.push(cell);
            }
        }
    }
    if cells.is_empty() {
        return checker.wrong(
            span,
            "the matrix has no cell",
            "add `[[matrix.shapes]]` and `[[matrix.objects]]`",
        );
    }
    Ok(cells)
}

/// Returns the names of the objects.
fn objects<'a>(
    checker: Checker<'_>,
    matrix: &'a MatrixSpec,
) -> Result<Vec<&'a str>, ScenarioError> {
    let mut known: Vec<&str> = Vec::new();
    for object in &matrix.objects {
        let name = &object.get_ref().name;
        if known.contains(&name.get_ref().as_str()) {
            return checker.wrong(
                name.span(),
                format!("the matrix has two objects `{}`", name.get_ref()),
                "give each a `name` of its own",
            );
        }
        known.push(name.get_ref());
    }
    Ok(known)
}

fn cell(
    checker: Checker<'_>,
    base: &Scenario,
    (matrix, span): (&MatrixSpec, Range<usize>),
    spanned_shape: &Spanned<ShapeSpec>,
    spanned_object: &Spanned<ObjectSpec>,
    after: Option<Ratio>,
) -> Result<Scenario, ScenarioError> {
    let (shape, object) = (spanned_shape.get_ref(), spanned_object.get_ref());
    let edges = base.edge_names();
    let edge = object.edge.as_ref().unwrap_or(&matrix.edge);
    let place = checker.place(edge, &edges)?;
    let on = FaultSelector {
        after: after.or(object.on.after),
        count: shape.count.or(object.on.count),
        ..object.on.clone()
    };
    checker.check_fault(&Written {
        tables: &[spanned_shape.span(), spanned_object.span()],
        place,
        fault: &shape.fault,
        on: &on,
        players: &base.players,
    })?;
    let at = object.at_s.unwrap_or(matrix.at_s).into();
    let table = object.at_s.map_or(span, |_| spanned_object.span());
    checker.check_time(checker.source.key(&table, "at_s"), at, base.limit)?;
    let mut expectations = base.expectations.clone();
    expectations.extend(checker.expectations(&object.expect, base)?);
    expectations.extend(checker.expectations(&shape.expect, base)?);
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
        at,
        within: Duration::ZERO,
        lasts: checker.lasts(&spanned_shape.span(), shape.lasts_s)?,
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

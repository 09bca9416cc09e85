//! What goes wrong.

use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultSelector, ObjectKind, Scope};
use nearcast_units::Ratio;

use super::Checker;
use crate::error::ScenarioError;
use crate::scenario::{FaultPlan, Place};
use crate::spec::FaultSpec;

impl Checker<'_> {
    pub(super) fn fault(
        self,
        spec: &FaultSpec,
        edges: &[&str],
    ) -> Result<FaultPlan, ScenarioError> {
        let place = self.place(&spec.edge, edges)?;
        self.check_fault(spec.edge.span(), place, &spec.fault, &spec.on)?;
        let (lasts, every) = (
            spec.lasts_s.map(Duration::from),
            spec.every_s.map(Duration::from),
        );
        if every.is_some_and(|every| lasts.is_none_or(|lasts| lasts >= every)) {
            let what = "it comes again before it is over";
            let hint = "`lasts_s` below `every_s` would be right".to_owned();
            return Err(self.source.error(spec.edge.span(), what, Some(hint)));
        }
        Ok(FaultPlan {
            id: spec
                .id
                .clone()
                .unwrap_or_else(|| spec.fault.name().to_owned()),
            at: spec.at_s.into(),
            within: spec.within_s.into(),
            lasts,
            every,
            place,
            fault: spec.fault.clone(),
            on: spec.on.clone(),
            may_miss: spec.may_miss || spec.on.probability.is_some(),
        })
    }

    /// Refuses what can never take effect.
    pub(crate) fn check_fault(
        self,
        span: std::ops::Range<usize>,
        place: Place,
        fault: &Fault,
        on: &FaultSelector,
    ) -> Result<(), ScenarioError> {
        let wrong = |what: String, hint: &str| {
            Err(self.source.error(span.clone(), what, Some(hint.to_owned())))
        };
        let kind = fault.name();
        if let Fault::Status { status, .. } = fault
            && !(400..=599).contains(status)
        {
            return wrong(
                format!("status {status} is no error"),
                "from 400 to 599 would be right",
            );
        }
        if on
            .segment_from
            .zip(on.segment_to)
            .is_some_and(|(from, to)| from > to)
        {
            return wrong(
                "no segment is selected".to_owned(),
                "`segment_to` from `segment_from` on would be right",
            );
        }
        if on.count == Some(0) {
            return wrong(
                "it is to happen no time at all".to_owned(),
                "`count` from 1 on, or none",
            );
        }
        let has_place_in_body = on.after.is_some_and(|share| share > Ratio::ZERO);
        if has_place_in_body && !matches!(fault.scope(), Scope::Body | Scope::Link) {
            return wrong(
                format!("`{kind}` does not begin within a body"),
                "leave `after` out",
            );
        }
        let of_backend = on.object.is_some_and(|object| {
            matches!(
                object,
                ObjectKind::Play | ObjectKind::Refresh | ObjectKind::Steering | ObjectKind::Event
            )
        });
        if of_backend && place != Place::Backend {
            return wrong(
                "edges do not answer that".to_owned(),
                "write `edge = \"backend\"`",
            );
        }
        if place == Place::Backend && on.object.is_some() && !of_backend {
            return wrong(
                "the backend does not answer that".to_owned(),
                "`object` is `play`, `refresh`, `steering` or `event` there",
            );
        }
        if *fault == Fault::Misrank && place != Place::Backend {
            return wrong(
                "edges rank nothing".to_owned(),
                "write `edge = \"backend\"`",
            );
        }
        if place == Place::Backend && matches!(fault, Fault::ControlLost | Fault::SaysWell) {
            return wrong(format!("`{kind}` is a fault of edges"), "name one");
        }
        Ok(())
    }
}

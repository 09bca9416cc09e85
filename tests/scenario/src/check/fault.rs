//! What goes wrong.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use nearcast_appliance::fault::{Fault, FaultSelector, ObjectKind, Scope};
use nearcast_units::Ratio;
use toml::Spanned;

use super::Checker;
use crate::error::ScenarioError;
use crate::quantity::Seconds;
use crate::scenario::{FaultPlan, Place, Player};
use crate::spec::FaultSpec;

/// A fault as it is written, and the tables that say so: what is wrong is told with the line of the first that has the key.
pub(crate) struct Written<'a> {
    pub(crate) tables: &'a [Range<usize>],
    pub(crate) place: Place,
    pub(crate) fault: &'a Fault,
    pub(crate) on: &'a FaultSelector,
    pub(crate) players: &'a [Player],
}

/// A key that is wrong, what is wrong with it and what would be right.
struct Wrong {
    key: &'static str,
    what: String,
    hint: String,
}

impl Checker<'_> {
    /// Returns what each fault is called. Its end is ordered by that name, and receipts are counted by it: no two have the same.
    pub(super) fn fault_names(
        self,
        specs: &[Spanned<FaultSpec>],
        of_matrix: Option<&str>,
    ) -> Result<Vec<String>, ScenarioError> {
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for spec in specs {
            let Some(id) = &spec.get_ref().id else {
                continue;
            };
            let what = if of_matrix == Some(id) {
                format!("`{id}` is what the fault of a matrix is called")
            } else if !taken.insert(id.clone()) {
                format!("there are two faults `{id}`")
            } else {
                continue;
            };
            let key = self.source.key(&spec.span(), "id");
            return self.wrong(key, what, "give each an `id` of its own");
        }
        let mut name = |spec: &Spanned<FaultSpec>| {
            let spec = spec.get_ref();
            spec.id.clone().unwrap_or_else(|| {
                let kind = spec.fault.name();
                let numbered = (2_u32..).map(|number| format!("{kind}-{number}"));
                let mut names = std::iter::once(kind.to_owned()).chain(numbered);
                let free = names.find(|name| taken.insert(name.clone()));
                free.unwrap_or_default()
            })
        };
        Ok(specs.iter().map(&mut name).collect())
    }

    pub(super) fn fault(
        self,
        id: String,
        spec: &Spanned<FaultSpec>,
        (edges, players): (&[&str], &[Player]),
        limit: Duration,
    ) -> Result<FaultPlan, ScenarioError> {
        let (table, spec) = (spec.span(), spec.get_ref());
        let place = self.place(&spec.edge, edges)?;
        self.check_fault(&Written {
            tables: std::slice::from_ref(&table),
            place,
            fault: &spec.fault,
            on: &spec.on,
            players,
        })?;
        let at = Duration::from(spec.at_s);
        self.check_time(self.source.key(&table, "at_s"), at, limit)?;
        let lasts = self.lasts(&table, spec.lasts_s)?;
        let every = spec.every_s.map(Duration::from);
        if every.is_some_and(|every| lasts.is_none_or(|lasts| lasts >= every)) {
            return self.wrong(
                self.source.key(&table, "every_s"),
                "it comes again before it is over",
                "`lasts_s` below `every_s` would be right",
            );
        }
        Ok(FaultPlan {
            id,
            at,
            within: spec.within_s.into(),
            lasts,
            every,
            place,
            fault: spec.fault.clone(),
            on: spec.on.clone(),
            may_miss: spec.may_miss,
        })
    }

    /// Returns how long it lasts; `None` is to the end.
    pub(crate) fn lasts(
        self,
        table: &Range<usize>,
        lasts_s: Option<Seconds>,
    ) -> Result<Option<Duration>, ScenarioError> {
        let lasts = lasts_s.map(Duration::from);
        if lasts.is_some_and(|lasts| lasts.is_zero()) {
            return self.wrong(
                self.source.key(table, "lasts_s"),
                "it is over before anybody meets it",
                "`lasts_s` above 0, or none, would be right",
            );
        }
        Ok(lasts)
    }

    /// Refuses what can never take effect, and selectors that nobody looks at.
    pub(crate) fn check_fault(self, written: &Written<'_>) -> Result<(), ScenarioError> {
        let &Written {
            tables,
            place,
            fault,
            on,
            players,
        } = written;
        let wrong = not_there(place, fault)
            .or_else(|| not_answered(place, on))
            .or_else(|| without_editions(fault, on))
            .or_else(|| not_selected(place, fault, on))
            .or_else(|| nobody(on, players))
            .or_else(|| out_of_range(fault, on));
        let Some(Wrong { key, what, hint }) = wrong else {
            return Ok(());
        };
        let places = tables
            .iter()
            .map(|table| (table, self.source.key(table, key)));
        let found = places.clone().find(|(table, place)| *table != place);
        let span = found.or_else(|| places.clone().next());
        let span = span.map_or(0..0, |(_, place)| place);
        self.wrong(span, what, hint)
    }
}

/// What neither the backend nor an edge does, whichever it is to happen to.
fn not_there(place: Place, fault: &Fault) -> Option<Wrong> {
    let kind = fault.name();
    if let (Place::Backend, Some(why)) = (place, fault.not_of_backend()) {
        return Some(Wrong {
            key: "kind",
            what: format!("the backend does no `{kind}`: {why}"),
            hint: "name an edge, or another kind".to_owned(),
        });
    }
    (place != Place::Backend && *fault == Fault::Misrank).then(|| Wrong {
        key: "edge",
        what: "edges rank nothing".to_owned(),
        hint: "write `edge = \"backend\"`".to_owned(),
    })
}

/// What only manifests have.
fn without_editions(fault: &Fault, on: &FaultSelector) -> Option<Wrong> {
    let is_wrong = *fault == Fault::StaleManifest && on.object != Some(ObjectKind::Manifest);
    is_wrong.then(|| Wrong {
        key: "object",
        what: "only manifests have older editions".to_owned(),
        hint: "write `on = { object = \"manifest\" }`".to_owned(),
    })
}

/// What somebody else answers.
fn not_answered(place: Place, on: &FaultSelector) -> Option<Wrong> {
    let object = on.object?;
    let of_backend = matches!(
        object,
        ObjectKind::Play | ObjectKind::Refresh | ObjectKind::Steering | ObjectKind::Event
    );
    let (key, what, hint) = match (place, of_backend) {
        (Place::Backend, false) => (
            "object",
            "the backend does not answer that",
            "`object` is `play`, `refresh`, `steering` or `event` there",
        ),
        (Place::Edge(_) | Place::All | Place::InUse, true) => (
            "edge",
            "edges do not answer that",
            "write `edge = \"backend\"`",
        ),
        _ => return None,
    };
    Some(Wrong {
        key,
        what: what.to_owned(),
        hint: hint.to_owned(),
    })
}

/// What a fault does not look at: a connection is made before anybody says what for, and what is told beside all requests is of none.
fn not_selected(place: Place, fault: &Fault, on: &FaultSelector) -> Option<Wrong> {
    let of_request = [
        ("object", on.object.is_some()),
        ("track", on.track.is_some()),
        ("representation", on.representation.is_some()),
        ("segment_from", on.segment_from.is_some()),
        ("segment_to", on.segment_to.is_some()),
        ("path_contains", on.path_contains.is_some()),
        ("after", on.after.is_some()),
    ];
    let of_client = [
        ("client", on.client.is_some()),
        ("count", on.count.is_some()),
        ("probability", on.probability.is_some()),
    ];
    let kind = fault.name();
    let (selected, what, hint) = match fault.scope() {
        // Who makes one is known of none of them.
        Scope::Connection if place == Place::Backend => (
            &[&of_request[..], &of_client[..1]].concat()[..],
            format!(
                "`{kind}` happens to connections with the backend, which are made before anybody says who asks for what"
            ),
            "`count` and `probability` select some",
        ),
        Scope::Connection => (
            &of_request[..],
            format!("`{kind}` happens to connections, which are made before anybody says what for"),
            "`client`, `count` and `probability` select some",
        ),
        Scope::Control => (
            &[&of_request[..], &of_client].concat()[..],
            format!("`{kind}` happens to no request in particular"),
            "it happens to all",
        ),
        Scope::Link | Scope::Answer | Scope::Body => return of_no_track(on),
    };
    let (key, _) = selected.iter().find(|(_, is_there)| *is_there)?;
    Some(Wrong {
        key,
        what,
        hint: format!("leave `{key}` out: {hint}"),
    })
}

/// Who does not play.
fn nobody(on: &FaultSelector, players: &[Player]) -> Option<Wrong> {
    let client = on.client.as_deref()?;
    let is_client = |player: &Player| {
        if player.count == 1 {
            return player.name == client;
        }
        let number = client.strip_prefix(&*player.name);
        let number = number.and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        number.is_some_and(|number: u32| number < player.count)
    };
    if players.iter().any(is_client) {
        return None;
    }
    let names = players.iter().map(|player| match player.count {
        1 => player.name.clone(),
        count => format!("{0}-0 to {0}-{1}", player.name, count - 1),
    });
    Some(Wrong {
        key: "client",
        what: format!("there is no player `{client}`"),
        hint: format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
    })
}

/// What no object of a kind has.
fn of_no_track(on: &FaultSelector) -> Option<Wrong> {
    let object = on.object?;
    let has_place = matches!(object, ObjectKind::Media | ObjectKind::Subtitle);
    let of_track = matches!(
        object,
        ObjectKind::Index | ObjectKind::Init | ObjectKind::Key
    );
    let of_title = !has_place && !of_track;
    let keys = [
        ("track", of_title && on.track.is_some()),
        ("representation", of_title && on.representation.is_some()),
        ("segment_from", !has_place && on.segment_from.is_some()),
        ("segment_to", !has_place && on.segment_to.is_some()),
    ];
    let (key, _) = keys.into_iter().find(|(_, is_there)| *is_there)?;
    Some(Wrong {
        key,
        what: format!("nothing is selected: `{key}` is told of no such object"),
        hint: format!("leave `{key}` out, or `object`"),
    })
}

/// Numbers that select nothing, or that are none of the kind.
fn out_of_range(fault: &Fault, on: &FaultSelector) -> Option<Wrong> {
    let kind = fault.name();
    let wrong = |key, what: String, hint: &str| {
        let hint = hint.to_owned();
        Some(Wrong { key, what, hint })
    };
    if let Fault::Status { status, .. } = fault
        && !(400..=599).contains(status)
    {
        return wrong(
            "status",
            format!("status {status} is no error"),
            "from 400 to 599 would be right",
        );
    }
    let segments = on.segment_from.zip(on.segment_to);
    if segments.is_some_and(|(from, to)| from > to) {
        return wrong(
            "segment_to",
            "no segment is selected".to_owned(),
            "`segment_to` from `segment_from` on would be right",
        );
    }
    if on.count == Some(0) {
        return wrong(
            "count",
            "it is to happen no time at all".to_owned(),
            "`count` from 1 on, or none",
        );
    }
    if on.probability == Some(Ratio::ZERO) {
        return wrong(
            "probability",
            "it is to happen to nobody".to_owned(),
            "`probability` above 0 would be right",
        );
    }
    let has_place_in_body = on.after.is_some_and(|share| share > Ratio::ZERO);
    if has_place_in_body && !matches!(fault.scope(), Scope::Body | Scope::Link) {
        return wrong(
            "after",
            format!("`{kind}` does not begin within a body"),
            "leave `after` out",
        );
    }
    None
}

//! Appliances and their links.

use std::net::IpAddr;
use std::ops::Range;

use nearcast_units::BitRate;
use toml::Spanned;

use super::Checker;
use crate::error::ScenarioError;
use crate::link::{Link, LinkSpec, beside};
use crate::scenario::Edge;
use crate::spec::EdgeSpec;

impl Checker<'_> {
    pub(super) fn edges(self, specs: &[Spanned<EdgeSpec>]) -> Result<Vec<Edge>, ScenarioError> {
        if specs.is_empty() {
            return self.wrong(
                self.source.only("edges"),
                "there is no edge to play from",
                "add `[[edges]]`",
            );
        }
        let mut edges: Vec<Edge> = Vec::new();
        for spec in specs {
            let edge = self.edge(spec.get_ref(), &spec.span())?;
            if edges.iter().any(|other| other.name == edge.name) {
                return self.wrong(
                    spec.get_ref().name.span(),
                    format!("there are two edges `{}`", edge.name),
                    "give each a `name` of its own",
                );
            }
            edges.push(edge);
        }
        Ok(edges)
    }

    fn edge(self, spec: &EdgeSpec, table: &Range<usize>) -> Result<Edge, ScenarioError> {
        let name = spec.name.get_ref();
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name || RESERVED.contains(&name.as_str()) {
            let what = format!("`{name}` is no name for an edge");
            let hint = format!(
                "letters, digits and `-`, at most 64 of them, and none of: {}",
                RESERVED.join(", ")
            );
            return Err(self.source.error(spec.name.span(), what, Some(hint)));
        }
        if !(0.0..=20_100.0).contains(&spec.distance_km) {
            return self.wrong(
                self.source.key(table, "distance_km"),
                format!("`{name}` is {} km away", spec.distance_km),
                "from 0 to 20100 km is on this planet",
            );
        }
        if !(-CLOCK_SKEW_S_MAX..=CLOCK_SKEW_S_MAX).contains(&spec.clock_skew_s) {
            return self.wrong(
                self.source.key(table, "clock_skew_s"),
                format!("the clock of `{name}` is {} s ahead", spec.clock_skew_s),
                format!(
                    "from {} to {CLOCK_SKEW_S_MAX} s would be right",
                    -CLOCK_SKEW_S_MAX
                ),
            );
        }
        if let Some(prefix) = spec.prefixes.iter().find(|prefix| !is_prefix(prefix)) {
            return self.wrong(
                self.source.key(table, "prefixes"),
                format!("`{prefix}` is no network"),
                "CIDR notation as in `10.0.0.0/8` would be right",
            );
        }
        Ok(Edge {
            name: name.clone(),
            site: spec.site.clone(),
            prefixes: spec.prefixes.clone(),
            distance_km: spec.distance_km,
            capacity: spec.capacity_kbps.map_or(CAPACITY, BitRate::from),
            stores_title: spec.stores_title,
            http3: spec.http3,
            clock_skew_ms: millis(spec.clock_skew_s),
            link: self.link(spec.link.as_ref())?,
        })
    }

    pub(super) fn link(self, spec: Option<&Spanned<LinkSpec>>) -> Result<Link, ScenarioError> {
        let (spec, table) = spec.map_or_else(
            || (LinkSpec::default(), 0..0),
            |spec| (spec.get_ref().clone(), spec.span()),
        );
        let made = Link::new(spec, beside(self.source.file));
        made.map_err(|(key, what)| {
            let key = self.source.key(&table, key);
            self.source.error(key, what, None)
        })
    }
}

const CAPACITY: BitRate = BitRate::from_kbps(10_000_000);
/// Words that name no edge.
const RESERVED: [&str; 4] = ["all", "in_use", "backend", "last-mile"];
/// A year: further off no clock is that still runs.
const CLOCK_SKEW_S_MAX: f64 = 31_536_000.0;

/// Whether a text is an address and how many of its bits count; an address alone is a network of one.
fn is_prefix(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    let (Ok(address), Ok(length), true) =
        (address.parse::<IpAddr>(), length.parse::<u8>(), is_number)
    else {
        return false;
    };
    length <= if address.is_ipv4() { 32 } else { 128 }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a year of milliseconds is less"
)]
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3).round() as i64
}

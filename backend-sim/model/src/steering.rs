//! Which appliances a client is sent to, and why.
//!
//! An appliance is offered when its last report is fresh, it stores the title's files, and one of its
//! prefixes holds the client's address. Those are ranked by, in this order:
//!
//! 1. whether they have room and mostly answer well (the others come last: better than nothing);
//! 2. the longest prefix that holds the client's address;
//! 3. distance to the client's network, where the catalogue knows it;
//! 4. how many answers are errors, in tenths: in steps, so that a ranking does not change with every report;
//! 5. chance, in proportion to the free share of the capacity in tenths: of as many numbers made of playback and appliance the
//!    largest counts (rendezvous hashing, Thaler and Ravishankar, IEEE/ACM ToN 1998, with weights). Clients spread over equals,
//!    each keeps its order, and one appliance that has a tenth more room than all others gets somewhat more of those that come, not
//!    all of them until it reports again.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;
use core::time::Duration;

use nearcast_protocol::appliance::ApplianceReport;
use nearcast_protocol::play::{APPLIANCES_MAX, ApplianceOffer};
use nearcast_protocol::steering::{ApplianceVerdict, SteeringExplanation};
use nearcast_units::{Instant, Ratio, Seed};

use crate::catalogue::{ID_LENGTH_MAX, is_file_prefix, is_id, is_position};
use crate::config::ModelConfig;
use crate::prefix::Prefix;

/// Who is to be served.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// Where its network is, degrees latitude and longitude, if that is known.
    pub position_deg: Option<(f64, f64)>,
    /// Path prefix of the title's files.
    pub files: &'a str,
    /// The playback, which decides between equals.
    pub playback_id: &'a str,
}

/// The appliances that report, and how they are ranked.
#[derive(Clone, Debug)]
pub struct Steering {
    appliances: BTreeMap<String, Appliance>,
    report_ttl: Duration,
    appliances_max: usize,
    entries_max: usize,
    free_capacity_bps_min: u64,
}

#[derive(Clone, Debug)]
struct Appliance {
    report: ApplianceReport,
    prefixes: Vec<Prefix>,
    reported: Instant,
}

impl Steering {
    /// Makes a steering that knows no appliance yet.
    #[must_use]
    pub const fn new(config: &ModelConfig) -> Self {
        Self {
            appliances: BTreeMap::new(),
            report_ttl: config.report_ttl,
            appliances_max: config.appliances_max,
            entries_max: config.report_entries_max,
            free_capacity_bps_min: config.free_capacity_bps_min,
        }
    }

    /// Takes an appliance's report in place of its earlier one. What it says that it stores and cannot be a path is
    /// left out: one odd file name must not cost an appliance its place.
    ///
    /// # Errors
    /// When the report does not make sense, or there are too many appliances. The earlier report stays.
    pub fn handle_report(
        &mut self,
        now: Instant,
        id: &str,
        report: &ApplianceReport,
    ) -> Result<(), ReportError> {
        let prefixes = self.check(id, report)?;
        if !self.appliances.contains_key(id) && self.appliances.len() >= self.appliances_max {
            let ttl = self.report_ttl;
            self.appliances
                .retain(|_, appliance| now.since(appliance.reported) <= ttl);
            if self.appliances.len() >= self.appliances_max {
                return Err(ReportError::TooManyAppliances(self.appliances_max));
            }
        }
        let mut report = report.clone();
        report.files.retain(|files| is_stored(files));
        let appliance = Appliance {
            report,
            prefixes,
            reported: now,
        };
        self.appliances.insert(id.to_owned(), appliance);
        Ok(())
    }

    /// Ranks all appliances for a client.
    #[must_use]
    pub fn rank(&self, now: Instant, client: Client<'_>) -> Ranking {
        let mut usable = Vec::new();
        let mut others = Vec::new();
        for (id, appliance) in &self.appliances {
            let view = View::of(id, appliance, now, client, self.free_capacity_bps_min);
            match view.unusable(appliance, self.report_ttl, client) {
                None => usable.push((view.order(client), view, appliance)),
                Some((verdict, why)) => others.push(view.verdict(appliance, None, verdict, why)),
            }
        }
        usable.sort_by_key(|(order, ..)| *order);
        let mut offers = Vec::new();
        let mut verdicts = Vec::new();
        for (rank, (_, view, appliance)) in (0_u32..).zip(&usable) {
            if offers.len() < APPLIANCES_MAX {
                offers.push(view.offer(appliance, rank));
                let why = view.why_offered();
                verdicts.push(view.verdict(appliance, Some(rank), "offered", why));
            } else {
                let why = format!("{APPLIANCES_MAX} appliances serve this client better");
                verdicts.push(view.verdict(appliance, None, "not_among_best", why));
            }
        }
        verdicts.append(&mut others);
        Ranking { offers, verdicts }
    }

    /// Returns how many appliances have reported lately.
    #[must_use]
    pub fn fresh(&self, now: Instant) -> usize {
        self.appliances
            .values()
            .filter(|appliance| now.since(appliance.reported) <= self.report_ttl)
            .count()
    }

    fn check(&self, id: &str, report: &ApplianceReport) -> Result<Vec<Prefix>, ReportError> {
        let bad = |field, value: &str| ReportError::Bad {
            field,
            value: value.chars().take(SHOWN_MAX).collect(),
        };
        if !is_id(id) {
            return Err(ReportError::BadId(id.chars().take(SHOWN_MAX).collect()));
        }
        if !report.base_url.starts_with("https://") && !report.base_url.starts_with("http://") {
            return Err(bad("base_url", &report.base_url));
        }
        if !is_position(report.position_deg) {
            return Err(bad("position_deg", &format!("{:?}", report.position_deg)));
        }
        for (field, count) in [
            ("prefixes", report.prefixes.len()),
            ("files", report.files.len()),
            ("addresses", report.addresses.len()),
            ("protocols", report.protocols.len()),
        ] {
            if count > self.entries_max {
                return Err(ReportError::TooMany {
                    field,
                    count_max: self.entries_max,
                });
            }
        }
        if let Some(address) = report
            .addresses
            .iter()
            .find(|address| address.parse::<IpAddr>().is_err())
        {
            return Err(bad("addresses", address));
        }
        report
            .prefixes
            .iter()
            .map(|text| text.parse().map_err(|_| bad("prefixes", text)))
            .collect()
    }
}

/// Whether a text can be something an appliance stores: a folder (`demo/` or `demo`), a file, or all (empty).
fn is_stored(text: &str) -> bool {
    let folder = text.strip_suffix('/').unwrap_or(text);
    text.is_empty() || is_file_prefix(&format!("{folder}/"))
}

/// Whether what an appliance stores holds a title's folder. As with tokens, a prefix ends at a slash.
fn holds(stored: &str, files: &str) -> bool {
    let folder = stored.strip_suffix('/').unwrap_or(stored);
    stored.is_empty()
        || files
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// As much of a bad value as an error quotes.
const SHOWN_MAX: usize = 80;

/// A report that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// An identifier with other characters, or too long; shortened.
    #[error(
        "the appliance's id {0:?} must be 1 to {ID_LENGTH_MAX} letters, digits, '-', '_' or '.', and more than dots"
    )]
    BadId(String),
    /// A field that does not make sense.
    #[error("{field}: {value:?} makes no sense there")]
    Bad {
        /// Which field.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
    /// A list that is too long.
    #[error("{field}: at most {count_max} entries")]
    TooMany {
        /// Which field.
        field: &'static str,
        /// The most it may hold.
        count_max: usize,
    },
    /// No room for one more appliance.
    #[error("{0} appliances report already; no more are taken")]
    TooManyAppliances(usize),
}

/// What a ranking is based on, for one appliance and one client.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    id: &'a str,
    prefix: Option<Prefix>,
    distance_km: Option<u32>,
    health_tenths: u32,
    error_tenths: u32,
    free_tenths: u32,
    impaired: bool,
    age: Duration,
}

/// Compared field by field: the smallest comes first.
type Order<'a> = (bool, Reverse<u8>, u32, u32, Reverse<u64>, &'a str);

impl<'a> View<'a> {
    fn of(
        id: &'a str,
        appliance: &Appliance,
        now: Instant,
        client: Client<'_>,
        free_capacity_bps_min: u64,
    ) -> Self {
        let health = appliance.report.health;
        Self {
            id,
            prefix: appliance
                .prefixes
                .iter()
                .filter(|prefix| prefix.contains(client.address))
                .max_by_key(|prefix| prefix.length())
                .copied(),
            distance_km: client
                .position_deg
                .map(|position| distance_km(position, appliance.report.position_deg)),
            health_tenths: tenths(good(health.load) * good(health.error_rate)),
            error_tenths: tenths(health.error_rate.get()),
            free_tenths: tenths(good(health.load)),
            impaired: health.free_capacity_bps < free_capacity_bps_min
                || health.error_rate.get() >= ERROR_RATE_IMPAIRED,
            age: now.since(appliance.reported),
        }
    }

    /// Returns why the appliance cannot be offered at all.
    fn unusable(
        &self,
        appliance: &Appliance,
        report_ttl: Duration,
        client: Client<'_>,
    ) -> Option<(&'static str, String)> {
        if self.age > report_ttl {
            let (age, ttl) = (self.age.as_millis(), report_ttl.as_millis());
            return Some((
                "report_too_old",
                format!("its last report is {age} ms old; at most {ttl} ms are trusted"),
            ));
        }
        let stored = &appliance.report.files;
        if !stored.iter().any(|stored| holds(stored, client.files)) {
            let files = client.files;
            return Some(("files_missing", format!("it does not store {files}")));
        }
        if self.prefix.is_none() {
            let address = client.address;
            return Some((
                "client_not_served",
                format!("none of its prefixes holds {address}"),
            ));
        }
        None
    }

    fn order(&self, client: Client<'_>) -> Order<'a> {
        let seed = Seed::default().split(client.playback_id).split(self.id);
        let numbers = (0..self.free_tenths.max(1)).map(|nth| seed.split_index(nth.into()).get());
        (
            self.impaired,
            Reverse(self.prefix.map_or(0, |prefix| prefix.length())),
            self.distance_km.unwrap_or(u32::MAX),
            self.error_tenths,
            Reverse(numbers.max().unwrap_or(0)),
            self.id,
        )
    }

    fn why_offered(&self) -> String {
        let prefix = self.prefix.map(|prefix| prefix.to_string());
        let prefix = prefix.as_deref().unwrap_or("none");
        let distance = self.distance_km.map_or_else(
            || "an unknown distance".to_owned(),
            |distance| format!("{distance} km"),
        );
        let (errors, free) = (self.error_tenths, self.free_tenths);
        let last = if self.impaired {
            "; it is full or faulty, so it comes after all that are not"
        } else {
            ""
        };
        format!(
            "prefix {prefix}, {distance} away, {errors} tenths of errors, {free} tenths free{last}"
        )
    }

    fn offer(&self, appliance: &Appliance, rank: u32) -> ApplianceOffer {
        let report = &appliance.report;
        ApplianceOffer {
            id: self.id.to_owned(),
            site: report.site.clone(),
            kind: report.kind.clone(),
            base_url: report.base_url.clone(),
            protocols: report.protocols.clone(),
            addresses: report.addresses.clone(),
            rank,
            token: None,
        }
    }

    fn verdict(
        &self,
        appliance: &Appliance,
        rank: Option<u32>,
        verdict: &str,
        why: String,
    ) -> ApplianceVerdict {
        ApplianceVerdict {
            id: self.id.to_owned(),
            site: appliance.report.site.clone(),
            rank,
            verdict: verdict.to_owned(),
            prefix: self.prefix.map(|prefix| prefix.to_string()),
            distance_km: self.distance_km,
            health_tenths: self.health_tenths,
            impaired: self.impaired,
            report_age_ms: u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX),
            why,
        }
    }
}

/// An appliance that fails every other request is a last resort.
const ERROR_RATE_IMPAIRED: f64 = 0.5;

/// What a share leaves.
fn good(bad: Ratio) -> f64 {
    1.0 - bad.get()
}

/// Rounds a share to tenths.
fn tenths(share: f64) -> u32 {
    (1..=10_u32)
        .rev()
        .find(|&tenths| share * 10.0 + 0.5 >= f64::from(tenths))
        .unwrap_or(0)
}

/// Great-circle distance by the haversine formula, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "half the Earth's circumference is 20,015 km"
)]
fn distance_km(from: (f64, f64), to: (f64, f64)) -> u32 {
    const EARTH_RADIUS_KM: f64 = 6371.0;
    let (from_lat, to_lat) = (from.0.to_radians(), to.0.to_radians());
    let half_lat = libm::sin((to_lat - from_lat) / 2.0);
    let half_lon = libm::sin((to.1 - from.1).to_radians() / 2.0);
    let chord = half_lat * half_lat + libm::cos(from_lat) * libm::cos(to_lat) * half_lon * half_lon;
    let angle = 2.0 * libm::asin(libm::sqrt(chord.min(1.0)));
    libm::round(EARTH_RADIUS_KM * angle) as u32
}

/// A ranking for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// At most [`APPLIANCES_MAX`], best first, without tokens.
    pub offers: Vec<ApplianceOffer>,
    /// What was thought of each appliance: offered ones by rank, then the others.
    pub verdicts: Vec<ApplianceVerdict>,
}

impl Ranking {
    /// Says why nothing is offered.
    pub(crate) fn why_empty(&self) -> String {
        let count = |verdict: &str| {
            self.verdicts
                .iter()
                .filter(|seen| seen.verdict == verdict)
                .count()
        };
        let all = match self.verdicts.len() {
            0 => {
                return "no edge has reported here; start one with --backend, --secret and --prefix"
                    .to_owned();
            }
            1 => "1 edge is known".to_owned(),
            many => format!("{many} edges are known"),
        };
        let faults = [
            ("report_too_old", "not reported lately: is it running?"),
            ("files_missing", "not the title's folder below --root"),
            (
                "client_not_served",
                "not this client's network as a --prefix",
            ),
        ];
        faults
            .into_iter()
            .fold(all, |told, (verdict, fault)| match count(verdict) {
                0 => told,
                1 => format!("{told}; 1 has {fault}"),
                many => format!("{told}; {many} have {fault}"),
            })
    }

    /// Turns the ranking into its explanation.
    #[must_use]
    pub fn explain(self, client: Client<'_>, network: Option<Prefix>) -> SteeringExplanation {
        SteeringExplanation {
            playback_id: client.playback_id.to_owned(),
            client_address: client.address.to_string(),
            client_network: network.map(|prefix| prefix.to_string()),
            files: client.files.to_owned(),
            appliances: self.verdicts,
        }
    }
}

#[cfg(test)]
mod tests;

//! What the backend offers and to whom: titles, accounts, plans, networks.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::prefix::{Prefix, PrefixError};

/// Everything that is configured, as written in a catalogue file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Titles in the order they are listed.
    #[serde(default, rename = "title")]
    pub titles: Vec<Title>,
    /// Accounts; when there are none, the account `demo` with the best plan.
    #[serde(default, rename = "account")]
    pub accounts: Vec<Account>,
    /// Plans, each including those before it; when there are none, `basic`, `standard` and `premium` with
    /// one, two and four streams.
    #[serde(default, rename = "plan")]
    pub plans: Vec<Plan>,
    /// What is known about networks: where they are.
    #[serde(default, rename = "network")]
    pub networks: Vec<Network>,
}

/// One title and what it takes to watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Title {
    /// Identifier: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// One or two sentences; may be empty.
    #[serde(default)]
    pub description: String,
    /// Length in milliseconds.
    pub duration_ms: u64,
    /// Path prefix of all its files, relative to an appliance: `demo/`. Edge tokens are for this prefix.
    pub files: String,
    /// Path of the MPD, relative to an appliance.
    #[serde(default)]
    pub dash: Option<String>,
    /// Path of the multivariant playlist, relative to an appliance.
    #[serde(default)]
    pub hls: Option<String>,
    /// Path of a file with the sizes of all segments, relative to an appliance.
    #[serde(default)]
    pub sizes: Option<String>,
    /// Countries with a licence (`DE`); empty is everywhere.
    #[serde(default)]
    pub countries: Vec<String>,
    /// Platforms with a licence (`linux`); empty is all.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// The age it is fit for, years.
    #[serde(default)]
    pub maturity: u8,
    /// The least plan that includes it; `None` is every plan.
    #[serde(default)]
    pub plan: Option<String>,
    /// Codecs a device has to play, all of them (`avc1`); what follows a dot does not count.
    #[serde(default)]
    pub codecs: Vec<String>,
    /// Height of the lowest picture it comes in, lines; 0 when it has none.
    #[serde(default)]
    pub height_min: u32,
    /// DRM systems it comes with, of which the device needs one; empty is unprotected.
    #[serde(default)]
    pub drm_systems: Vec<String>,
    /// Where its keys come from.
    #[serde(default)]
    pub license_url: Option<String>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Identifier.
    pub id: String,
    /// Its plan.
    pub plan: String,
    /// Home country (`DE`), which holds where the network does not tell.
    pub country: String,
    /// The profile may watch titles for this age, years.
    #[serde(default = "adult")]
    pub maturity: u8,
}

const fn adult() -> u8 {
    18
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Identifier.
    pub id: String,
    /// Streams that may play at once; 0 is none.
    pub streams_max: u32,
}

/// What is known about a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// In CIDR notation. The longest that holds an address counts.
    pub prefix: String,
    /// Country (`DE`) of its clients.
    #[serde(default)]
    pub country: Option<String>,
    /// Where it is: degrees latitude and longitude.
    #[serde(default)]
    pub position_deg: Option<(f64, f64)>,
}

impl Catalogue {
    /// Makes a catalogue of one title, `demo` under `demo/`, that anybody may watch as account `demo`.
    #[must_use]
    pub fn demo(duration_ms: u64) -> Self {
        Self {
            titles: vec![Title {
                id: "demo".to_owned(),
                name: "Nearcast demo".to_owned(),
                description: "A made title whose picture shows rung, time and frame number."
                    .to_owned(),
                duration_ms,
                files: "demo/".to_owned(),
                dash: Some("demo/stream.mpd".to_owned()),
                hls: Some("demo/master.m3u8".to_owned()),
                codecs: vec!["avc1".to_owned(), "mp4a".to_owned()],
                ..Title::default()
            }],
            ..Self::default()
        }
    }
}

/// A checked catalogue, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    titles: Vec<Title>,
    title_places: BTreeMap<String, usize>,
    accounts: BTreeMap<String, Account>,
    /// In ascending order: each includes those before it.
    plans: Vec<Plan>,
    networks: Vec<KnownNetwork>,
}

/// A network whose prefix was read.
#[derive(Clone, Debug)]
pub(crate) struct KnownNetwork {
    pub(crate) prefix: Prefix,
    pub(crate) country: Option<String>,
    pub(crate) position_deg: Option<(f64, f64)>,
}

impl Index {
    pub(crate) fn titles(&self) -> &[Title] {
        &self.titles
    }

    pub(crate) fn title(&self, id: &str) -> Option<&Title> {
        self.title_places
            .get(id)
            .and_then(|&place| self.titles.get(place))
    }

    pub(crate) fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// Returns a plan and its place in the order of plans.
    pub(crate) fn plan(&self, id: &str) -> Option<(usize, &Plan)> {
        self.plans
            .iter()
            .enumerate()
            .find(|(_, plan)| plan.id == id)
    }

    /// Returns the longest known network that holds `address`.
    pub(crate) fn network(&self, address: IpAddr) -> Option<&KnownNetwork> {
        self.networks
            .iter()
            .filter(|network| network.prefix.contains(address))
            .max_by_key(|network| network.prefix.length())
    }
}

impl TryFrom<Catalogue> for Index {
    type Error = CatalogueError;

    fn try_from(catalogue: Catalogue) -> Result<Self, CatalogueError> {
        let Catalogue {
            titles,
            mut accounts,
            mut plans,
            networks,
        } = catalogue;
        if plans.is_empty() {
            plans = built_in_plans();
        }
        for (place, plan) in plans.iter().enumerate() {
            let fail = |problem| Err(CatalogueItem::Plan(place).fails(problem));
            if !is_id(&plan.id) {
                return fail(CatalogueProblem::BadId(plan.id.clone()));
            }
            if plans.iter().take(place).any(|other| other.id == plan.id) {
                return fail(CatalogueProblem::Twice(plan.id.clone()));
            }
        }
        let has_plan = |id: &str| plans.iter().any(|plan| plan.id == id);
        if accounts.is_empty() {
            accounts.extend(plans.last().map(built_in_account));
        }
        let mut account_map = BTreeMap::new();
        for (place, account) in accounts.into_iter().enumerate() {
            let fail = |problem| Err(CatalogueItem::Account(place).fails(problem));
            if !is_id(&account.id) {
                return fail(CatalogueProblem::BadId(account.id));
            }
            if !has_plan(&account.plan) {
                return fail(CatalogueProblem::NoSuchPlan(account.plan));
            }
            let id = account.id.clone();
            if account_map.insert(id.clone(), account).is_some() {
                return fail(CatalogueProblem::Twice(id));
            }
        }
        let mut title_places = BTreeMap::new();
        for (place, title) in titles.iter().enumerate() {
            check_title(title, has_plan)
                .map_err(|problem| CatalogueItem::Title(place).fails(problem))?;
            if title_places.insert(title.id.clone(), place).is_some() {
                return Err(
                    CatalogueItem::Title(place).fails(CatalogueProblem::Twice(title.id.clone()))
                );
            }
        }
        let networks = networks
            .into_iter()
            .enumerate()
            .map(|(place, network)| {
                known(network).map_err(|problem| CatalogueItem::Network(place).fails(problem))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            titles,
            title_places,
            accounts: account_map,
            plans,
            networks,
        })
    }
}

fn built_in_plans() -> Vec<Plan> {
    [("basic", 1), ("standard", 2), ("premium", 4)]
        .map(|(id, streams_max)| Plan {
            id: id.to_owned(),
            streams_max,
        })
        .into()
}

fn built_in_account(plan: &Plan) -> Account {
    Account {
        id: "demo".to_owned(),
        plan: plan.id.clone(),
        country: "DE".to_owned(),
        maturity: adult(),
    }
}

fn check_title(title: &Title, has_plan: impl Fn(&str) -> bool) -> Result<(), CatalogueProblem> {
    if !is_id(&title.id) {
        return Err(CatalogueProblem::BadId(title.id.clone()));
    }
    if title.duration_ms == 0 {
        return Err(CatalogueProblem::NoDuration);
    }
    if !is_file_prefix(&title.files) {
        return Err(CatalogueProblem::BadFiles(title.files.clone()));
    }
    if title.dash.is_none() && title.hls.is_none() {
        return Err(CatalogueProblem::NoManifest);
    }
    for path in [&title.dash, &title.hls, &title.sizes]
        .into_iter()
        .flatten()
    {
        if !path.starts_with(&title.files) || path.len() == title.files.len() {
            return Err(CatalogueProblem::OutsideFiles {
                path: path.clone(),
                files: title.files.clone(),
            });
        }
    }
    match &title.plan {
        Some(plan) if !has_plan(plan) => Err(CatalogueProblem::NoSuchPlan(plan.clone())),
        _ => Ok(()),
    }
}

fn known(network: Network) -> Result<KnownNetwork, CatalogueProblem> {
    let prefix = network
        .prefix
        .parse()
        .map_err(|source| CatalogueProblem::BadPrefix {
            prefix: network.prefix.clone(),
            source,
        })?;
    if let Some(position) = network.position_deg
        && !is_position(position)
    {
        return Err(CatalogueProblem::BadPosition);
    }
    Ok(KnownNetwork {
        prefix,
        country: network.country,
        position_deg: network.position_deg,
    })
}

/// Whether a text can be an identifier: it appears in paths, where dots alone mean something else, and in logs.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() <= ID_LENGTH_MAX
        && !text.bytes().all(|byte| byte == b'.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Long enough for a UUID with a word before it.
pub(crate) const ID_LENGTH_MAX: usize = 64;

/// Whether a text is a folder relative to an appliance, such as `demo/` or `films/demo/`.
pub(crate) fn is_file_prefix(text: &str) -> bool {
    text.strip_suffix('/').is_some_and(|folder| {
        folder.split('/').all(|part| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && !part
                    .chars()
                    .any(|c| c.is_control() || matches!(c, '?' | '#' | '\\'))
        })
    })
}

/// Whether a pair is a place on Earth.
pub(crate) fn is_position((latitude, longitude): (f64, f64)) -> bool {
    (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude)
}

/// Which part of a catalogue is wrong, by its place in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueItem {
    /// A `[[title]]`.
    Title(usize),
    /// An `[[account]]`.
    Account(usize),
    /// A `[[plan]]`.
    Plan(usize),
    /// A `[[network]]`.
    Network(usize),
}

impl CatalogueItem {
    const fn fails(self, problem: CatalogueProblem) -> CatalogueError {
        CatalogueError {
            item: self,
            problem,
        }
    }
}

impl core::fmt::Display for CatalogueItem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (kind, place) = match self {
            Self::Title(place) => ("title", place),
            Self::Account(place) => ("account", place),
            Self::Plan(place) => ("plan", place),
            Self::Network(place) => ("network", place),
        };
        write!(f, "[[{kind}]] number {}", place + 1)
    }
}

/// A catalogue that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{item}: {problem}")]
pub struct CatalogueError {
    /// Where.
    pub item: CatalogueItem,
    /// What.
    pub problem: CatalogueProblem,
}

/// What is wrong with a part of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueProblem {
    /// An identifier with other characters, or too long.
    #[error(
        "the id {0:?} must be 1 to {ID_LENGTH_MAX} letters, digits, '-', '_' or '.', and more than dots"
    )]
    BadId(String),
    /// An identifier that is taken.
    #[error("the id {0:?} is used twice")]
    Twice(String),
    /// A plan that is not in the catalogue.
    #[error("there is no plan {0:?}")]
    NoSuchPlan(String),
    /// A title of no length.
    #[error("duration_ms must be above 0")]
    NoDuration,
    /// A title without a manifest.
    #[error("give dash or hls: the path of a manifest")]
    NoManifest,
    /// A file prefix that is no folder.
    #[error("files = {0:?} must be a folder relative to an appliance, such as \"demo/\"")]
    BadFiles(String),
    /// A path that edge tokens would not cover.
    #[error("the path {path:?} does not begin with files = {files:?}")]
    OutsideFiles {
        /// The path.
        path: String,
        /// The title's file prefix.
        files: String,
    },
    /// A network that is no prefix.
    #[error("prefix = {prefix:?}: {source}")]
    BadPrefix {
        /// What was written.
        prefix: String,
        /// Why it is none.
        source: PrefixError,
    },
    /// A place that is not on Earth.
    #[error("position_deg must be latitude (-90 to 90) and longitude (-180 to 180)")]
    BadPosition,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut Catalogue)) -> CatalogueError {
        let mut catalogue = Catalogue::demo(1000);
        change(&mut catalogue);
        Index::try_from(catalogue).unwrap_err()
    }

    #[test]
    fn the_demo_catalogue_has_an_account_with_the_best_plan() {
        let index = Index::try_from(Catalogue::demo(1000)).unwrap();
        let account = index.account("demo").unwrap();
        assert_eq!(index.plan(&account.plan).unwrap().0, 2);
        assert!(index.title("demo").is_some());
        assert!(index.title("other").is_none());
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        assert_eq!(
            problem(|c| c.titles.push(c.titles[0].clone())),
            CatalogueItem::Title(1).fails(CatalogueProblem::Twice("demo".to_owned()))
        );
        assert_eq!(
            problem(|c| c.titles[0].plan = Some("gold".to_owned())).problem,
            CatalogueProblem::NoSuchPlan("gold".to_owned())
        );
        assert_eq!(
            problem(|c| c.titles[0].duration_ms = 0).problem,
            CatalogueProblem::NoDuration
        );
        assert_eq!(
            problem(|c| c.titles[0].dash = Some("elsewhere/stream.mpd".to_owned())).problem,
            CatalogueProblem::OutsideFiles {
                path: "elsewhere/stream.mpd".to_owned(),
                files: "demo/".to_owned()
            }
        );
        assert_eq!(
            problem(|c| {
                c.titles[0].dash = None;
                c.titles[0].hls = None;
            })
            .problem,
            CatalogueProblem::NoManifest
        );
        assert_eq!(
            problem(|c| c.titles[0].id = "a b".to_owned()).problem,
            CatalogueProblem::BadId("a b".to_owned())
        );
        assert_eq!(
            problem(|c| c.networks.push(Network {
                prefix: "nowhere".to_owned(),
                country: None,
                position_deg: None
            })),
            CatalogueItem::Network(0).fails(CatalogueProblem::BadPrefix {
                prefix: "nowhere".to_owned(),
                source: PrefixError
            })
        );
        assert_eq!(
            problem(|c| c.networks.push(Network {
                prefix: "10.0.0.0/8".to_owned(),
                country: None,
                position_deg: Some((91.0, 0.0))
            }))
            .problem,
            CatalogueProblem::BadPosition
        );
        assert_eq!(
            problem(|c| c.accounts.push(Account {
                id: "a".to_owned(),
                plan: "gold".to_owned(),
                country: "DE".to_owned(),
                maturity: 0
            })),
            CatalogueItem::Account(0).fails(CatalogueProblem::NoSuchPlan("gold".to_owned()))
        );
    }

    #[test]
    fn an_id_is_one_that_paths_and_logs_can_hold() {
        let longest = "x".repeat(64);
        for good in ["a", "fra-1.ix_2", "..a", &longest] {
            assert!(is_id(good), "{good}");
        }
        let longer = "x".repeat(65);
        for bad in ["", " ", "a b", "a/b", "a\n", "ä", ".", "..", &longer] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_prefix_stays_inside_the_appliance() {
        for good in ["demo/", "films/demo/"] {
            assert!(is_file_prefix(good), "{good}");
        }
        for bad in [
            "", "/", "demo", "/demo/", "../", "a/../b/", "a//", "a?b/", "a\n/",
        ] {
            assert!(!is_file_prefix(bad), "{bad}");
        }
    }

    #[test]
    fn the_longest_network_counts() {
        let mut catalogue = Catalogue::demo(1000);
        for (prefix, country) in [("10.0.0.0/8", "DE"), ("10.1.0.0/16", "FR"), ("::/0", "IT")] {
            catalogue.networks.push(Network {
                prefix: prefix.to_owned(),
                country: Some(country.to_owned()),
                position_deg: None,
            });
        }
        let index = Index::try_from(catalogue).unwrap();
        let country = |address: &str| {
            index
                .network(address.parse().unwrap())
                .and_then(|network| network.country.clone())
        };
        assert_eq!(country("10.1.2.3").as_deref(), Some("FR"));
        assert_eq!(country("10.2.2.3").as_deref(), Some("DE"));
        assert_eq!(country("2001:db8::1").as_deref(), Some("IT"));
        assert_eq!(country("192.0.2.1"), None);
    }
}

//! `bench sets`: all public sets with all rules, a table each, and below it what the rule `horizon` has to reach there.
//! What was measured is kept, so that a run that was ended goes on where it was.

mod judge;
mod known;

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use nearcast_sim::trace::{Profile, Setup};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::abr::ProfileName;
use crate::abr::html;
use crate::abr::measure::{Bench, Limit, Session};
use crate::abr::set::{self, Set, TRACES};
use crate::abr::table::Table;
use crate::write;
use judge::{Bars, Exception};
use known::Known;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Take so many traces of each set, evenly spaced in name order; bars are judged with all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Rules, parted by commas [default: every one that a set's profile knows]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    abr: Vec<String>,
    /// Find the offline optimum too, and show each rule's share of it
    #[arg(long)]
    optimum: bool,
    /// Keep what is measured in this folder, and take from it what this program measured before
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Compare with the files of known results in this folder, and fail where rules that have to be equal differ
    /// [default: `expected` beside the sets, where it is there]
    #[arg(long, value_name = "DIR")]
    expected: Option<PathBuf>,
    /// Write all tables here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write all tables and charts here, as one page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A set as its figures are told.
pub(crate) struct Public {
    /// What the table calls it.
    pub(crate) name: &'static str,
    folder: &'static str,
    movie: &'static str,
    profile: ProfileName,
    mu: f64,
    cap_s: f64,
    length_s: Option<f64>,
    bars: Bars,
}

const fn pensieve(folder: &'static str, qoe: f64) -> Public {
    Public {
        name: folder,
        folder,
        movie: "envivio.json",
        profile: ProfileName::Pensieve,
        mu: 4.3,
        cap_s: 60.0,
        length_s: None,
        bars: Bars {
            qoe: Some(qoe),
            excepted: &[],
        },
    }
}

const fn sabre(name: &'static str, folder: &'static str, movie: &'static str, mu: f64) -> Public {
    Public {
        name,
        folder,
        movie,
        profile: ProfileName::Sabre,
        mu,
        cap_s: 25.0,
        length_s: None,
        bars: Bars::LEADS,
    }
}

/// A network on which playback stands still for half an hour, and with some rules for 20 minutes longer, makes the error
/// larger than half of the lead. Over all others `horizon` leads bb by 0.523 ± 0.035 and rmpc by 0.255 ± 0.040, and with
/// a buffer of 10 s bola-basic by 0.471 ± 0.064.
const fn one_outage(rule: &'static str) -> Exception {
    Exception {
        rule,
        why: "one network (2011-02-01_0840), where it stands still for 20 minutes longer, makes the error",
    }
}

/// On the ladder up to 35 Mbit/s a stall costs what the top rung is worth, as 4.3 is on the one up to 4.3 Mbit/s.
pub(crate) const PUBLIC: [Public; 10] = [
    pensieve("norway-train", 0.705),
    pensieve("oboe", 2.25),
    pensieve("fcc-broadband", 1.105),
    pensieve("puffer-2021", 1.20),
    Public {
        length_s: Some(180.0),
        ..sabre("fcc-sd", "fcc-sd", "bbb.json", 4.3)
    },
    Public {
        length_s: Some(180.0),
        ..sabre("fcc-hd", "fcc-hd", "bbb4k.json", 35.0)
    },
    sabre("lte-ghent-25s", "lte-ghent", "bbb4k.json", 35.0),
    Public {
        cap_s: 10.0,
        ..sabre("lte-ghent-10s", "lte-ghent", "bbb4k.json", 35.0)
    },
    Public {
        bars: Bars {
            qoe: None,
            excepted: &[
                Exception {
                    rule: "bola-e",
                    why: "a tie: nobody plans around outages of minutes (2010-09-14_1415, 2011-02-01_0629)",
                },
                one_outage("bb"),
                one_outage("rmpc"),
            ],
        },
        ..sabre("hsdpa-sabre-25s", "hsdpa-sabre", "bbb.json", 4.3)
    },
    Public {
        cap_s: 10.0,
        bars: Bars {
            qoe: None,
            excepted: &[one_outage("bola-basic")],
        },
        ..sabre("hsdpa-sabre-10s", "hsdpa-sabre", "bbb.json", 4.3)
    },
];

/// What is kept of one rule over one set.
#[derive(Deserialize, Serialize)]
struct Kept<T> {
    /// Of the program and all that it was given.
    key: String,
    figures: T,
}

/// Measures every set that is there, then fails if one is not, where a bar is missed, or where known results differ.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    for name in &arguments.abr {
        let profiles = [ProfileName::Sabre, ProfileName::Pensieve];
        ensure!(
            profiles
                .iter()
                .any(|one| one.rules().contains(&name.as_str())),
            "no rule is named \"{name}\""
        );
    }
    let program = fs::read(std::env::current_exe()?).context("reading this program")?;
    let mut tables = Vec::new();
    let mut missing = Vec::new();
    let mut missed = Vec::new();
    let mut different = Vec::new();
    let known = Known::find(arguments.expected.as_deref())?;
    let all = arguments.limit.is_none() && arguments.abr.is_empty();
    for public in &PUBLIC {
        let folder = Path::new(public.folder);
        let there = set::root().is_some_and(|root| root.join(folder).is_dir());
        if !there {
            if !missing.contains(&public.folder) {
                missing.push(public.folder);
            }
            continue;
        }
        let bench = public.bench(arguments.limit, &arguments.abr)?;
        let mut hasher = DefaultHasher::new();
        program.hash(&mut hasher);
        // All inputs but the rule, by what they look like: no two of them look the same.
        let inputs = (&bench.movie, &bench.set, bench.profile, bench.segments);
        format!("{inputs:?} {} {}", bench.cap_ms, bench.mu).hash(&mut hasher);
        let key = format!("{:016x}", hasher.finish());
        let kept = |rule: &str| {
            let folder = arguments.keep.as_ref()?.join(public.name);
            Some((folder.join(format!("{rule}.json")), key.clone()))
        };
        let mut sessions = Vec::new();
        for rule in &bench.rules {
            let measured = resumed(kept(rule), || {
                let one = bench.only(rule)?;
                Ok(one
                    .iter()
                    .map(|played| bench.figures(played))
                    .collect::<Vec<Session>>())
            });
            sessions.push(measured?);
        }
        let limit: Option<Limit> = if arguments.optimum {
            Some(resumed(kept("optimum"), || {
                Ok(bench.limit(&bench.optimum()?))
            })?)
        } else {
            None
        };
        let table = Table::new(&bench, &sessions, limit.as_ref());
        let mut text = table.text();
        if all {
            let judged = public.bars.judge(&table.rows);
            text += &judge::text(&judged);
            let these = judged.iter().filter(|one| !one.holds);
            missed.extend(these.map(|one| format!("{}, {}", public.name, one.name)));
        }
        if let Some(known) = &known {
            let told = known.compare(public, &bench, &sessions)?;
            text += &told.text;
            let these = told.different.iter();
            different.extend(these.map(|rule| format!("{}, {rule}", public.name)));
        }
        write::print(&format!("{text}\n"))?;
        tables.push(table);
    }
    if let Some(path) = &arguments.json {
        write::file(path, &(serde_json::to_string_pretty(&tables)? + "\n"))?;
    }
    if let Some(path) = &arguments.html {
        write::file(path, &html::page(&tables))?;
    }
    if !all {
        write::tell(
            "bars are judged with all traces and all rules: leave --limit and --abr out\n",
        )?;
    }
    if known.is_none() {
        write::tell(
            "nothing is compared with known results: no folder `expected` lies beside the sets, and --expected names none\n",
        )?;
    }
    let mut wrong = Vec::new();
    if !missing.is_empty() {
        let place = set::root().map_or_else(
            || format!("{TRACES} names no folder"),
            |root| format!("not in {} ({TRACES})", root.display()),
        );
        let missing = missing.join(", ");
        wrong.push(format!(
            "sets of recorded networks are missing: {missing}; {place}"
        ));
    }
    if !missed.is_empty() {
        wrong.push(format!("bars are missed: {}", missed.join("; ")));
    }
    if !different.is_empty() {
        wrong.push(format!("known results differ: {}", different.join("; ")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join(". "));
    Ok(ExitCode::SUCCESS)
}

impl Public {
    /// Whether its sessions have the semantics of this profile.
    pub(crate) fn is_of(&self, profile: Profile) -> bool {
        self.profile.reference() == profile
    }

    /// Returns the name of the file that has known results of it.
    fn known(&self) -> String {
        let Self { folder, cap_s, .. } = self;
        match self.profile {
            ProfileName::Sabre | ProfileName::Player => format!("sabre_{folder}_buf{cap_s}.csv"),
            ProfileName::Pensieve => format!("pensieve_{folder}.csv"),
        }
    }

    /// Returns its bench with these rules of those that its profile knows, or with all.
    pub(crate) fn bench(&self, limit: Option<u32>, asked: &[String]) -> Result<Bench> {
        let movie = set::movie(Path::new(self.movie))?;
        let mut set = Set::read(Path::new(self.folder), limit)?;
        self.name.clone_into(&mut set.name);
        let mut rules = self.profile.rules();
        if asked.is_empty() {
            rules.retain(|rule| *rule != "lowest");
        } else {
            rules.retain(|rule| asked.iter().any(|asked| asked == rule));
        }
        Ok(Bench {
            profile: self.profile,
            segments: Setup::segments(&movie, self.length_s.map(|length_s| length_s * 1e3)),
            movie,
            set,
            cap_ms: self.cap_s * 1e3,
            mu: self.mu,
            rules: rules.into_iter().map(str::to_owned).collect(),
            horizon: None,
            sound: None,
        })
    }
}

/// Takes what is kept if it was measured alike, else measures and keeps it.
fn resumed<T: DeserializeOwned + Serialize>(
    place: Option<(PathBuf, String)>,
    measure: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some((path, key)) = place else {
        return measure();
    };
    // A file that is not there or was cut off is measured anew.
    let kept = fs::read(&path).ok();
    let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept<T>>(&bytes).ok());
    if let Some(kept) = kept.filter(|kept| kept.key == key) {
        return Ok(kept.figures);
    }
    let kept = Kept {
        key,
        figures: measure()?,
    };
    write::file(&path, &(serde_json::to_string(&kept)? + "\n"))?;
    Ok(kept.figures)
}

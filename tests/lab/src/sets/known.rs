//! Known results of the public sets: which file has those of a set, and which of them ours have to equal.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::Public;
use crate::abr::ProfileName;
use crate::abr::expect::{Expected, WITHIN};
use crate::abr::measure::{Bench, Session};
use crate::abr::set;

/// A folder of known results.
#[derive(Debug)]
pub(super) struct Known(PathBuf);

/// How a set compares.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// For people.
    pub(super) text: String,
    /// Rules that have to be equal and are not.
    pub(super) different: Vec<String>,
}

/// What the folder is called beside the sets.
const FOLDER: &str = "expected";

impl Known {
    /// Takes the folder that is asked for, else the one beside the sets, where it is there.
    pub(super) fn find(asked: Option<&Path>) -> Result<Option<Self>> {
        if let Some(asked) = asked {
            let place = asked.display();
            ensure!(
                asked.is_dir(),
                "the folder of known results is not there: {place}"
            );
            return Ok(Some(Self(asked.to_owned())));
        }
        let beside = set::root().map(|root| root.join(FOLDER));
        Ok(beside.filter(|beside| beside.is_dir()).map(Self))
    }

    /// Compares all sessions of which the set's file tells.
    pub(super) fn compare(
        &self,
        public: &Public,
        bench: &Bench,
        sessions: &[Vec<Session>],
    ) -> Result<Told> {
        let name = public.known();
        let path = self.0.join(&name);
        if !path.is_file() {
            let text = format!("not compared with known results: there is no {name}\n");
            return Ok(Told {
                text,
                ..Told::default()
            });
        }
        let compared = Expected::read(&path)?.compare(bench, sessions, None, WITHIN);
        let equal = equal(public.profile);
        let mut told = Told {
            text: format!(
                "compared with {name}, where {} have to be equal:\n",
                equal.join(", ")
            ),
            different: Vec::new(),
        };
        for line in compared.lines() {
            told.text += &line.text();
            if equal.contains(&line.rule.as_str()) && !line.is_equal() {
                told.text += &line.differences();
                told.different.push(line.rule.clone());
            }
        }
        let absent = bench.rules.iter().filter(|rule| {
            equal.contains(&rule.as_str())
                && compared.lines().iter().all(|line| line.rule != **rule)
        });
        for rule in absent {
            told.text += &format!("  {rule:<12} is not in the file\n");
            told.different.push(rule.clone());
        }
        Ok(told)
    }
}

/// Returns the rules of which every session has to be equal. Of others it is told: bola-e and bola-e-fs differ now and
/// then.
const fn equal(profile: ProfileName) -> &'static [&'static str] {
    match profile {
        ProfileName::Sabre => &["bola-basic", "bola", "bola-u-basic"],
        ProfileName::Pensieve => &["bb", "rmpc"],
        ProfileName::Player => &[],
    }
}

//! Runs scenarios over real sockets, some at a time.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use nearcast_scenario::{Mode, Ran, Scenario};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use super::Way;
use super::gather::{Gathered, One};
use super::junit::Took;
use super::progress::Progress;
use super::sweep::{Seeds, Swept, count};
use crate::interrupt::Interrupt;
use crate::mistake::Mistake;
use crate::moment::Moment;
use crate::packet;
use crate::stage::{Folders, OneMachine, Titles, perform, plain, unfit};

/// Players are busiest while they start, and who wins a race of edges is a matter of milliseconds then: no two runs begin
/// within this time.
const APART: Duration = Duration::from_secs(1);

/// What real runs need beside a scenario.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RealArguments {
    /// The made title that real players play
    #[arg(
        long,
        value_name = "DIR",
        env = "NEARCAST_TITLE_DIR",
        default_value = "target/media/title"
    )]
    pub(crate) title: PathBuf,
    /// How many real runs go on at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) jobs: u8,
    /// Keeps what each real session was told, for --replay, and what each session reported, in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
}

impl RealArguments {
    /// Returns the way that these make of a mode.
    pub(super) fn way(&self, mode: Mode) -> Way {
        Way {
            mode,
            title: Some(self.title.clone()),
        }
    }

    /// Refuses scenarios whose recordings would have the same names.
    pub(super) fn check_names(&self, scenarios: &[Scenario]) -> Result<()> {
        if self.record.is_none() {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        if let Some(twice) = scenarios.iter().find(|one| !known.insert(plain(&one.name))) {
            bail!(Mistake(format!(
                "what --record keeps is called after scenarios, and two are called `{}`, as far as names of files tell: run one at \
                 a time, or give one another `name`",
                twice.name
            )));
        }
        Ok(())
    }

    /// Returns the folders for a scenario; that of recordings is there afterwards.
    pub(super) fn folders(&self, titles: &mut Titles, scenario: &Scenario) -> Result<Folders> {
        if let Some(folder) = &self.record {
            let made = std::fs::create_dir_all(folder);
            made.with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(Folders {
            root: titles.of_length(scenario.duration)?,
            recordings: self.record.clone(),
        })
    }
}

/// One run that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Job<'a> {
    /// The scenario's place in what is asked for.
    pub(super) place: usize,
    pub(super) scenario: &'a Scenario,
    pub(super) mode: Mode,
    pub(super) seed: u64,
    pub(super) folders: Folders,
}

/// What came of a job, and how long that took.
pub(super) struct Made {
    pub(super) ran: Result<Ran>,
    pub(super) took_s: f64,
}

/// Makes runs, some at a time, until somebody interrupts that: what is not run to its end then says nothing.
pub(super) fn make<'a>(
    jobs: Vec<Job<'a>>,
    at_once: u8,
    interrupt: &Interrupt,
    mut take: impl FnMut(Job<'a>, Made) -> Result<()>,
) -> Result<()> {
    let progress = Progress::new(
        u64::try_from(jobs.len())?,
        "{bar:30} {pos}/{len} runs, {elapsed}: {wide_msg}",
    )?;
    // Of one thread: a guard tells this process from those behind links by where its first thread is.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    runtime.block_on(async {
        let mut turns = tokio::time::interval(APART);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turns = Mutex::new(turns);
        let runs = jobs.into_iter().map(|job| async {
            let begins = async {
                turns.lock().await.tick().await;
                progress.runs(&job.scenario.name);
                let begins = Moment::now();
                let ran = run(&job).await;
                let took_s = begins.elapsed_s();
                Made { ran, took_s }
            };
            let made = tokio::select! {
                biased;
                () = wanted(interrupt) => None,
                made = begins => Some(made),
            };
            progress.inc();
            (job, made)
        });
        let mut runs = futures_util::stream::iter(runs).buffer_unordered(at_once.into());
        while let Some((job, made)) = runs.next().await {
            if let Some(made) = made {
                take(job, made)?;
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    progress.end();
    Ok(())
}

/// Runs all.
pub(super) fn all(
    scenarios: &[Scenario],
    way: &Way,
    seeds: Seeds,
    arguments: &RealArguments,
    mut lines: Option<BufWriter<File>>,
) -> Result<Swept> {
    let mode = way.mode;
    if mode == Mode::Packet {
        packet::gain()?;
    }
    for scenario in scenarios {
        if let Some(reason) = unfit(scenario, mode) {
            bail!("{}: {reason}", scenario.name);
        }
    }
    // From here on folders and processes are there that an end in disorder would leave.
    let interrupt = Interrupt::watch()?;
    let mut titles = Titles::open(&arguments.title)?;
    let mut jobs = Vec::new();
    for (place, scenario) in scenarios.iter().enumerate() {
        let folders = arguments.folders(&mut titles, scenario)?;
        for seed in (seeds.first..).take(usize::try_from(count(scenario, seeds))?) {
            jobs.push(Job {
                place,
                scenario,
                mode,
                seed,
                folders: folders.clone(),
            });
        }
    }
    let began = Moment::now();
    let mut gathered: Vec<Gathered<'_>> = scenarios
        .iter()
        .map(|scenario| Gathered::new(scenario, way, seeds.first))
        .collect();
    let mut busy = false;
    let mut each_s = vec![0.0; scenarios.len()];
    make(jobs, arguments.jobs, &interrupt, |job, made| {
        busy |= made.ran.as_ref().is_ok_and(|ran| ran.busy);
        each_s[job.place] += made.took_s;
        let one = match made.ran {
            Ok(ran) => One::new(job.scenario, (way, job.seed), ran, true),
            Err(error) => One::failed(job.scenario, job.seed, format!("{error:#}")),
        };
        gathered[job.place].add(one, lines.as_mut())
    })?;
    if let Some(mut lines) = lines {
        lines.flush().context("writing lines of JSON")?;
    }
    let interrupted = interrupt.is_wanted();
    // A schedule is made smaller in virtual time, where a run takes no time and chance is what the seed says.
    let results = gathered
        .into_iter()
        .map(|one| one.result(|_| None, |_, _| None));
    let told = results.zip(each_s);
    let (results, each_s) = told
        .filter(|(result, _)| !interrupted || result.seeds > 0)
        .unzip();
    Ok(Swept {
        interrupted,
        busy,
        results,
        took: Took {
            all_s: began.elapsed_s(),
            each_s,
        },
    })
}

async fn run(job: &Job<'_>) -> Result<Ran> {
    let (scenario, folders) = (job.scenario, &job.folders);
    let how = (job.mode, job.seed);
    match job.mode {
        Mode::App => perform(scenario, how, folders, &OneMachine).await,
        #[cfg(target_os = "linux")]
        Mode::Packet => {
            let stage = packet::PacketStage::start(scenario, job.seed)?;
            let ran = perform(scenario, how, folders, &stage).await;
            stage.end()?;
            ran
        }
        mode => bail!("{} is no way to run over sockets here", mode.name()),
    }
}

/// Waits until somebody wants the run to end.
async fn wanted(interrupt: &Interrupt) {
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    while !interrupt.is_wanted() {
        looks.tick().await;
    }
}

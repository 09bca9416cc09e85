//! Scenario files in virtual time.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use nearcast_scenario::{Judge, Ran, Scenario};
use nearcast_sim::Watch;
use nearcast_sim::scenario::{simulate, simulate_unless};

fn kept(name: &str) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    Scenario::read(&folder.join(name)).unwrap().remove(0)
}

fn read(text: &str) -> Scenario {
    let two = "
        version = 1
        edges = [
            { name = \"near\", link = { rate_kbps = 12000, delay_ms = 5 } },
            { name = \"far\", distance_km = 500, link = { rate_kbps = 12000, delay_ms = 18 } },
        ]
        last_mile = { rate_kbps = 15000, delay_ms = 5 }
        title = { duration_s = 60 }
    ";
    let text = format!("{two}\n{text}");
    Scenario::parse("made.toml".as_ref(), &text)
        .unwrap()
        .remove(0)
}

/// Runs it with one seed; nothing may be wrong but for what is expected.
fn run(text: &str) -> Ran {
    let run = simulate(&read(text), 1, Watch::ALL).ran;
    assert_eq!(run.problems(), Vec::<String>::new());
    run
}

fn holds(scenario: &Scenario, run: &Ran) -> Vec<String> {
    let mut judge = Judge::new(scenario.expectations.clone());
    run.judge(1, &mut judge);
    let missed = judge.verdicts().into_iter().filter(|one| !one.holds);
    missed.map(|one| one.to_string()).collect()
}

#[test]
fn one_seed_gives_one_log_to_the_byte_and_another_seed_another() {
    for name in [
        "failures/edge-death.toml",
        "failures/lossy-line.toml",
        "failures/network-change.toml",
        "control/control-plane.toml",
    ] {
        let scenario = kept(name);
        let logs = |seed| {
            let run = simulate(&scenario, seed, Watch::ALL);
            let texts = run.logs.iter().map(|log| log.join("\n"));
            texts.collect::<Vec<_>>()
        };
        let log = logs(7);
        assert!(log[0].lines().count() > 1_000, "{name}");
        assert_eq!(log, logs(7), "{name}");
        assert_ne!(log, logs(8), "{name}");
    }
}

#[test]
fn a_fault_that_never_happens_is_a_problem_unless_it_may() {
    let never =
        "faults = [{ id = \"never\", at_s = 100, edge = \"far\", fault = { kind = \"corrupt\" } }]";
    let run = simulate(&read(never), 1, Watch::ALL).ran;
    assert_eq!(run.problems(), run.missed);
    assert_eq!(
        run.missed,
        [
            "the fault `never` never took effect: nothing asked for what it selects while it was there"
        ]
    );
    for (object, why) in [
        ("steering", "with each `refresh`"),
        ("event", "`--mode app`"),
    ] {
        let unasked = format!(
            "faults = [{{ edge = \"backend\", fault = {{ kind = \"hang\" }}, on = {{ object = \"{object}\" }} }}]"
        );
        let run = simulate(&read(&unasked), 1, Watch::ALL).ran;
        assert!(run.missed.concat().contains(why), "{:?}", run.missed);
    }
    let may = never.replace(
        "kind = \"corrupt\" } }",
        "kind = \"corrupt\" }, may_miss = true }",
    );
    assert_eq!(simulate(&read(&may), 1, Watch::ALL).ran.problems().len(), 0);
}

#[test]
fn a_session_that_never_begins_is_a_problem_whatever_holds_of_it() {
    let refused = |expect: &str| {
        let fault =
            "faults = [{ edge = \"backend\", fault = { kind = \"status\", status = 500 } }]";
        let scenario = read(&format!("expect = [{expect}]\n{fault}"));
        let run = simulate(&scenario, 1, Watch::ALL).ran;
        assert_eq!(holds(&scenario, &run), Vec::<String>::new());
        run.problems()
    };
    let problems = refused("\"stalled_s == 0\", \"handover_s.p99 < 2\"");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("`player` never began to play, and ended with `backend.problem`"),
        "{problems:?}"
    );
    let meant = refused("\"stalled_s == 0\", \"errors.backend.problem == 1\"");
    assert_eq!(meant, Vec::<String>::new());
}

#[test]
fn what_is_selected_is_hit_and_nothing_else_with_a_receipt_for_each() {
    let run = run(
        "faults = [{ edge = \"all\", fault = { kind = \"status\", status = 500 }, on = { object = \"media\", track = \"audio\", segment_from = 3, segment_to = 4, count = 1 } }]",
    );
    let paths: Vec<&str> = run
        .receipts
        .iter()
        .filter_map(|one| one.path.as_deref())
        .collect();
    assert!(!paths.is_empty());
    for path in paths {
        assert!(
            ["title/audio_en/00004.m4s", "title/audio_en/00005.m4s"].contains(&path),
            "{path}"
        );
    }
    let report = &run.players[0].report;
    let failed = report.fetches.iter().flat_map(|one| &one.attempts);
    let failed = failed.filter(|one| one.code.as_deref() == Some("edge.server_error"));
    assert_eq!(failed.count(), run.receipts.len());
    assert!(
        run.receipts
            .iter()
            .all(|one| one.player.as_deref() == Some("player"))
    );
}

#[test]
fn rungs_tracks_and_paths_are_named_as_those_of_the_made_title() {
    let of = |what: &str| {
        let on = format!("on = {{ {what} }}");
        let fault =
            "id = \"f\", edge = \"all\", fault = { kind = \"late_first_byte\", delay_ms = 1 }";
        let reads = "actions = [{ at_s = 5, do = \"subtitles\", track = 0 }]";
        let run = run(&format!("{reads}\nfaults = [{{ {fault}, {on} }}]"));
        let paths = run.receipts.into_iter().filter_map(|one| one.path);
        paths.collect::<BTreeSet<_>>()
    };
    let highest = of("representation = \"v6\", segment_to = 9");
    assert!(highest.contains("title/v6/00010.m4s"), "{highest:?}");
    let sound = of("object = \"init\", path_contains = \"title/audio_en/\"");
    assert_eq!(Vec::from_iter(sound), ["title/audio_en/init.mp4"]);

    let text = of("object = \"subtitle\", representation = \"subs_en\"");
    assert_eq!(Vec::from_iter(text), ["title/subs_en/all.vtt"]);
    let manifest = of("path_contains = \".mpd\"");
    assert_eq!(Vec::from_iter(manifest), ["title/stream.mpd"]);
}

#[test]
fn who_is_turned_away_does_not_use_up_a_fault_of_bodies() {
    // The token has just ended: requests are turned away until there is another one, and the first served has the fault.
    let run = run("
        backend = { token_ttl_s = 12, refresh_after_s = 600 }
        faults = [{ id = \"once\", at_s = 12.1, edge = \"all\", fault = { kind = \"corrupt\" }, on = { object = \"media\", count = 1 } }]
    ");
    let all = run.players[0].report.fetches.iter();
    let attempts: Vec<_> = all.flat_map(|one| &one.attempts).collect();
    let of = |code: &str| {
        let of = attempts
            .iter()
            .filter(|one| one.code.as_deref() == Some(code));
        of.count()
    };
    assert!(of("edge.token_rejected") > 0, "nobody was turned away");
    let edges: Vec<&str> = run.receipts.iter().map(|one| one.edge.as_str()).collect();
    assert_eq!(edges, ["near", "far"], "each had the rule");
}

#[test]
fn a_fault_of_the_edge_in_use_stays_with_that_edge() {
    let run = run(
        "faults = [{ at_s = 15, edge = \"in_use\", fault = { kind = \"hang\" }, on = { object = \"media\", track = \"video\", after = 0.5 } }]",
    );
    let edges: Vec<&str> = run.receipts.iter().map(|one| one.edge.as_str()).collect();
    assert!(
        !edges.is_empty() && edges.iter().all(|edge| *edge == edges[0]),
        "{edges:?}"
    );
    let report = &run.players[0].report;
    assert_eq!(report.stall_count, 0);
    assert!(
        report.failovers.iter().any(|one| one.from == edges[0]),
        "{:?}",
        report.failovers
    );
}

#[test]
fn a_fault_that_cannot_go_along_to_the_next_edge_is_a_problem_of_the_run() {
    let rule = |id: &str, edge: &str| {
        format!(
            "{{ id = \"{id}\", edge = \"{edge}\", may_miss = true, fault = {{ kind = \"hang\" }}, on = {{ object = \"key\" }} }}"
        )
    };
    // As many as an edge keeps; then the one in use dies, whose rule has no room there.
    let mut rules: Vec<String> = (0..256).map(|n| rule(&format!("f{n}"), "far")).collect();
    rules.push(rule("along", "near"));
    let dies = "{ at_s = 15, edge = \"near\", fault = { kind = \"kill\" } }".to_owned();
    rules.push(dies);
    let whole = |rules: &[String]| {
        simulate(
            &read(&format!("faults = [{}]", rules.join(", "))),
            1,
            Watch::ALL,
        )
        .ran
        .problems()
    };
    assert_eq!(whole(&rules), Vec::<String>::new());
    rules[256] = rules[256].replace("edge = \"near\"", "at_s = 10, edge = \"in_use\"");
    let problems = whole(&rules);
    assert!(
        problems
            .iter()
            .any(|one| one.contains("a fault cannot be: at most 256")),
        "{problems:?}"
    );
}

#[test]
fn tokens_end_and_are_refreshed_and_an_edge_whose_clock_is_ahead_is_left() {
    let scenario = kept("control/clock-skew.toml");
    let run = simulate(&scenario, 1, Watch::ALL).ran;
    assert_eq!(run.problems(), Vec::<String>::new());
    assert_eq!(holds(&scenario, &run), Vec::<String>::new());
    let report = &run.players[0].report;
    let of = |edge: &str| {
        let all = report.fetches.iter().flat_map(|one| &one.attempts);
        let of_edge = all.filter(|one| one.edge == edge);
        let rejected = of_edge.filter(|one| one.code.as_deref() == Some("edge.token_rejected"));
        rejected.count()
    };
    assert!(of("ahead") > 0);
    assert_eq!(of("right"), 0);
    let refreshes = report.decisions.iter().filter(|one| one.kind == "refresh");
    assert!(refreshes.count() >= 4, "{:?}", report.decisions);
}

#[test]
fn an_edge_that_lost_its_control_plane_takes_no_new_sessions_and_keeps_those_it_has() {
    let text = "
        faults = [{ at_s = 5, edge = \"near\", fault = { kind = \"control_lost\" } }]
        players = [{ name = \"early\" }, { name = \"late\", starts_s = 40 }]
    ";
    let run = run(text);
    let of = |player: usize, edge: &str| {
        let report = &run.players[player].report;
        let edge = report.edges.iter().find(|one| one.id == edge);
        edge.map_or(0, |one| one.bytes)
    };
    assert!(
        of(0, "near") > of(0, "far"),
        "who plays from it already goes on"
    );
    assert_eq!(of(1, "near"), 0, "who comes later is not sent there");
    assert!(of(1, "far") > 0);
}

#[test]
fn loss_holds_a_connection_to_what_mathis_says_and_jitter_delays_answers() {
    let report = |link: &str| {
        let text = format!(
            "version = 1\nedges = [{{ name = \"one\", link = {{ rate_kbps = 50000, delay_ms = 25 }} }}]\nlast_mile = {link}\ntitle = {{ duration_s = 60 }}\n"
        );
        let scenario = Scenario::parse("x.toml".as_ref(), &text).unwrap().remove(0);
        simulate(&scenario, 1, Watch::ALL)
            .ran
            .players
            .remove(0)
            .report
    };
    let clean = report("{ delay_ms = 25 }");
    let lossy = report("{ delay_ms = 25, loss_ratio = 0.02 }");
    let rate = |report: &nearcast_protocol::report::SessionReport| {
        let pictures = report.segments.iter().filter(|one| one.bytes > 100_000);
        let sums = pictures.fold((0.0, 0.0), |(bits, spent), one| {
            let took = one.done_s - one.first_byte_s;
            (
                bits + u32::try_from(one.bytes).map_or(0.0, f64::from) * 8.0,
                spent + took,
            )
        });
        sums.0 / sums.1
    };
    // 1400 bytes each 100 ms, times 1.22 over the root of 0.02, is 0.97 Mbit/s; less where losses come by chance.
    let lossy = rate(&lossy);
    assert!((800_000.0..970_000.0).contains(&lossy), "{lossy}");
    assert!(rate(&clean) > 10_000_000.0);
    // As many, but eight in a row: a window is made smaller once for them.
    let bursty = report(
        "{ delay_ms = 25, burst_loss = { enter_ratio = 0.00255, leave_ratio = 0.125, loss_ratio = 1 } }",
    );
    let bursty = rate(&bursty);
    assert!(bursty > lossy * 2.0, "{bursty}");
    assert!(bursty < rate(&clean), "{bursty}");
    let jittery = report("{ delay_ms = 25, jitter_ms = 200 }");
    let ttfb =
        |report: &nearcast_protocol::report::SessionReport| report.edges[0].ttfb_ms.p95.unwrap();
    assert!(
        ttfb(&jittery) > ttfb(&clean) + 50.0,
        "{} {}",
        ttfb(&jittery),
        ttfb(&clean)
    );
}

#[test]
fn a_rate_that_a_fault_gives_a_link_outlasts_the_links_own_steps() {
    // 62 kB a second while the fault lasts, and more than a megabyte by the steps.
    let steps = "{ lasts_s = 3, rate_kbps = 12000 }, { lasts_s = 3, rate_kbps = 11000 }";
    let text = format!(
        "version = 1
        edges = [{{ name = \"one\", link = {{ delay_ms = 5, repeats = true, steps = [{steps}] }} }}]
        title = {{ duration_s = 60 }}
        faults = [{{ at_s = 10, lasts_s = 20, edge = \"one\", fault = {{ kind = \"rate\", rate_bps = 500000 }} }}]"
    );
    let scenario = Scenario::parse("x.toml".as_ref(), &text).unwrap().remove(0);
    let run = simulate(&scenario, 1, Watch::ALL).ran;
    let load = &run.load[0].bytes;
    let most_slow = load[11..29].iter().max();
    assert!(most_slow.is_some_and(|bytes| *bytes <= 70_000), "{load:?}");
    let most_after = load[30..].iter().max();
    assert!(most_after.is_some_and(|bytes| *bytes > 500_000), "{load:?}");
}

#[test]
fn a_link_that_is_told_to_delay_answers_delays_them_by_so_much() {
    let text = "version = 1
        edges = [{ name = \"one\", link = { delay_ms = 5 } }]
        last_mile = { delay_ms = 10 }
        title = { duration_s = 60 }
        faults = [{ at_s = 10, edge = \"one\", fault = { kind = \"delay\", delay_ms = 200 } }]";
    let scenario = Scenario::parse("x.toml".as_ref(), text).unwrap().remove(0);
    let run = simulate(&scenario, 1, Watch::ALL).ran;
    let media = run.players[0].report.fetches.iter();
    let media = media.filter(|fetch| fetch.kind == "media");
    let waits = media.map(|fetch| &fetch.attempts[0]).filter_map(|one| {
        let first = one.first_byte_s? - one.start_s;
        (one.start_s > 10.0 && !one.cold).then_some(first)
    });
    let waits: Vec<f64> = waits.collect();
    // 20 ms of them are the last mile's.
    let late = |wait: &f64| (0.22..0.23).contains(wait);
    assert!(waits.len() > 5 && waits.iter().all(late), "{waits:?}");
}

#[test]
fn playback_that_is_stopped_has_not_come_to_its_end() {
    let ended = |actions: &str| {
        let scenario = read(&format!("expect = [\"ended == 1\"]\n{actions}"));
        let run = simulate(&scenario, 1, Watch::ALL).ran;
        holds(&scenario, &run).is_empty()
    };
    assert!(ended(""));
    assert!(ended("actions = [{ at_s = 20, do = \"seek\", to_s = 40 }]"));
    assert!(!ended("actions = [{ at_s = 20, do = \"stop\" }]"));
    let pause = "actions = [{ at_s = 20, do = \"pause\" }]\nlimit_s = 90";
    assert!(!ended(pause), "it goes on");
}

#[test]
fn a_rebinding_kills_connections_silently_and_playback_goes_on() {
    let run = run("actions = [{ at_s = 20, do = \"rebind\" }]");
    let report = &run.players[0].report;
    assert_eq!((report.stall_count, run.players[0].report.ended), (0, true));
    let silent = report.fetches.iter().flat_map(|one| &one.attempts);
    let silent =
        silent.filter(|one| one.code.as_deref() == Some("edge_silent") && one.start_s < 25.0);
    assert!(silent.count() > 0, "connections that stood were given up");
}

#[test]
fn a_backend_that_is_gone_for_a_while_is_asked_again_while_the_viewer_waits() {
    let gone = read(
        "faults = [{ at_s = 0, lasts_s = 4, edge = \"backend\", fault = { kind = \"kill\" } }]",
    );
    for seed in 0..20 {
        let run = simulate(&gone, seed, Watch::ALL).ran;
        let startup_s = run.players[0].report.startup_s;
        // Asked again after two seconds and a half at the latest.
        assert!(
            startup_s.is_some_and(|at| (4.0..7.0).contains(&at)),
            "{seed}: {startup_s:?}"
        );
    }
}

/// What a session's attempts to be granted came to, with a fault of the backend.
fn asked(kind: &str, on: &str) -> (Ran, Vec<String>) {
    let fault = format!("fault = {{ kind = \"{kind} }}, on = {{ {on} }}");
    let scenario = read(&format!("faults = [{{ edge = \"backend\", {fault} }}]"));
    let run = simulate(&scenario, 1, Watch::ALL).ran;
    let fetches = run.players[0].report.fetches.iter();
    let attempts = fetches.flat_map(|fetch| &fetch.attempts);
    let codes = attempts.filter_map(|attempt| attempt.code.clone());
    let codes = codes.filter(|code| code.starts_with("backend.") || code.starts_with("play."));
    let codes = codes.collect();
    (run, codes)
}

#[test]
fn a_session_that_the_backend_says_is_over_is_replaced_once() {
    let play = |count| format!("object = \"play\", count = {count}");
    let (run, codes) = asked("token_expired\"", &play(1));
    assert_eq!(codes, Vec::<String>::new());
    assert!(run.players[0].report.ended && run.players[0].report.error.is_none());
    let (run, _) = asked("token_expired\"", &play(2));
    let error = run.players[0].report.error.as_ref().unwrap();
    assert_eq!(error.code, "play.session_expired");
    assert_eq!(run.receipts.len(), 2);
}

#[test]
fn handshakes_with_the_backend_fail_and_sealed_requests_make_none() {
    let (run, _) = asked("tls\", problem = \"expired\"", "count = 2");
    let error = run.players[0].report.error.as_ref().unwrap();
    assert_eq!(error.code, "backend.tls");
    // The first thing that is asked for is a session; nobody asks again.
    assert_eq!(run.receipts.len(), 1);
    assert_eq!(run.receipts[0].path, None);
    let (run, codes) = asked("tls\", problem = \"stall\"", "count = 1");
    assert_eq!(codes, ["backend.timeout"]);
    let startup_s = run.players[0].report.startup_s.unwrap();
    assert!((3.5..5.0).contains(&startup_s), "{startup_s}");
    // Once a session is open, no more handshakes are made: not for a sealed request either that connects anew.
    let run = self::run("
        backend = { refresh_after_s = 10 }
        faults = [
            { edge = \"backend\", fault = { kind = \"reset\" }, on = { object = \"refresh\", count = 1 } },
            { at_s = 5, edge = \"backend\", may_miss = true, fault = { kind = \"tls\", problem = \"expired\" } },
        ]
    ");
    let hit: Vec<&str> = run
        .receipts
        .iter()
        .filter_map(|one| one.id.as_deref())
        .collect();
    assert_eq!((hit, run.players[0].report.ended), (vec!["reset"], true));
}

#[test]
fn an_answer_of_the_backend_takes_as_long_as_its_bytes_at_its_rate() {
    let play = "object = \"play\", after = 0.5, count = 2";
    let (run, codes) = asked("trickle\", rate_bps = 16000", play);
    assert_eq!(codes, Vec::<String>::new());
    assert_eq!(run.receipts[0].offset, Some(2_000));
    // A second for the rest of it.
    let startup_s = run.players[0].report.startup_s.unwrap();
    assert!((1.0..2.0).contains(&startup_s), "{startup_s}");
    let (_, codes) = asked("trickle\", rate_bps = 200", play);
    assert_eq!(codes, ["backend.timeout"]);
}

#[test]
fn a_run_that_is_to_stop_ends_soon_and_has_no_outcome() {
    let scenario = kept("failures/edge-death.toml");
    let asked = Cell::new(0);
    let stops = || {
        asked.set(asked.get() + 1);
        asked.get() == 2
    };
    assert!(simulate_unless(&scenario, 1, Watch::ALL, stops).is_none());
    assert_eq!(asked.get(), 2);
    let to_its_end = simulate_unless(&scenario, 1, Watch::ALL, || false).unwrap();
    let as_ever = simulate(&scenario, 1, Watch::ALL);
    assert_eq!(to_its_end.logs, as_ever.logs);
}

#[test]
fn a_segment_that_comes_a_hair_late_is_no_stall() {
    // Seeds with which one came 20 to 40 ms after the buffer's end, nearly all of it before.
    for (name, seed) in [
        ("hysteresis", 105),
        ("ramp", 50),
        ("ramp", 165),
        ("steps", 152),
    ] {
        let scenario = kept(&format!("characterisation/{name}.toml"));
        let run = simulate(&scenario, seed, Watch::ALL);
        assert_eq!(run.ran.problems(), Vec::<String>::new());
        assert_eq!(run.ran.players[0].report.stalls, [], "{name} {seed}");
    }
}

/// All kept scenarios but the one with thousands of viewers.
fn all_kept() -> Vec<Scenario> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")];
    let mut all = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            all.extend(Scenario::read(&path).unwrap());
        }
    }
    all.retain(|scenario| scenario.sessions() < 100);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// Whoever is not missed was not needed. What these try besides is noticed by mutations (`make mutants`).
#[test]
fn without_edges_that_are_well_failures_are_noticed() {
    let mut noticed = 0;
    let mut unnoticed = Vec::new();
    for scenario in all_kept() {
        let Some(left) = scenario.without_healthy_edges() else {
            continue;
        };
        let run = simulate(&left, 0, Watch::ALL).ran;
        if holds(&left, &run).is_empty() && run.problems().is_empty() {
            unnoticed.push(scenario.name);
        } else {
            noticed += 1;
        }
    }
    assert_eq!(
        unnoticed,
        [
            // The edge that has lost the control plane serves all the same.
            "control-plane",
            // What is buffered lasts for as long as the edge is away.
            "flapping",
        ]
    );
    assert!(noticed >= 160, "{noticed}");
}

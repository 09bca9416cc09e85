//! Scenario files: those that are kept can be read, and what is wrong with others is told.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests may panic as tests do"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use nearcast_appliance::fault::Fault;
use nearcast_scenario::{Happening, Ran, Scenario, scenario_schema};

/// Everything that a file may hold, once.
const ALL: &str = include_str!("all.toml");

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut open = vec![folder];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    files
}

#[test]
fn kept_scenarios_can_be_read_and_each_says_what_must_hold() {
    for file in kept() {
        let scenarios = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        for scenario in scenarios {
            assert!(!scenario.expectations.is_empty(), "{}", scenario.name);
            assert!(!scenario.about.is_empty(), "{}", file.display());
        }
    }
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_no_unknown_key() {
    let schema = scenario_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = |text: &str| -> serde_json::Value {
        let table: toml::Value = toml::from_str(text).unwrap();
        serde_json::to_value(table).unwrap()
    };
    let mut texts: Vec<String> = kept()
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    texts.push(ALL.to_owned());
    for text in &texts {
        let errors: Vec<String> = validator
            .iter_errors(&value(text))
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
    }
    for (from, to) in [
        ("rate_kbps", "rate"),
        ("loss_ratio = 0.01", "loss_ratio = 7"),
        ("kind = \"kill\"", "kind = \"kil\""),
        ("version = 1", ""),
        ("seeds_max = 7", "seeds_max = 0"),
        ("modes = [\"sim\", \"app\"]", "modes = []"),
    ] {
        let text = ALL.replacen(from, to, 1);
        assert_ne!(text, ALL);
        assert!(!validator.is_valid(&value(&text)), "{to}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line_and_what_would_be_right() {
    let cases = [
        ("rate_kbps = 12000", "rate = 12000"),
        ("rate_kbps = 12000", "rate_mbps = 12"),
        ("rate_kbps = 12000", "rate_kbps = -12000"),
        ("rate_kbps = 12000", "rate_kbps = \"fast\""),
        ("delay_ms = 5", "delay = 5"),
        ("loss_ratio = 0.01", "loss_ratio = 1.5"),
        ("jitter_ms = 3", "jiter_ms = 3"),
        ("edge = \"in_use\"", "edge = \"neer\""),
        ("edge = \"in_use\"", "edge = \"elsewhere\""),
        ("name = \"far\"", "name = \"near\""),
        ("name = \"far\"", "name = \"all\""),
        ("stalled_s == 0", "stalled == 0"),
        ("stalled_s == 0", "stalled_s < 0"),
        ("stalled_s == 0", "stalled_s >= 0"),
        ("stalled_s == 0", "stalled_s"),
        ("served.near > 0.1", "served.nar > 0.1"),
        ("version = 1", "version = 2"),
        ("version = 1", ""),
        ("kind = \"kill\"", "kind = \"kil\""),
        ("status = 503", "status = 200"),
        ("at_s = 30", "at = 30"),
        ("to_s = 60", ""),
        ("do = \"pause\"", "do = \"paws\""),
        ("player = \"second\"", "player = \"secnd\""),
        ("after = 0.5", "after = 2"),
        ("object = \"refresh\"", "object = \"media\""),
        ("every_s = 40", "every_s = 5"),
        ("segment_to = 9", "segment_to = 3"),
        ("duration_s = 120", "duration_s = 0"),
        (
            "lasts_s = 7, rate_kbps = 4000",
            "lasts_s = 0, rate_kbps = 4000",
        ),
        ("repeats = true", "repeats = true\ntrace = \"none.csv\""),
        ("[[edges]]\nname = \"near\"", "[[edges\nname = \"near\""),
    ];
    let cases = cases.map(|(from, to)| {
        let text = ALL.replacen(from, to, 1);
        assert_ne!(text, ALL, "{from}");
        (format!("{from} -> {to}"), text)
    });
    insta::assert_snapshot!(refusals(cases));
}

/// What is told of files that are wrong.
fn refusals(cases: impl IntoIterator<Item = (String, String)>) -> String {
    let mut told = String::new();
    for (case, text) in cases {
        match Scenario::parse("s.toml".as_ref(), &text) {
            Ok(_) => writeln!(told, "{case}\nACCEPTED\n").unwrap(),
            Err(error) => writeln!(told, "{case}\n{error}\n").unwrap(),
        }
    }
    assert!(!told.contains("ACCEPTED"), "{told}");
    told
}

/// Two edges and a title of a minute: the run ends after three.
const TWO: &str = r#"version = 1
edges = [{ name = "near" }, { name = "far" }]
title = { duration_s = 60 }
"#;

/// What is told of files that hold this beside two edges.
fn refusals_beside(cases: &[&str]) -> String {
    let cases = cases.iter();
    refusals(cases.map(|case| ((*case).to_owned(), format!("{TWO}{case}\n"))))
}

#[test]
fn faults_that_could_not_be_told_apart_or_never_happen_are_refused() {
    let on = |edge: &str, fault: &str, on: &str| {
        format!("[[faults]]\nedge = \"{edge}\"\nfault = {{ kind = \"{fault} }}\non = {{ {on} }}")
    };
    let cases = [
        "[[faults]]\nid = \"a\"\nedge = \"near\"\nfault = { kind = \"kill\" }\n\n[[faults]]\nid = \"a\"\nedge = \"far\"\nfault = { kind = \"stop\" }".to_owned(),
        "faults = [{ id = \"cell\", edge = \"near\", fault = { kind = \"kill\" } }]\nmatrix = { edge = \"near\", objects = [], shapes = [] }".to_owned(),
        // Nobody looks at these.
        on("near", "tls\", problem = \"expired\"", "count = 1, track = \"video\""),
        on("all", "refuse\"", "object = \"media\""),
        on("in_use", "udp_blocked\"", "after = 0"),
        on("near", "dns\", problem = \"fails\"", "segment_from = 4"),
        on("near", "dns\", problem = \"fails\"", "path_contains = \"v3\""),
        on("backend", "refuse\"", "object = \"play\""),
        on("backend", "tls\", problem = \"expired\"", "client = \"player\""),
        on("near", "says_well\"", "representation = \"v3\""),
        on("near", "control_lost\"", "count = 1"),
        on("backend", "misrank\"", "object = \"steering\""),
        // Nobody is selected.
        on("near", "hang\"", "object = \"manifest\", track = \"video\""),
        on("near", "hang\"", "object = \"init\", segment_to = 4"),
        on("near", "hang\"", "probability = 0"),
        on("near", "hang\"", "count = 0"),
        on("near", "hang\"", "client = \"nobody\""),
        format!("players = [{{ name = \"one\" }}, {{ name = \"many\", count = 3 }}]\n{}", on("near", "hang\"", "client = \"many-3\"")),
        // The backend does not do that.
        on("backend", "rate\", rate_bps = 1000", ""),
        on("backend", "delay\", delay_ms = 1000", ""),
        on("backend", "wrong_range\"", "object = \"play\""),
        on("backend", "udp_blocked\"", "count = 1"),
        on("backend", "dns\", problem = \"fails\"", ""),
        on("backend", "control_lost\"", ""),
        on("near", "misrank\"", ""),
        on("near", "stale_manifest\"", ""),
        on("near", "stale_manifest\"", "object = \"media\""),
        // It has ended before, or the run has.
        "[[faults]]\nedge = \"near\"\nlasts_s = 0\nfault = { kind = \"hang\" }".to_owned(),
        "faults = [{ at_s = 180, edge = \"near\", fault = { kind = \"hang\" } }]".to_owned(),
        "limit_s = 50\n[[actions]]\ndo = \"pause\"\nat_s = 60".to_owned(),
        "players = [{ starts_s = 100 }, { name = \"late\", starts_s = 130 }]\n[[actions]]\ndo = \"pause\"\nplayer = \"late\"\nat_s = 60".to_owned(),
        "[matrix]\nedge = \"near\"\nat_s = 200\n[[matrix.objects]]\nname = \"o\"\non = {}\n[[matrix.shapes]]\nfault = { kind = \"kill\" }".to_owned(),
        // A cell is of its shape.
        "[matrix]\nedge = \"near\"\n[[matrix.objects]]\nname = \"o\"\non = {}\n[[matrix.shapes]]\nfault = { kind = \"status\", status = 200 }".to_owned(),
        "[matrix]\nedge = \"near\"\n[[matrix.objects]]\nname = \"o\"\non = { count = 0 }\n[[matrix.shapes]]\nfault = { kind = \"kill\" }".to_owned(),
    ];
    insta::assert_snapshot!(refusals_beside(&cases.each_ref().map(String::as_str)));
}

#[test]
fn what_no_run_can_do_is_refused() {
    let matrix = |object: &str, shapes: &str| {
        format!(
            "[matrix]\nedge = \"near\"\n[[matrix.objects]]\nname = \"picture\"\non = {{ object = \"media\" }}\n{object}\n{shapes}"
        )
    };
    let hang = "[[matrix.shapes]]\nfault = { kind = \"hang\" }\n";
    let matrices = [
        matrix("", ""),
        matrix("[[matrix.objects]]\nname = \"picture\"\non = {}", hang),
        matrix("", &format!("{hang}count = 1\n{hang}")),
        matrix("", &format!("{hang}objects = [\"sound\"]")),
        matrix("", &format!("{hang}objects = []")),
        matrix("", &format!("{hang}lasts_s = 0")),
    ];
    let cases = [
        "actions = [{ at_s = 1, do = \"seek\", to_s = 61 }]",
        "actions = [{ at_s = 1, do = \"pause\", to_s = 6 }]",
        "actions = [{ at_s = 1, do = \"cap\", track = 1 }]",
        "actions = [{ at_s = 1, do = \"subtitles\", rate_kbps = 900 }]",
        "players = [{ start_at_s = 60 }]",
        "players = [{ starts_s = 180 }]",
        "[[players]]\nname = \"many\"\ncount = 0",
        "[[players]]\nname = \"slow\"\nrace_width = 0",
        "seeds_max = 0",
        "modes = []",
        "limit_s = 0",
        "[backend]\ntoken_ttl_s = 60",
        "expect = [\"played_s > 500\"]",
        "expect = [\"ended == 0.5\"]",
        "expect = [\"load_ratio.max <= 1.2\"]",
    ];
    let cases = cases.into_iter().map(str::to_owned).chain(matrices);
    let cases = cases.map(|case| (case.clone(), format!("{TWO}{case}\n")));
    let edges = [
        "edges = []",
        "[[edges]]\nname = \"a\"\nprefixes = [\"10.0.0.0/8\", \"10.0.0.0/33\"]",
        "[[edges]]\nname = \"a\"\nprefixes = [\"everywhere\"]",
        "[[edges]]\nname = \"a\"\nprefixes = [\"10.0.0.0/+8\"]",
        "[[edges]]\nname = \"a\"\nclock_skew_s = nan",
        "[[edges]]\nname = \"a\"\nclock_skew_s = -inf",
        "[[edges]]\nname = \"a\"\ndistance_km = -4",
        "expect = [\"edge_switches >= 1\"]\nedges = [{ name = \"a\" }]",
    ];
    let edges = edges.map(|case| (case.to_owned(), format!("version = 1\n{case}\n")));
    insta::assert_snapshot!(refusals(cases.chain(edges)));
}

#[test]
fn what_toml_refuses_is_told_in_words_of_the_format() {
    let cases = [
        "limit_s = \"long\"",
        "seeds_max = -3",
        "seeds_max = 2.5",
        "modes = \"sim\"",
        "modes = [3]",
        "expect = \"stalled_s == 0\"",
        "expect = [3]",
        "about = 3",
        "last_mile = { rate_kbps = 100, steps = \"x\" }",
        "last_mile = \"fast\"",
        "last_mile = { queue_bytes = 1.5 }",
        "last_mile = { queue_bytes = -1 }",
        "last_mile = { repeats = 1 }",
        "last_mile = { burst_loss = { enter_ratio = 0.1 } }",
        "last_mile = { steps = [{ lasts_s = 1 }] }",
        "last_mile = { rate_kbps = 5, steps = [{ lasts_s = 1, rate_kbps = 4 }] }",
        "[last_mile]\nrate_kbps = 5\ntrace = \"none.csv\"",
        "[last_mile]\ndelay_ms = 5\nmtu_bytes = 100",
        "faults = [{ edge = \"near\", fault = \"kill\" }]",
        "faults = [{ edge = \"near\", fault = { kind = 3 } }]",
        "faults = [{ edge = \"near\", fault = { } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"hang\", delay_ms = 5 } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"status\", status = 99999 } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"status\" } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"trickle\", rate_bps = -4 } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"trickle\" } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"late_first_byte\" } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"tls\" } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"dns\" } }]",
        "[[faults]]\nedge = \"near\"\n[faults.fault]\nkind = \"dns\"",
        "faults = [{ edge = \"near\" }]",
        "faults = [{ fault = { kind = \"kill\" } }]",
        "actions = [{ do = \"pause\" }]",
        "actions = [{ at_s = 3 }]",
        "actions = [{ at_s = 3, do = 3 }]",
        "actions = [{ at_s = 3, do = { kind = \"seek\", to_s = 6 } }]",
        "players = [{ name = \"one\" }, { }, { }]",
        "last_mile = { delay_ms = nan }",
        "players = [{ abr = 3 }]",
        "matrix = { edge = \"near\", objects = [], shapes = [] }",
        "[matrix]\nedge = \"near\"",
        "matrix = { edge = \"near\", objects = [{ name = \"x\" }], shapes = [] }",
        "version = 1",
    ];
    let cases = cases.map(|case| (case.to_owned(), format!("{TWO}{case}\n")));
    let bare = [
        "",
        "version = 1",
        "version = \"1\"\nedges = [{ name = \"a\" }]",
        "version = 1\nedges = { name = \"a\" }",
        "version = 1\nedges = [{ site = \"a\" }]",
        "version = 1\nedges = [{ name = \"a\", http3 = \"yes\" }]",
    ];
    let bare = bare.map(|case| (case.to_owned(), case.to_owned()));
    insta::assert_snapshot!(refusals(cases.into_iter().chain(bare)));
}

#[test]
fn a_file_that_is_no_text_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, b"version = 1\nname = \"caf\xe9\"\n").unwrap();
    let error = Scenario::read(&file).unwrap_err();
    assert_eq!((error.line, &*error.what), (Some(2), "this is no UTF-8"));
    let missing = Scenario::read(&folder.path().join("y.toml")).unwrap_err();
    assert!(missing.what.starts_with("cannot be read"), "{missing}");
}

#[test]
fn what_is_only_unusual_is_taken() {
    for text in [
        "actions = [{ at_s = 1, do = \"seek\", to_s = 60 }]",
        "backend = { token_ttl_s = 25, refresh_after_s = 3000 }",
        "expect = [\"played_s >= 60\", \"ended.mean > 0.5\"]",
        "players = [{ start_at_s = 59, starts_s = 179 }]",
        "players = [{ count = 3 }]\nfaults = [{ edge = \"near\", fault = { kind = \"refuse\" }, on = { client = \"player-2\" } }]",
        "faults = [{ edge = \"near\", fault = { kind = \"hang\" }, on = { client = \"player\" } }]",
        "faults = [{ edge = \"backend\", fault = { kind = \"trickle\", rate_bps = 1000 }, on = { object = \"play\", after = 0.5 } }]",
        "faults = [{ edge = \"backend\", fault = { kind = \"longer\" } }]",
        "faults = [{ edge = \"backend\", fault = { kind = \"redirect_loop\" }, on = { object = \"refresh\" } }]",
        "faults = [{ edge = \"backend\", fault = { kind = \"refuse\" }, on = { count = 2 } }]",
        "faults = [{ edge = \"backend\", fault = { kind = \"tls\", problem = \"stall\" }, on = { count = 1, probability = 0.5 } }]",
    ] {
        let read = Scenario::parse("s.toml".as_ref(), &format!("{TWO}{text}\n"));
        assert!(read.is_ok(), "{read:?}");
    }
    let prefixes = "version = 1\nedges = [{ name = \"a\", prefixes = [\"10.1.2.3\", \"::/0\", \"fd00::/8\"] }]\n";
    assert!(Scenario::parse("s.toml".as_ref(), prefixes).is_ok());
}

#[test]
fn faults_without_a_name_are_called_by_their_kind_and_no_two_alike() {
    let fault = |id: &str, kind: &str| {
        format!("{{ {id} edge = \"near\", fault = {{ kind = \"{kind}\" }} }}")
    };
    let faults = [
        fault("", "hang"),
        fault("id = \"hang-2\",", "kill"),
        fault("", "hang"),
        fault("", "reset"),
        fault("", "hang"),
    ];
    let text = format!("{TWO}faults = [{}]\n", faults.join(", "));
    let scenario = Scenario::parse("s.toml".as_ref(), &text).unwrap().remove(0);
    let names: Vec<&str> = scenario.faults.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(names, ["hang", "hang-2", "hang-3", "reset", "hang-4"]);
}

#[test]
fn what_is_to_hit_by_chance_must_do_so_with_one_of_many_seeds() {
    let text = |may_miss: &str| {
        format!(
            "{TWO}faults = [{{ edge = \"near\", fault = {{ kind = \"hang\" }}, on = {{ probability = 0.01 }}, may_miss = {may_miss} }}]\n"
        )
    };
    let read = |text: String| Scenario::parse("s.toml".as_ref(), &text).unwrap().remove(0);
    let scenario = read(text("false"));
    let receipts = |count| BTreeMap::from([("hang".to_owned(), count)]);
    let never = scenario.never_struck(20, &BTreeMap::new());
    assert_eq!(never.len(), 1);
    assert!(
        never[0].starts_with("the fault `hang` took effect with none of 20 seeds: raise `probability` or run more seeds"),
        "{never:?}"
    );
    let none: [String; 0] = [];
    assert_eq!(scenario.never_struck(20, &receipts(1)), none);
    assert_eq!(scenario.never_struck(1, &BTreeMap::new()), none);
    assert_eq!(read(text("true")).never_struck(20, &BTreeMap::new()), none);
    // With one seed alone it may miss.
    let ran = Ran::new(&scenario, Vec::new(), Vec::new(), Vec::new());
    assert_eq!(ran.problems(), none);
}

#[test]
fn what_a_backend_does_can_be_asked_of_it() {
    for kind in [
        "stop\"",
        "kill\"",
        "refuse\"",
        "late_first_byte\", delay_ms = 5",
        "status\", status = 503",
        "token_expired\"",
        "portal\"",
        "gzip_bomb\"",
        "hang\"",
        "reset\"",
        "truncate\"",
        "corrupt\"",
        "zeros\"",
        "bad_text\"",
        "misrank\"",
    ] {
        let text =
            format!("{TWO}faults = [{{ edge = \"backend\", fault = {{ kind = \"{kind} }} }}]\n");
        let read = Scenario::parse("s.toml".as_ref(), &text);
        assert!(read.is_ok(), "{read:?}");
    }
}

#[test]
fn a_matrix_makes_a_scenario_of_each_cell_and_names_what_it_does_not_know() {
    let text = r#"
version = 1
expect = ["ended == 1"]
edges = [{ name = "a" }]
[matrix]
edge = "a"
objects = [
    { name = "picture", on = { object = "media", track = "video" } },
    { name = "manifest", on = { object = "manifest" }, expect = ["startup_s < 2"] },
]
shapes = [
    { fault = { kind = "reset" }, after = [0, 0.5, 1] },
    { fault = { kind = "status", status = 404 }, objects = ["picture"] },
]
"#;
    let cells = Scenario::parse("m.toml".as_ref(), text).unwrap();
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "m: reset of picture, first byte",
            "m: reset of picture, after 0.5",
            "m: reset of picture, last byte",
            "m: reset of manifest, first byte",
            "m: reset of manifest, after 0.5",
            "m: reset of manifest, last byte",
            "m: 404 of picture",
        ]
    );
    assert_eq!(cells[3].expectations.len(), 2);
    assert_eq!(cells[6].expectations.len(), 1);
    for (from, to, says) in [
        ("[\"picture\"]", "[\"pictur\"]", "did you mean `picture`"),
        ("edge = \"a\"", "edge = \"b\"", "there is no edge `b`"),
        ("after = [0, 0.5, 1]", "after = [0, 5, 1]", "is no share"),
    ] {
        let error = Scenario::parse("m.toml".as_ref(), &text.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_seed_decides_when_things_happen_and_nothing_else_moves_them() {
    let text =
        |faults: &str| format!("version = 1\nedges = [{{ name = \"a\" }}]\nfaults = [{faults}]\n");
    let one =
        "{ id = \"one\", at_s = 5, within_s = 50, edge = \"a\", fault = { kind = \"kill\" } }";
    let two = "{ id = \"two\", at_s = 5, within_s = 50, lasts_s = 1, every_s = 9, edge = \"a\", fault = { kind = \"stop\" } }";
    let read = |text: String| Scenario::parse("x.toml".as_ref(), &text).unwrap().remove(0);
    let both = read(text(&format!("{one}, {two}")));
    let alone = read(text(one));
    let killed_at = |scenario: &Scenario, seed| {
        let schedule = scenario.schedule(seed);
        let killed = schedule.iter().find(|one| match &one.what {
            Happening::Order(_, order) => order.faults.iter().any(|rule| rule.fault == Fault::Kill),
            Happening::Viewer(..) => false,
        });
        killed.unwrap().at
    };
    let times: Vec<_> = (0..20).map(|seed| killed_at(&both, seed)).collect();
    let again: Vec<_> = (0..20).map(|seed| killed_at(&alone, seed)).collect();
    assert_eq!(times, again);
    assert!(times.windows(2).any(|two| two[0] != two[1]), "{times:?}");
    assert!(
        times
            .iter()
            .all(|at| (5.0..=55.0).contains(&at.as_secs_f64()))
    );
    let stops = both.schedule(1);
    let removals = stops.iter().filter(|one| match &one.what {
        Happening::Order(_, order) => order.remove == ["two"],
        Happening::Viewer(..) => false,
    });
    assert!(removals.count() > 10, "each time it is over again");
}

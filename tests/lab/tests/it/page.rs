//! The page, as a browser shows it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::browser::Opened;

/// A name that would do harm where it is taken for markup.
const HOSTILE: &str =
    "<img src=x onerror=window.harmed=1></script><script>window.harmed=1</script>";

/// Both edges stand still for longer than the buffer lasts.
fn outage(name: &str, rate_kbps: u32) -> String {
    format!(
        r#"
version = 1
name = "{name}"
about = "Nobody answers for <b>a while</b>."
expect = ["stalled_s == 0", "startup_s < 1.5"]
title = {{ duration_s = 100 }}
[[edges]]
name = "near"
link = {{ rate_kbps = {rate_kbps}, delay_ms = 5 }}
[[edges]]
name = "far-away"
link = {{ rate_kbps = {rate_kbps}, delay_ms = 15 }}
distance_km = 300
[[players]]
name = "one"
[[players]]
name = "two"
starts_s = 2
[[faults]]
id = "outage"
at_s = 20
lasts_s = 45
edge = "all"
fault = {{ kind = "stop" }}
"#
    )
}

const MATRIX: &str = r#"
version = 1
name = "cells"
expect = ["stalled_s == 0", "startup_s < 1.5"]
title = { duration_s = 20 }
[[edges]]
name = "near"
link = { rate_kbps = 20000, delay_ms = 5 }
[[edges]]
name = "far"
link = { rate_kbps = 20000, delay_ms = 15 }
[matrix]
at_s = 1
edge = "in_use"
objects = [
    { name = "picture", on = { object = "media", track = "video" } },
    { name = "subtitles", on = { object = "subtitle" } },
]
[[matrix.shapes]]
fault = { kind = "reset" }
after = [0.0, 0.5]
"#;

fn lab(room: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
        .args(arguments)
        .current_dir(room)
        .output()
        .unwrap()
}

/// Where the plot of a session's chart is, scrolled to the middle of the window: left, top, width, height.
async fn plot(opened: &Opened, title: &str) -> [f64; 4] {
    let script = format!(
        "(() => {{ const over = {}.querySelector('.u-over'); over.scrollIntoView({{ block: 'center' }}); \
         const rect = over.getBoundingClientRect(); return [rect.left, rect.top, rect.width, rect.height]; }})()",
        chart(title)
    );
    opened.value(&script).await
}

/// An expression for the first session's chart of a title.
fn chart(title: &str) -> String {
    format!(
        "[...document.querySelectorAll('.chart-head')].find((head) => head.firstChild.textContent === '{title}').nextElementSibling"
    )
}

/// How many pixels of a chart have a colour of the page's style, between two shares of its height.
async fn pixels(opened: &Opened, title: &str, color: &str, [from, to]: [f64; 2]) -> u32 {
    let script = format!(
        "(() => {{ const canvas = {}.querySelector('canvas'); const ink = getComputedStyle(document.documentElement)\
         .getPropertyValue('--{color}').trim(); const wanted = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16)); \
         const top = Math.round(canvas.height * {from}); const height = Math.round(canvas.height * {to}) - top; \
         const copy = new OffscreenCanvas(canvas.width, height).getContext('2d', {{ willReadFrequently: true }}); \
         copy.drawImage(canvas, 0, -top); const data = copy.getImageData(0, 0, canvas.width, height).data; \
         let count = 0; for (let at = 0; at < data.length; at += 4) {{ \
         if (wanted.every((part, place) => Math.abs(data[at + place] - part) < 3) && data[at + 3] > 250) count++; }} return count; }})()",
        chart(title)
    );
    opened.value(&script).await
}

/// Moves the mouse down through a chart at a moment until something is said that holds a text.
async fn hover(opened: &Opened, title: &str, share: f64, text: &str) -> String {
    let [left, top, width, height] = plot(opened, title).await;
    let (mut said, mut others) = (String::new(), Vec::new());
    let mut y = top + 1.0;
    while y < top + height && !said.contains(text) {
        opened.point(left + width * share, y).await;
        others.push(said);
        said = opened
            .value("document.querySelector('#tip').hidden ? '' : document.querySelector('#tip').innerText")
            .await;
        y += 3.0;
    }
    assert!(
        said.contains(text),
        "nothing in {title} says {text:?}: {others:?}"
    );
    said
}

#[tokio::test]
async fn a_timeline_is_drawn_and_says_why_and_asks_nobody() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("outage.toml"), outage(HOSTILE, 20_000)).unwrap();
    let done = lab(
        room.path(),
        &[
            "run",
            "outage.toml",
            "--html",
            "page.html",
            "--json",
            "all.json",
        ],
    );
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(room.path().join("all.json")).unwrap()).unwrap();
    let run = &report["scenarios"][0]["runs"][0];
    let player = &run["players"][0]["report"];

    let opened = Opened::file(&room.path().join("page.html")).await;
    opened
        .until("document.querySelectorAll('.session canvas').length === 11")
        .await;
    let titles: Vec<String> = opened
        .value("[...document.querySelector('.session:not(.all)').querySelectorAll('.chart-title')].map((title) => title.textContent)")
        .await;
    assert_eq!(
        titles,
        [
            "Rate, Mbit/s",
            "Buffer level, s",
            "Rung",
            "Edges",
            "Decisions"
        ]
    );
    let heading: String = opened
        .value("document.querySelector('h2').textContent")
        .await;
    assert_eq!(heading, HOSTILE);

    // Lines and bars are there: of both edges, one of which was left for the other.
    for (title, color) in [
        ("Load, Mbit/s", "link-1"),
        ("Rate, Mbit/s", "used"),
        ("Buffer level, s", "audio"),
        ("Rung", "video"),
        ("Decisions", "failed"),
    ] {
        let count = pixels(&opened, title, color, [0.0, 1.0]).await;
        assert!(count > 20, "{title}: {count} pixels of {color}");
    }
    let lanes = 3; // the backend and two edges
    for lane in 1..lanes {
        let part = [lane, lane + 1].map(|part| f64::from(part) / f64::from(lanes) * 0.78);
        let count = pixels(&opened, "Edges", "failed", part).await;
        assert!(count > 20, "lane {lane}: {count} pixels of failed attempts");
    }
    assert!(pixels(&opened, "Edges", "ok", [0.0, 1.0]).await > 200);
    assert!(pixels(&opened, "Edges", "fault", [0.0, 1.0]).await > 10);

    // What is under the mouse is told.
    let end = opened.value::<f64>("Math.max(...JSON.parse(document.querySelector('#run-0').textContent).players.map((one) => one.begins_s + Math.max(one.report.wall_s, one.report.buffer.at(-1)[0])))").await;
    let decisions = player["decisions"].as_array().unwrap();
    let failover = decisions.iter().rfind(|one| one["kind"] == "failover");
    let failover = failover.unwrap();
    let at = failover["at_s"].as_f64().unwrap() / end;
    let said = hover(&opened, "Decisions", at, failover["why"].as_str().unwrap()).await;
    assert!(said.starts_with("failover: "), "{said}");
    let receipt = &run["receipts"][0];
    let said = hover(
        &opened,
        "Edges",
        receipt["at_s"].as_f64().unwrap() / end,
        "fault: outage (stop)",
    )
    .await;
    assert!(said.contains("at 20 s"), "{said}");
    let attempt = hover(&opened, "Edges", 5.0 / end, "first byte after").await;
    assert!(
        attempt.contains("video v") && attempt.contains("from byte 0 on"),
        "{attempt}"
    );
    let stall = &player["stalls"].as_array().unwrap().last().unwrap();
    let middle = stall["at_s"].as_f64().unwrap() + stall["duration_s"].as_f64().unwrap() / 2.0;
    hover(&opened, "Rate, Mbit/s", middle / end, "stalled for").await;

    // The same in words, for those who see no chart.
    opened
        .until("document.querySelector('.lists details[open] tbody tr')")
        .await;
    opened.write(".lists input[type=search]", "failover").await;
    let (shown, fits): (usize, usize) = opened
        .value("(() => { const rows = [...document.querySelector('.lists table').tBodies[0].rows]; return [rows.length, rows.filter((row) => row.textContent.includes('failover')).length]; })()")
        .await;
    assert!(
        shown > 0 && shown == fits && shown < decisions.len(),
        "{shown} rows, {fits} fit"
    );

    // Other colours, and a phone.
    let light: String = opened
        .value("getComputedStyle(document.body).backgroundColor")
        .await;
    let drawn = pixels(&opened, "Buffer level, s", "audio", [0.0, 1.0]).await;
    opened.screen(390, "dark").await;
    opened
        .until("document.querySelector('.uplot').clientWidth < 390")
        .await;
    let dark: String = opened
        .value("getComputedStyle(document.body).backgroundColor")
        .await;
    assert_ne!(light, dark);
    assert!(pixels(&opened, "Buffer level, s", "audio", [0.0, 1.0]).await > drawn / 8);
    let wide: u32 = opened.value("document.scrollingElement.scrollWidth").await;
    assert!(wide <= 390, "the page is {wide} pixels wide on a phone");

    let harmed: bool = opened
        .value("'harmed' in window || !!document.querySelector('img, b')")
        .await;
    assert!(!harmed, "a name was taken for markup");
    let heard = opened.close().await;
    assert!(heard.complaints.is_empty(), "{:?}", heard.complaints);
    let page = format!(
        "file://{}",
        room.path()
            .canonicalize()
            .unwrap()
            .join("page.html")
            .display()
    );
    let beside = heard
        .requests
        .iter()
        .filter(|url| **url != page && !url.starts_with("data:"));
    assert_eq!(beside.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(heard.requests.contains(&page), "requests are heard of");
}

/// How far to the right a chart has a colour of the page's style, as a share of its time axis.
async fn rightmost(opened: &Opened, title: &str, color: &str) -> f64 {
    let script = format!(
        "(() => {{ const chart = {}; const canvas = chart.querySelector('canvas'); \
         const ink = getComputedStyle(document.documentElement).getPropertyValue('--{color}').trim(); \
         const wanted = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16)); \
         const [box, over] = [canvas, chart.querySelector('.u-over')].map((one) => one.getBoundingClientRect()); \
         const {{ width, height }} = canvas; const data = canvas.getContext('2d').getImageData(0, 0, width, height).data; \
         let most = 0; for (let at = 0; at < data.length; at += 4) {{ \
         if (wanted.every((part, place) => Math.abs(data[at + place] - part) < 3)) most = Math.max(most, (at / 4) % width); }} \
         return (box.left + (most / width) * box.width - over.left) / over.width; }})()",
        chart(title)
    );
    opened.value(&script).await
}

#[tokio::test]
async fn a_line_ends_with_its_session_and_no_chart_lies_under_the_scroll_bar() {
    let room = TempDir::new().unwrap();
    let stop = "[[actions]]\nat_s = 12\nplayer = \"one\"\ndo = \"stop\"\n[[faults]]";
    let text = outage("stops", 20_000).replacen("[[faults]]", stop, 1);
    fs::write(room.path().join("stops.toml"), text).unwrap();
    lab(room.path(), &["run", "stops.toml", "--html", "page.html"]);
    let opened = Opened::file(&room.path().join("page.html")).await;
    opened
        .until("document.querySelectorAll('.session canvas').length === 11")
        .await;
    let end: f64 = opened
        .value("Math.max(...JSON.parse(document.querySelector('#run-0').textContent).players.map((one) => one.begins_s + one.report.wall_s))")
        .await;
    for (title, color) in [("Rung", "video"), ("Buffer level, s", "audio")] {
        let reaches_s = rightmost(&opened, title, color).await * end;
        assert!((11.0..13.0).contains(&reaches_s), "{title}: {reaches_s} s");
    }
    let wider: i32 = opened
        .value("Math.max(...[...document.querySelectorAll('.chart')].map((box) => box.scrollWidth - box.clientWidth))")
        .await;
    assert_eq!(wider, 0, "pixels of a chart that nobody sees");
    opened.close().await;
}

#[tokio::test]
async fn many_scenarios_are_filtered_and_a_matrix_is_a_table() {
    let room = TempDir::new().unwrap();
    fs::write(room.path().join("cells.toml"), MATRIX).unwrap();
    lab(room.path(), &["run", "cells.toml", "--html", "page.html"]);
    let opened = Opened::file(&room.path().join("page.html")).await;
    const ROWS: &str = "[...document.querySelectorAll('#scenarios tbody tr')].map((row) => row.cells[0].textContent)";
    let all: Vec<String> = opened.value(ROWS).await;
    assert_eq!(all.len(), 4);
    let cells: Vec<String> = opened
        .value(
            "[...document.querySelectorAll('.coverage .cell')].map((cell) => `${cell.ariaLabel}`)",
        )
        .await;
    // Nobody asks for subtitles in these worlds, and a fault that never happened is a failure.
    assert_eq!(
        cells,
        [
            "reset of picture, first byte: passed",
            "reset of picture, after 0.5: passed",
            "reset of subtitles, first byte: failed",
            "reset of subtitles, after 0.5: failed",
        ]
    );
    opened.write("#filter", "of picture, after").await;
    let kept: Vec<String> = opened.value(ROWS).await;
    assert_eq!(kept, ["cells: reset of picture, after 0.5"]);
    // Both fields count together.
    opened.act("(() => { const results = document.querySelector('#scenarios select'); results.value = 'failed'; results.dispatchEvent(new Event('change')); })()").await;
    assert_eq!(
        opened.value::<Vec<String>>(ROWS).await,
        Vec::<String>::new()
    );
    // A sign leads to its scenario.
    opened
        .act("void document.querySelectorAll('.coverage .cell')[3].click()")
        .await;
    opened.until("document.querySelector('#details h2').textContent === 'cells: reset of subtitles, after 0.5'").await;
    let again: String = opened
        .value("document.querySelector('#details .command code').textContent")
        .await;
    assert_eq!(
        again,
        "nearcast-lab run cells.toml --mode sim --seed 0 --only 'cells: reset of subtitles, after 0.5'"
    );
    let heard = opened.close().await;
    assert!(heard.complaints.is_empty(), "{:?}", heard.complaints);
}

#[tokio::test]
async fn two_reports_stand_one_above_the_other_on_one_axis() {
    let room = TempDir::new().unwrap();
    for (name, rate_kbps) in [("before", 20_000), ("after", 4_000)] {
        fs::write(
            room.path().join(format!("{name}.toml")),
            outage(name, rate_kbps),
        )
        .unwrap();
        lab(
            room.path(),
            &[
                "run",
                &format!("{name}.toml"),
                "--json",
                &format!("{name}.json"),
            ],
        );
    }
    let done = lab(
        room.path(),
        &[
            "report",
            "before.json",
            "--compare",
            "after.json",
            "--html",
            "both.html",
        ],
    );
    assert!(done.status.success(), "{done:?}");
    let opened = Opened::file(&room.path().join("both.html")).await;
    opened
        .until("document.querySelectorAll('.session canvas').length === 12")
        .await;
    let names: Vec<String> = opened
        .value("[...document.querySelectorAll('.session:not(.all) > h4')].map((head) => head.textContent)")
        .await;
    assert_eq!(names, ["A · seed 0 · one", "B · seed 0 · one"]);
    let rate: Vec<String> = opened
        .value("[...document.querySelectorAll('#comparison tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent)).find((row) => row[0] === 'mean_bitrate_kbps')")
        .await;
    assert!(rate[3].starts_with('−'), "{rate:?}");

    // A key in one place moves all charts of both.
    const DRAWN: &str =
        "[...document.querySelectorAll('.session canvas')].map((canvas) => canvas.toDataURL())";
    const SPAN: &str = "document.querySelector('.toolbar [role=status]').textContent";
    let (before, whole): (Vec<String>, String) =
        (opened.value(DRAWN).await, opened.value(SPAN).await);
    opened.press(".timelines", "+").await;
    opened.until(&format!("{SPAN} !== '{whole}'")).await;
    opened.act("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))").await;
    let after: Vec<String> = opened.value(DRAWN).await;
    let same = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before == after);
    assert_eq!(same.count(), 0, "charts that did not move");
    opened.press(".timelines", "0").await;
    opened.until(&format!("{SPAN} === '{whole}'")).await;
    let heard = opened.close().await;
    assert!(heard.complaints.is_empty(), "{:?}", heard.complaints);
}

// One scenario: what was expected, what was wrong, and the timelines of its runs.

const view = new View();
let charts = [];

function details(scenario) {
  const other = summary.reports.length > 1 ? counterpart(scenario) : null;
  const both = other ? [scenario, other].sort((a, b) => a.of - b.of) : [scenario];
  return el(
    "section",
    { id: "details", "aria-label": "Scenario" },
    el("h2", { tabindex: "-1" }, scenario.scenario),
    scenario.about ? el("p", {}, scenario.about) : null,
    both.map((one) =>
      el("div", { class: "verdict" }, both.length > 1 ? el("h3", {}, `${sideName(one.of)}: ${one.report.label}`) : null, verdict(one)),
    ),
    playbacks(both),
  );
}

function verdict(scenario) {
  const receipts = Object.entries(scenario.receipts);
  return el(
    "div",
    {},
    el(
      "p",
      {},
      verdictMark(scenario.passed),
      ` ${count(scenario.seeds, "seed")}, ${count(scenario.sessions, "session")}, ${seconds(Math.round(scenario.played_s))} played. `,
      el("code", {}, scenario.file),
    ),
    scenario.verdicts.length
      ? table({
          caption: "Expectations",
          rows: scenario.verdicts,
          columns: [
            { name: "Expectation", of: (one) => el("code", {}, one.expectation) },
            {
              name: "Result",
              of: (one) => el("span", { class: `mark ${one.holds ? "good" : "bad"}` }, one.holds ? "✓ holds" : "✗ does not hold"),
            },
            { name: "Found", of: (one) => (one.found === null ? "nothing to look at" : short(one.found)), number: true },
            { name: "In", of: (one) => count(one.numbers, "number"), number: true },
            { name: "Nearest to failing", of: (one) => (one.seed === null ? "" : `${one.player}, seed ${one.seed}`) },
          ],
        }).element
      : null,
    receipts.length ? el("p", {}, `Faults that took effect: ${receipts.map(([id, times]) => `${id} ${times}×`).join(", ")}.`) : null,
    scenario.problems.length
      ? el(
          "div",
          { class: "problems" },
          el("h3", {}, "Problems"),
          el(
            "ul",
            {},
            scenario.problems.map((problem) => el("li", {}, problem.what, problem.again ? command(problem.again) : null)),
          ),
        )
      : null,
    scenario.minimised ? minimised(scenario.minimised) : null,
  );
}

function minimised(one) {
  return el(
    "div",
    { class: "minimised" },
    el("h3", {}, "The smallest schedule that fails"),
    one.problem ? el("p", {}, one.problem) : null,
    one.left.length
      ? [
          el("p", {}, `Seed ${one.seed}; of ${count(one.of, "fault")} and actions it needs:`),
          el(
            "ol",
            {},
            one.left.map((left) => el("li", {}, left)),
          ),
        ]
      : el("p", {}, `Seed ${one.seed} fails with none of its ${one.of} faults and actions, too.`),
  );
}

/** A command with a button that copies it. */
function command(text) {
  const copy = el(
    "button",
    {
      type: "button",
      onclick: async () => {
        // Not every browser lets a file's page write to the clipboard: then the text is selected.
        try {
          await navigator.clipboard.writeText(text);
          copy.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(code);
        }
      },
    },
    "Copy",
  );
  const code = el("code", {}, text);
  return el("div", { class: "command" }, code, copy);
}

/** The runs that are kept of scenarios: chosen sessions one below the other on one time axis. */
function playbacks(both) {
  const choices = both.flatMap((scenario) =>
    scenario.runs.flatMap((run) => run.players.map((name, place) => ({ scenario, run, name, place }))),
  );
  if (!choices.length) return el("p", { class: "muted" }, "No run of it was kept.");
  const failing = (scenario) =>
    scenario.runs.find((run) => run.seed === scenario.problems[0]?.seed) ??
    scenario.runs.find((run) => !run.passed) ??
    scenario.runs[0];
  const chosen = new Set(
    both.length > 1
      ? both.map((scenario) => choices.find((choice) => choice.scenario === scenario))
      : choices.filter((choice) => choice.run === failing(both[0])).slice(0, 2),
  );
  const room = el("div", { class: "playbacks" });
  const box = (choice) => {
    const input = el("input", {
      type: "checkbox",
      onchange: () => {
        if (input.checked) chosen.add(choice);
        else chosen.delete(choice);
        draw();
      },
    });
    input.checked = chosen.has(choice);
    return el(
      "label",
      { class: "choice" },
      input,
      `${nameOf(choice, both.length > 1)} · ${choice.name}`,
      choice.run.passed ? null : el("span", { class: "bad" }, " ✗"),
    );
  };
  const draw = () =>
    show(
      room,
      choices.filter((choice) => chosen.has(choice)),
      both.length > 1,
    );
  redraw = draw;
  queueMicrotask(draw);
  return el(
    "div",
    {},
    el("h3", {}, "Playback"),
    el("fieldset", { class: "choices" }, el("legend", {}, "Sessions"), choices.map(box)),
    room,
  );
}

let redraw = () => {};

function nameOf({ scenario, run }, sided) {
  return `${sided ? `${sideName(scenario.of)} · ` : ""}seed ${run.seed}`;
}

function show(room, chosen, sided) {
  charts.forEach((one) => one.destroy());
  charts = [];
  const sessions = chosen.map((choice) => {
    const run = runOf(choice.run.id);
    const of = nameOf(choice, sided);
    return { run, of, player: run.players[choice.place], name: `${of} · ${choice.name}` };
  });
  const before = view.span;
  const whole = view.whole[1];
  view.begin(Math.max(1, ...sessions.map(({ player }) => endOf(player))));
  if (!sessions.length) {
    room.replaceChildren(el("p", { class: "muted" }, "Choose a session above."));
    return;
  }
  room.replaceChildren(toolbar(view));
  const group = el("div", {
    class: "timelines",
    tabindex: "0",
    role: "group",
    "aria-label": "Timelines: arrow keys move, plus and minus zoom, 0 shows all. The tables below say the same.",
  });
  room.append(group);
  const tables = [];
  for (const [run, of] of new Map(sessions.map((session) => [session.run, session.of]))) {
    if (run.players.length < 2 || !run.load.length) continue;
    const place = el("section", { class: "session all" }, el("h4", {}, `${of} · all sessions`));
    group.append(place);
    charts.push(loads(place, view, run));
  }
  for (const { run, player, name } of sessions) {
    const place = el(
      "section",
      { class: "session", "aria-label": name },
      el("h4", {}, name),
      figures(player),
      run.busy || player.report.busy ? el("p", { class: "warning" }, "The machine was too busy for these timings to be trusted.") : null,
    );
    group.append(place);
    charts.push(...timeline(place, view, run, player));
    tables.push(lists(run, player, name, place));
  }
  steer(view, group, timeOver(charts));
  if (whole === view.whole[1]) view.show(...before);
  room.append(...tables);
  // The reasons are what people look for: those of one session at once, to keep the page light.
  tables[0].querySelector("details").open = true;
}

function figures(player) {
  const report = player.report;
  const facts = [
    ["start-up", seconds(report.startup_s)],
    ["played", seconds(report.played_s)],
    ["stalled", report.stall_count ? `${report.stall_count}×, ${seconds(report.stalled_s)}` : "never"],
    ["mean rate", rate(report.mean_bitrate_bps)],
    ["rung switches", report.switches],
    ["failovers", report.failovers.length],
    ["wasted", bytes(report.bytes.wasted)],
    ["QoE", short(report.qoe_lin)],
  ];
  return el(
    "div",
    {},
    el(
      "dl",
      { class: "facts" },
      facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    ),
    report.error ? el("p", { class: "bad" }, `✗ ended with ${report.error.code}: ${report.error.message}`) : null,
  );
}

/** Goes to a moment in the timeline of a session, and marks it. */
function goTo(place, at) {
  view.goTo(at);
  for (const one of charts) one.setCursor({ left: one.valToPos(at, "x"), top: 0 });
  place.scrollIntoView({ block: "nearest" });
}

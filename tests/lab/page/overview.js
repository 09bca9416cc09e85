// What came of all scenarios, before one is looked at.

function headline() {
  return el(
    "header",
    {},
    el("h1", {}, summary.reports.length > 1 ? "Two reports compared" : "nearcast-lab report"),
    summary.reports.map((report, place) => {
      const failed = report.scenarios.filter((scenario) => !scenario.passed).length;
      const sessions = report.scenarios.reduce((sum, scenario) => sum + scenario.sessions, 0);
      return el(
        "div",
        { class: "report-head" },
        summary.reports.length > 1 ? el("strong", {}, `${sideName(place)}: ${report.label}`) : null,
        el(
          "p",
          {},
          verdictMark(report.passed),
          ` ${count(report.scenarios.length, "scenario")}${failed ? `, ${failed} failed` : ""}, ${count(sessions, "session")}, ${MODES[report.mode] ?? report.mode}`,
        ),
        report.interrupted ? el("p", { class: "warning" }, "Interrupted: this is what was done by then.") : null,
        report.busy
          ? el("p", { class: "warning" }, "The machine was too busy for these timings to be trusted: run it again with less beside it.")
          : null,
      );
    }),
  );
}

const MODES = { sim: "in virtual time", app: "over real sockets", packet: "over real packets" };
const sideName = (place) => "AB"[place];

function link(scenario, text) {
  return el("a", { href: `#scenario-${scenario.place}` }, text ?? scenario.scenario);
}

function scenarioTable() {
  const sided = summary.reports.length > 1;
  const columns = [
    { name: "Scenario", of: (one) => link(one) },
    sided ? { name: "Report", of: (one) => sideName(one.of) } : null,
    { name: "Result", of: (one) => verdictMark(one.passed) },
    { name: "Seeds", of: (one) => one.seeds.toLocaleString("en"), number: true },
    { name: "Sessions", of: (one) => one.sessions.toLocaleString("en"), number: true },
    { name: "First problem", of: (one) => one.problems[0]?.what ?? "" },
  ].filter(Boolean);
  const results = el(
    "select",
    { "aria-label": "Results", onchange: () => keep() },
    ["all", "failed", "passed"].map((value) => el("option", { value }, value)),
  );
  const words = el("input", {
    type: "search",
    id: "filter",
    placeholder: "Filter by name, file or problem",
    "aria-label": "Filter scenarios",
    oninput: () => keep(),
  });
  const made = table({ caption: "Scenarios", columns, rows: scenarios });
  const keep = () => {
    const wanted = words.value.toLowerCase();
    made.keep(
      (one) =>
        (results.value === "all" || (results.value === "passed") === one.passed) &&
        [one.scenario, one.about, one.file, ...one.problems.map((problem) => problem.what)].some((text) =>
          text.toLowerCase().includes(wanted),
        ),
    );
  };
  return el("section", { id: "scenarios" }, el("h2", {}, "Scenarios"), el("div", { class: "fields" }, words, results), made.element);
}

/** What was broken of what, for each file that has a matrix. */
function coverage() {
  const files = new Map();
  for (const one of scenarios.filter((scenario) => scenario.cell)) {
    const key = `${one.of} ${one.file}`;
    if (!files.has(key)) files.set(key, []);
    files.get(key).push(one);
  }
  return [...files.values()].map((cells) => {
    const objects = [...new Set(cells.map((one) => one.cell.object))];
    const shapes = [...new Set(cells.map((one) => one.cell.shape))];
    const held = cells.filter((one) => one.passed).length;
    const sign = (one) =>
      el(
        "a",
        {
          class: `cell ${one.passed ? "held" : "missed"}`,
          href: `#scenario-${one.place}`,
          title: `${one.scenario}: ${one.passed ? "passed" : "failed"}`,
          "aria-label": `${one.cell.shape} of ${one.cell.object}, ${one.cell.place ?? "whole answer"}: ${one.passed ? "passed" : "failed"}`,
        },
        `${one.passed ? "✓" : "✗"} ${PLACES[one.cell.place] ?? one.cell.place ?? "whole"}`,
      );
    const row = (shape) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, shape),
        objects.map((object) => el("td", {}, cells.filter((one) => one.cell.shape === shape && one.cell.object === object).map(sign))),
      );
    return el(
      "section",
      { class: "coverage" },
      el("h2", {}, `Coverage: ${summary.reports.length > 1 ? `${sideName(cells[0].of)}, ` : ""}${cells[0].file}`),
      el("p", {}, `${held} of ${cells.length} cells held. Each sign is a place of the body.`),
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Coverage" },
        el(
          "table",
          {},
          el("caption", { class: "unseen" }, "What was broken of what, and where"),
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              el("th", { scope: "col" }, "Failure"),
              objects.map((object) => el("th", { scope: "col" }, object)),
            ),
          ),
          el("tbody", {}, shapes.map(row)),
        ),
      ),
    );
  });
}

const PLACES = { "first byte": "first", "last byte": "last" };

/** Figures of two reports side by side. */
function comparison() {
  const parts = summary.comparison.flatMap((pair) =>
    pair.sessions.map((session) => {
      const scenario = summary.reports[0].scenarios[pair.a];
      const rows = session.figures.filter((row) => row.a !== null || row.b !== null);
      const made = table({
        caption: `Figures of ${scenario.scenario}, ${session.player}`,
        rows,
        columns: [
          { name: "Figure", of: (row) => row.figure },
          { name: "A", of: (row) => sideFigure(row, row.a), number: true },
          { name: "B", of: (row) => sideFigure(row, row.b), number: true },
          { name: "B − A", of: (row) => difference(row), number: true },
        ],
      });
      const what = `${beside(scenario.scenario, summary.reports[1].scenarios[pair.b].scenario)}, ${session.player}: ${session.over}`;
      return summary.comparison.length > 3 ? folded(what, () => made.element) : el("div", {}, el("h3", {}, what), made.element);
    }),
  );
  if (!summary.comparison.length)
    parts.push(el("p", { class: "warning" }, "No scenario is in both reports: there is nothing to put side by side."));
  for (const [of, side] of ["a", "b"].entries()) {
    const left = summary.reports[of].scenarios.filter((_, id) => summary.comparison.every((pair) => pair[side] !== id));
    const names = left.map((scenario) => scenario.scenario).join(", ");
    if (names) parts.push(el("p", { class: "warning" }, `Only in ${side.toUpperCase()}: ${names}.`));
  }
  return el("section", { id: "comparison" }, el("h2", {}, "Figures side by side"), parts);
}

/** What is not called the same in both is told by both names. */
const beside = (a, b) => (a === b ? a : `${a} beside ${b}`);

/** What never came counts as an hour in figures. */
const NEVER_S = 3600;
const NEVER = ["startup_s", "failover_s", "handover_s"];

function sideFigure(row, number) {
  const name = row.figure.split(".")[0];
  return number >= NEVER_S && NEVER.includes(name) ? "never" : figure(name, number);
}

function difference(row) {
  if (row.a === null || row.b === null) return "–";
  const far = row.b - row.a;
  if ([row.a, row.b].some((number) => sideFigure(row, number) === "never") && far !== 0)
    return el("strong", {}, far > 0 ? "never" : "no longer never");
  if (Math.abs(far) < 1e-9) return "0";
  const share = row.a === 0 ? "" : ` (${far > 0 ? "+" : "−"}${short(Math.abs((far / row.a) * 100))} %)`;
  return el("strong", {}, `${far > 0 ? "+" : "−"}${figure(row.figure.split(".")[0], Math.abs(far))}${share}`);
}

// Puts the page together, and follows the address, the size of the window and the colours that the reader prefers.

function page() {
  const main = el("main", {}, headline());
  if (summary.reports.length > 1) main.append(comparison());
  if (scenarios.length > 1) main.append(scenarioTable(), ...coverage());
  const room = el("div", { id: "room" });
  main.append(room);
  document.body.append(main, tip);
  const open = (moved) => {
    const wanted = Number(/^#scenario-(\d+)$/.exec(location.hash)?.[1] ?? Number.NaN);
    const scenario = scenarios[wanted] ?? scenarios.find((one) => !one.passed) ?? scenarios[0];
    if (!scenario) return;
    room.replaceChildren(details(scenario));
    if (moved) {
      room.querySelector("h2").focus();
      room.scrollIntoView();
    }
  };
  addEventListener("hashchange", () => open(true));
  open(location.hash !== "");
  let width = innerWidth;
  let waits;
  addEventListener("resize", () => {
    // A phone's bars come and go: only another width is another page.
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waits);
    waits = setTimeout(() => redraw(), 150);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
}

page();

// Does what the test says through Toxiproxy's client library, a line of JSON at a time, and says what came of it.
// node driver.js LIBRARY API_URL
"use strict";

const [library, api] = process.argv.slice(2);
const { Toxiproxy } = require(library);
const client = new Toxiproxy(api);

const steps = {
  version: () => client.getVersion(),
  create: (body) => client.createProxy(body).then(shown),
  populate: (list) => client.populate(list).then(allShown),
  all: () => client.getAll().then(allShown),
  reset: () => client.reset(),
  show: (name) => client.get(name).then(shown),
  update: async (name, body) => shown(await (await client.get(name)).update(body)),
  remove: async (name) => (await client.get(name)).remove(),
  addToxic: async (name, body) => shown(await (await client.get(name)).addToxic(body)),
  showToxic: async (name, toxic) => shown(await (await client.get(name)).getToxic(toxic)),
  updateToxic: async (name, toxic, body) =>
    shown(await (await (await client.get(name)).getToxic(toxic)).update(body)),
  removeToxic: async (name, toxic) => (await (await client.get(name)).getToxic(toxic)).remove(),
};

const shown = (thing) => thing.toJson();
const allShown = (proxies) =>
  Object.fromEntries(Object.entries(proxies).map(([name, proxy]) => [name, shown(proxy)]));

async function drive() {
  for await (const line of require("node:readline").createInterface({ input: process.stdin })) {
    const [step, ...rest] = JSON.parse(line);
    const answer = await steps[step](...rest).then(
      (done) => ({ done: done ?? null }),
      (error) => ({ failed: error.message }),
    );
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

drive();

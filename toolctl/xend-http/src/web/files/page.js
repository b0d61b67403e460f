// The page of a node. It asks for /web/state every two seconds, makes rates of the counters, and draws the last two minutes.
// Texts that come from domains are set as text, never as markup.
"use strict";

const PERIOD = 2000;
const POINTS = 60;
const OPERATIONS = [
  ["start", "Start", (d) => d.domid === null],
  ["unpause", "Unpause", (d) => d.domid > 0 && d.state[2] === "p"],
  ["pause", "Pause", (d) => d.domid > 0 && d.state[2] !== "p"],
  ["shutdown", "Shut down", (d) => d.domid > 0],
  ["reboot", "Reboot", (d) => d.domid > 0],
  ["destroy", "Destroy", (d) => d.domid > 0],
];
const CONSOLE = ["console", "Console", (d) => d.domid > 0];
const CHARTS = [
  ["cpu", "CPU", (value) => value.toFixed(0) + " %"],
  ["memory", "Memory", (value) => value.toFixed(0) + " MiB"],
  ["sent", "Network, sent", rate],
  ["received", "Network, received", rate],
];

const byId = (id) => document.getElementById(id);
/** By UUID: the card, the last counters, the points of each chart. */
const domains = new Map();

function rate(value) {
  return value < 1024 ? value.toFixed(0) + " B/s" : (value / 1024).toFixed(1) + " KiB/s";
}

function make(name, properties = {}, children = []) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function tell(problem) {
  byId("problem").textContent = problem;
  byId("problem").hidden = problem === "";
}

async function post(path, fields, look = true) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "X-Xend": "1" },
    body: new URLSearchParams(fields),
  });
  const text = await answer.text();
  if (look || !answer.ok) tell(answer.ok ? "" : text.trim());
  if (look) await refresh();
  return answer.ok;
}

function chart(title) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  svg.setAttribute("viewBox", "0 0 " + (POINTS - 1) + " 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  svg.append(line);
  const value = make("span");
  const figure = make("figure", {}, [make("figcaption", {}, [make("span", { textContent: title }), value]), svg]);
  return { figure, line, value, points: [] };
}

function card(uuid) {
  const charts = new Map(CHARTS.map(([key, title]) => [key, chart(title)]));
  const name = make("h2");
  const facts = make("p", { className: "facts" });
  const buttons = make("div", { className: "buttons" });
  const article = make("article", {}, [name, facts, ...[...charts.values()].map((c) => c.figure), buttons]);
  article.dataset.uuid = uuid;
  for (const [op, title] of [...OPERATIONS, CONSOLE]) {
    const button = make("button", { type: "button", textContent: title });
    button.dataset.op = op;
    button.addEventListener("click", () => {
      if (op === "console") return openConsole(uuid, name.textContent);
      const sure = op !== "destroy" || confirm("Destroy " + name.textContent + "? Its guest gets no chance to shut down.");
      if (sure) post("/web/domain/" + uuid, { op });
    });
    buttons.append(button);
  }
  return { article, name, facts, buttons, charts, before: null };
}

/** A point for each chart: rates against the counters before, of the same life of the domain. */
function points(domain, before, at) {
  const sum = (key) => domain.networks.reduce((total, network) => total + network[key], 0);
  const now = { at, domid: domain.domid, cpu: domain.cpu_time_s, sent: sum("sent"), received: sum("received") };
  const seconds = before && before.domid === now.domid ? (at - before.at) / 1000 : 0;
  const per = (key) => (seconds > 0 ? Math.max(0, now[key] - before[key]) / seconds : 0);
  return { now, values: { cpu: per("cpu") * 100, memory: domain.memory_mib, sent: per("sent"), received: per("received") } };
}

function draw(chart, value, text) {
  chart.points.push(value);
  if (chart.points.length > POINTS) chart.points.shift();
  const most = Math.max(1, ...chart.points);
  const first = POINTS - chart.points.length;
  chart.line.setAttribute("points", chart.points.map((v, i) => first + i + "," + (98 - (v / most) * 96).toFixed(1)).join(" "));
  chart.value.textContent = text;
}

function show(domain, mayChange, at) {
  if (!domains.has(domain.uuid)) {
    domains.set(domain.uuid, card(domain.uuid));
    byId("domains").append(domains.get(domain.uuid).article);
  }
  const it = domains.get(domain.uuid);
  it.name.textContent = domain.name;
  const id = domain.domid === null ? "halted" : "id " + domain.domid + ", " + domain.state;
  it.facts.textContent = [id, domain.vcpus + " vCPUs", domain.disks + " disks", domain.networks.length + " interfaces"].join(", ");
  const { now, values } = points(domain, it.before, at);
  it.before = now;
  for (const [key, , text] of CHARTS) draw(it.charts.get(key), values[key], text(values[key]));
  for (const button of it.buttons.children) {
    const [, , fits] = [...OPERATIONS, CONSOLE].find(([op]) => op === button.dataset.op);
    button.hidden = !(mayChange && fits(domain));
  }
}

async function refresh() {
  let state;
  try {
    const answer = await fetch("/web/state");
    if (!answer.ok) throw new Error((await answer.text()).trim());
    state = await answer.json();
  } catch (error) {
    tell("xend does not answer: " + error.message);
    return;
  }
  const at = performance.now();
  const host = state.host;
  byId("host").textContent = host.name;
  byId("summary").textContent =
    host.cpus + " CPUs, " + host.free_memory_mib + " of " + host.total_memory_mib + " MiB free, Linux " + host.release;
  for (const domain of state.domains) show(domain, state.may_change, at);
  const there = new Set(state.domains.map((domain) => domain.uuid));
  for (const [uuid, it] of domains) {
    if (!there.has(uuid)) {
      it.article.remove();
      domains.delete(uuid);
    }
  }
  byId("create").hidden = !state.may_change;
  byId("sign-out").hidden = !state.may_change;
  byId("sign-in").hidden = state.may_change;
}

async function rounds() {
  await refresh();
  setTimeout(rounds, PERIOD);
}

byId("sign-in-button").addEventListener("click", async () => {
  const token = byId("token").value;
  byId("token").value = "";
  await post("/web/login", { token });
});
byId("sign-out-button").addEventListener("click", () => post("/web/logout", {}));
byId("create-button").addEventListener("click", async () => {
  if (await post("/web/create", { config: byId("config").value })) byId("config").value = "";
});
rounds();

// The page of a node. It asks for /web/state every two seconds, makes rates of the counters, and draws the last two minutes.
// Texts that come from domains are set as text, never as markup.
"use strict";

const PERIOD = 2000;
const POINTS = 60;
const runs = (d) => d.domid > 0;
const paused = (d) => runs(d) && d.state[2] === "p";
/** Operation, title, for which domains, and what has to be asked first: a question, or the fields that are sent along. */
const OPERATIONS = [
  ["start", "Start", (d) => d.domid === null && !d.suspended],
  ["resume", "Resume", (d) => d.domid === null && d.suspended],
  ["unpause", "Unpause", paused],
  ["pause", "Pause", (d) => runs(d) && !paused(d)],
  ["console", "Console", runs],
  ["screen", "Screen", (d) => runs(d) && d.screen],
  ["shutdown", "Shut down", runs],
  ["reboot", "Reboot", runs],
  ["suspend", "Suspend", (d) => runs(d) && d.managed],
  ["save", "Save", runs, (name) => asked("file", "Save " + name + " to this file of the host, and end it", "/var/lib/xen/save/" + name)],
  ["migrate", "Migrate", runs, (name) => asked("host", "Host that " + name + " is to move to", "")],
  ["destroy", "Destroy", runs, (name) => sure("Destroy " + name + "? Its guest gets no chance to shut down.")],
  ["delete", "Delete", (d) => d.domid === null, (name) => sure("Forget " + name + ", its configuration and what was suspended of it?")],
];
const CHARTS = [
  ["CPU", ["cpu"], ([cpu]) => cpu.toFixed(0) + " %"],
  ["Memory", ["memory"], ([memory]) => memory.toFixed(0) + " MiB"],
  ["Network", ["sent", "received"], ([sent, received]) => rate(sent) + " out, " + rate(received) + " in"],
  ["Disks", ["written", "read"], ([written, read]) => rate(written) + " out, " + rate(read) + " in"],
];
const STATES = { r: "running", b: "blocked", p: "paused", s: "shut down", c: "crashed", d: "dying" };

const byId = (id) => document.getElementById(id);
/** What was typed, as a field; null when it was thought better of. */
function asked(field, question, proposal) {
  const text = prompt(question, proposal);
  return text ? { [field]: text } : null;
}

function sure(question) {
  return confirm(question) ? {} : null;
}

/** Has the host xterm.js? As it was when the page was loaded, since its policy is of then. */
let hasXterm = null;

/** By UUID: the card, the last counters, the points of each chart. */
const domains = new Map();

function rate(value) {
  if (value < 1024) return value.toFixed(0) + " B/s";
  return value < 1 << 20 ? (value / 1024).toFixed(1) + " KiB/s" : (value / (1 << 20)).toFixed(1) + " MiB/s";
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

function chart(title, keys) {
  const draw = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const svg = draw("svg");
  const lines = keys.map((key) => ({ key, line: draw("polyline"), points: [] }));
  svg.setAttribute("viewBox", "0 0 " + (POINTS - 1) + " 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.append(...lines.map((it) => it.line));
  const value = make("span");
  const figure = make("figure", {}, [make("figcaption", {}, [make("span", { textContent: title }), value]), svg]);
  return { figure, svg, lines, value, title };
}

function card(uuid) {
  const charts = CHARTS.map(([title, keys]) => chart(title, keys));
  const name = make("h2");
  const state = make("span", { className: "state" });
  const facts = make("p", { className: "facts" });
  const buttons = make("div", { className: "buttons" });
  const head = make("div", { className: "head" }, [name, state]);
  const article = make("article", {}, [head, facts, ...charts.map((c) => c.figure), buttons]);
  article.dataset.uuid = uuid;
  for (const [op, title, , first] of OPERATIONS) {
    const button = make("button", { type: "button", textContent: title });
    button.dataset.op = op;
    button.addEventListener("click", () => operate(uuid, name.textContent, op, first, button));
    buttons.append(button);
  }
  return { article, name, state, facts, buttons, charts, before: null };
}

async function operate(uuid, name, op, first, button) {
  if (op === "console") return openConsole(uuid, name);
  if (op === "screen") return openScreen(uuid, name);
  const fields = first ? first(name) : {};
  if (fields === null) return;
  // A save takes its time; a second press would only be refused.
  button.disabled = true;
  await post("/web/domain/" + uuid, { op, ...fields });
  button.disabled = false;
}

/** A value for each line: rates against the counters before, of the same life of the domain. */
function measure(domain, before, at) {
  const sum = (devices, key) => devices.reduce((total, device) => total + device[key], 0);
  const now = {
    at,
    domid: domain.domid,
    cpu: domain.cpu_time_s * 100,
    sent: sum(domain.networks, "sent"),
    received: sum(domain.networks, "received"),
    read: sum(domain.disks, "read"),
    written: sum(domain.disks, "written"),
  };
  const seconds = before && before.domid === now.domid ? (at - before.at) / 1000 : 0;
  const per = (key) => (seconds > 0 ? Math.max(0, now[key] - before[key]) / seconds : 0);
  const values = { memory: domain.memory_mib };
  for (const key of ["cpu", "sent", "received", "read", "written"]) values[key] = per(key);
  return { now, values };
}

function draw(chart, values, text) {
  for (const it of chart.lines) {
    it.points.push(values[it.key]);
    if (it.points.length > POINTS) it.points.shift();
  }
  const most = Math.max(1, ...chart.lines.flatMap((it) => it.points));
  for (const it of chart.lines) {
    const first = POINTS - it.points.length;
    const points = it.points.map((v, i) => first + i + "," + (98 - (v / most) * 96).toFixed(1));
    it.line.setAttribute("points", points.join(" "));
  }
  chart.value.textContent = text;
  chart.svg.setAttribute("aria-label", chart.title + ": " + text);
}

function stateOf(domain) {
  if (domain.domid === null) return domain.suspended ? "suspended" : "halted";
  const letter = [...domain.state].find((l) => l !== "-");
  return letter ? STATES[letter] : "running";
}

function counted(count, one) {
  return count + " " + one + (count === 1 ? "" : "s");
}

function show(domain, mayChange, at) {
  if (!domains.has(domain.uuid)) {
    domains.set(domain.uuid, card(domain.uuid));
    byId("domains").append(domains.get(domain.uuid).article);
  }
  const it = domains.get(domain.uuid);
  const state = stateOf(domain);
  it.name.textContent = domain.name;
  it.state.textContent = state;
  it.state.dataset.state = state;
  const facts = [counted(domain.vcpus, "vCPU"), counted(domain.disks.length, "disk"), counted(domain.networks.length, "interface")];
  if (domain.domid !== null) facts.unshift("id " + domain.domid);
  it.facts.textContent = facts.join(", ");
  const { now, values } = measure(domain, it.before, at);
  it.before = now;
  CHARTS.forEach(([, keys, text], index) => {
    draw(it.charts[index], values, text(keys.map((key) => values[key])));
    const carriers = { sent: domain.networks, read: domain.disks };
    const idle = keys.some((key) => carriers[key] && carriers[key].length === 0);
    it.charts[index].figure.hidden = domain.domid === null || idle;
  });
  for (const button of it.buttons.children) {
    const [op, , fits] = OPERATIONS.find(([op]) => op === button.dataset.op);
    // Screens may be looked at by whoever sees the page.
    button.hidden = !((mayChange || op === "screen") && fits(domain));
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
  hasXterm ??= state.xterm;
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
  byId("restore").hidden = !state.may_change;
  byId("sign-out").hidden = !state.may_change;
  byId("sign-in").hidden = state.may_change;
}

async function rounds() {
  if (!document.hidden) await refresh();
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
byId("restore-button").addEventListener("click", async () => {
  if (await post("/web/restore", { file: byId("file").value })) byId("file").value = "";
});
rounds();

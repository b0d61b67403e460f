// A domain's console: text, not a terminal. It follows line ends, backspaces and "erase to the end of the line"; colours and cursor
// movements are left out.
"use strict";

const LINES = 500;
const KEYS = {
  Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", Delete: "\x1b[3~",
  ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D", Home: "\x1b[H", End: "\x1b[F",
};
// An escape sequence: CSI, OSC up to its end, or two characters; one that is not whole yet stays for the next text.
const SEQUENCE = /^\x1b(?:\[([0-9;?]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Za-z0-9]|[^\[\]()])/;

/** The open console: its domain, what is shown, and what cannot be shown yet. */
let current = null;

function put(it, character) {
  const line = it.lines[it.lines.length - 1];
  it.lines[it.lines.length - 1] = line.slice(0, it.column).padEnd(it.column) + character + line.slice(it.column + 1);
  it.column += 1;
}

function obey(it, parameters, final) {
  const last = it.lines.length - 1;
  if (final === "K" && (parameters === "" || parameters === "0")) it.lines[last] = it.lines[last].slice(0, it.column);
  if (final === "J" && parameters === "2") it.lines = [""];
  if (final === "G") it.column = Math.max(0, (Number(parameters) || 1) - 1);
}

function print(it, text) {
  let rest = it.rest + text;
  while (rest !== "") {
    if (rest[0] === "\x1b") {
      const found = SEQUENCE.exec(rest);
      // A sequence of this length is none: its first character goes, the others are text.
      if (!found && rest.length < 128) break;
      if (found && found[2]) obey(it, found[1], found[2]);
      rest = rest.slice(found ? found[0].length : 1);
      continue;
    }
    const character = String.fromCodePoint(rest.codePointAt(0));
    rest = rest.slice(character.length);
    if (character === "\n") it.lines.push("");
    if (character === "\n" || character === "\r") it.column = character === "\r" ? 0 : it.column;
    else if (character === "\b") it.column = Math.max(0, it.column - 1);
    else if (character === "\t") it.column += 8 - (it.column % 8);
    else if (character >= " ") put(it, character);
  }
  it.rest = rest;
  it.lines = it.lines.slice(-LINES);
}

function showConsole(it) {
  const screen = byId("screen");
  const atEnd = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 40;
  screen.textContent = it.lines.join("\n");
  if (atEnd) screen.scrollTop = screen.scrollHeight;
}

async function follow(it) {
  while (current === it) {
    let told;
    try {
      const answer = await fetch("/web/console/" + it.uuid + "?from=" + it.next, { headers: { "X-Xend": "1" } });
      if (!answer.ok) throw new Error((await answer.text()).trim());
      told = await answer.json();
    } catch (error) {
      tell("the console was lost: " + error.message);
      return closeConsole(it);
    }
    if (current !== it) return;
    it.next = told.next;
    print(it, told.text);
    showConsole(it);
    if (told.ended !== null) {
      tell(told.ended || "the console has ended");
      return closeConsole(it);
    }
  }
}

function type(text) {
  const it = current;
  if (!it || text === "") return;
  // One after the other, so that what is typed fast arrives in its order.
  it.typed = it.typed.then(() => post("/web/console/" + it.uuid, { input: text }, false));
}

function openConsole(uuid, name) {
  closeConsole(current);
  current = { uuid, next: 0, lines: [""], column: 0, rest: "", typed: Promise.resolve() };
  byId("console-name").textContent = name;
  byId("screen").textContent = "";
  byId("console").hidden = false;
  byId("screen").focus();
  follow(current);
}

function closeConsole(it) {
  if (!it || current !== it) return;
  current = null;
  byId("console").hidden = true;
  // It may have ended by itself, which is no news.
  fetch("/web/console/" + it.uuid, { method: "POST", headers: { "X-Xend": "1" }, body: new URLSearchParams({ op: "close" }) });
}

function key(event) {
  const control = event.ctrlKey && !event.altKey && !event.metaKey && /^[a-z\[\\\]^_]$/i.test(event.key);
  let text = KEYS[event.key];
  if (control) text = String.fromCharCode(event.key.toUpperCase().charCodeAt(0) & 0x1f);
  else if (!text && event.key.length === 1 && !event.ctrlKey && !event.metaKey) text = event.key;
  // Ctrl-] leaves, as on a terminal.
  if (text === "\x1d") return closeConsole(current);
  if (!text) return;
  event.preventDefault();
  type(text);
}

addEventListener("DOMContentLoaded", () => {
  byId("screen").addEventListener("keydown", key);
  const send = () => {
    type(byId("line").value + "\r");
    byId("line").value = "";
  };
  byId("line").addEventListener("keydown", (event) => event.key === "Enter" && send());
  byId("line-button").addEventListener("click", send);
  byId("console-close").addEventListener("click", () => closeConsole(current));
});

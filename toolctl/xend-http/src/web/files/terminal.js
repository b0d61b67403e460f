// What a console is shown in: xterm.js where the host has it, otherwise text. Both take what the guest prints, and hand on what is typed.
"use strict";

const LINES = 500;
const COLUMNS = 80;
const ROWS = 24;
/** Of a letter's height, how wide it is; and letters that can still be read. */
const ASPECT = 0.62;
const [SMALLEST, LARGEST] = [10, 14];
const KEYS = {
  Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", Delete: "\x1b[3~",
  ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D", Home: "\x1b[H", End: "\x1b[F",
};
// An escape sequence: CSI, OSC up to its end, or two characters; one that is not whole yet stays for the next text.
const SEQUENCE = /^\x1b(?:\[([0-9;?]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Za-z0-9]|[^\[\]()])/;

/** Text, not a terminal: line ends, backspaces and "erase to the end of the line"; colours and cursor movements are left out. */
class TextView {
  constructor(typed) {
    this.lines = [""];
    this.column = 0;
    this.rest = "";
    this.place = byId("screen");
    this.place.textContent = "";
    this.place.hidden = false;
    this.place.onkeydown = (event) => this.key(event, typed);
  }

  put(character) {
    const line = this.lines[this.lines.length - 1];
    this.lines[this.lines.length - 1] = line.slice(0, this.column).padEnd(this.column) + character + line.slice(this.column + 1);
    this.column += 1;
  }

  obey(parameters, final) {
    const last = this.lines.length - 1;
    if (final === "K" && (parameters === "" || parameters === "0")) this.lines[last] = this.lines[last].slice(0, this.column);
    if (final === "J" && parameters === "2") this.lines = [""];
    if (final === "G") this.column = Math.max(0, (Number(parameters) || 1) - 1);
  }

  print(text) {
    let rest = this.rest + text;
    while (rest !== "") {
      if (rest[0] === "\x1b") {
        const found = SEQUENCE.exec(rest);
        // A sequence of this length is none: its first character goes, the others are text.
        if (!found && rest.length < 128) break;
        if (found && found[2]) this.obey(found[1], found[2]);
        rest = rest.slice(found ? found[0].length : 1);
        continue;
      }
      const character = String.fromCodePoint(rest.codePointAt(0));
      rest = rest.slice(character.length);
      if (character === "\n") this.lines.push("");
      if (character === "\n" || character === "\r") this.column = character === "\r" ? 0 : this.column;
      else if (character === "\b") this.column = Math.max(0, this.column - 1);
      else if (character === "\t") this.column += 8 - (this.column % 8);
      else if (character >= " ") this.put(character);
    }
    this.rest = rest;
    this.lines = this.lines.slice(-LINES);
    const atEnd = this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < 40;
    this.place.textContent = this.lines.join("\n");
    if (atEnd) this.place.scrollTop = this.place.scrollHeight;
  }

  key(event, typed) {
    const control = event.ctrlKey && !event.altKey && !event.metaKey && /^[a-z\[\\\]^_]$/i.test(event.key);
    let text = KEYS[event.key];
    if (control) text = String.fromCharCode(event.key.toUpperCase().charCodeAt(0) & 0x1f);
    else if (!text && event.key.length === 1 && !event.ctrlKey && !event.metaKey) text = event.key;
    if (!text) return;
    event.preventDefault();
    typed(text);
  }

  focus() {
    this.place.focus();
  }

  close() {
    this.place.hidden = true;
  }
}

/** A whole terminal of the size that a serial line is taken for. */
class XtermView {
  constructor(typed) {
    this.place = byId("terminal");
    this.place.hidden = false;
    const fitting = Math.floor(this.place.clientWidth / COLUMNS / ASPECT);
    this.terminal = new Terminal({
      cols: COLUMNS,
      rows: ROWS,
      scrollback: 1000,
      fontSize: Math.min(LARGEST, Math.max(SMALLEST, fitting)),
      // A guest leads nobody anywhere.
      linkHandler: { activate() {} },
    });
    this.terminal.open(this.place);
    this.terminal.onData(typed);
  }

  print(text) {
    this.terminal.write(text);
  }

  focus() {
    this.terminal.focus();
  }

  close() {
    this.terminal.dispose();
    this.place.hidden = true;
  }
}

/** xterm.js, asked for once: true when it is there to be used. */
let loading = null;

function load(element) {
  return new Promise((resolve, reject) => {
    element.onload = resolve;
    element.onerror = reject;
    document.head.append(element);
  });
}

function loadXterm() {
  loading ??= Promise.all([
    load(make("link", { rel: "stylesheet", href: "/web/xterm/css/xterm.css" })),
    load(make("script", { src: "/web/xterm/lib/xterm.js" })),
  ]).then(() => typeof Terminal === "function", () => false);
  return loading;
}

/** Something to show a console in; `typed` gets what is typed. */
async function makeView(typed) {
  if (hasXterm && (await loadXterm())) return new XtermView(typed);
  if (hasXterm) tell("xterm.js does not load; the console is shown as text");
  return new TextView(typed);
}

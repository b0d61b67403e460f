// A domain's console: what the guest prints is asked for and shown (terminal.js), what is typed is sent.
"use strict";

/** As many characters as xend takes at once in any case. */
const PIECE = /[^]{1,1000}/gu;

/** The open console: its domain, how far it was read, and what shows it. */
let current = null;

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
    it.view.print(told.text);
    if (told.ended !== null) {
      tell(told.ended || "the console has ended");
      return closeConsole(it);
    }
  }
}

function type(text) {
  const it = current;
  if (!it) return;
  // Ctrl-] leaves, as on a terminal.
  if (text === "\x1d") return closeConsole(it);
  // One after the other, so that what is typed fast arrives in its order.
  for (const input of text.match(PIECE) || []) {
    it.typed = it.typed.then(() => post("/web/console/" + it.uuid, { input }, false));
  }
}

async function openConsole(uuid, name) {
  closeConsole(current);
  const it = { uuid, next: 0, view: null, typed: Promise.resolve() };
  current = it;
  byId("console-name").textContent = name;
  byId("console").hidden = false;
  const view = await makeView((text) => current === it && type(text));
  if (current !== it) return view.close();
  it.view = view;
  // On a telephone it is below the domains, and xterm.js draws nothing that nobody sees.
  byId("console").scrollIntoView();
  view.focus();
  follow(it);
}

function closeConsole(it) {
  if (!it || current !== it) return;
  current = null;
  byId("console").hidden = true;
  if (it.view) it.view.close();
  // It may have ended by itself, which is no news.
  fetch("/web/console/" + it.uuid, { method: "POST", headers: { "X-Xend": "1" }, body: new URLSearchParams({ op: "close" }) });
}

addEventListener("DOMContentLoaded", () => {
  const send = () => {
    type(byId("line").value + "\r");
    byId("line").value = "";
  };
  byId("line").addEventListener("keydown", (event) => event.key === "Enter" && send());
  byId("line-button").addEventListener("click", send);
  byId("console-close").addEventListener("click", () => closeConsole(current));
});

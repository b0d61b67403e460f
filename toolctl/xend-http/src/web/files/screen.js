// A domain's screen, by noVNC, which xend serves from where its package puts it.
"use strict";

const RETURN = 0xff0d;

/** The open screen: its domain, and noVNC's object once it is there. */
let shown = null;

/** X's number of a character: itself for Latin-1, otherwise Unicode's beyond 0x1000000. */
function keysymOf(character) {
  const code = character.codePointAt(0);
  return code < 0x100 ? code : 0x1000000 + code;
}

async function openScreen(uuid, name) {
  closeScreen(shown);
  const it = { uuid, rfb: null };
  shown = it;
  try {
    const answer = await fetch("/web/screen/" + uuid);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const told = await answer.json();
    const { default: RFB } = await import("/web/novnc/core/rfb.js");
    if (shown !== it) return;
    tell("");
    byId("display-name").textContent = name + (told.may_type ? "" : " (to look at; sign in to type)");
    byId("display-keys").hidden = !told.may_type;
    byId("display").hidden = false;
    const place = new URL("/web/screen/" + uuid, location);
    place.protocol = place.protocol.replace("http", "ws");
    const credentials = told.password === null ? {} : { password: told.password };
    it.rfb = new RFB(byId("display-screen"), place.href, { credentials });
    it.rfb.viewOnly = !told.may_type;
    it.rfb.scaleViewport = true;
    it.rfb.addEventListener("disconnect", (event) => {
      if (shown === it && !event.detail.clean) tell("the screen was lost");
      closeScreen(it);
    });
    it.rfb.addEventListener("securityfailure", (event) => tell("the screen refuses: " + (event.detail.reason || "wrong password")));
    byId("display").scrollIntoView();
    it.rfb.focus();
  } catch (error) {
    tell(error.message);
    closeScreen(it);
  }
}

function closeScreen(it) {
  if (!it || shown !== it) return;
  shown = null;
  byId("display").hidden = true;
  if (it.rfb) it.rfb.disconnect();
}

addEventListener("DOMContentLoaded", () => {
  const send = () => {
    if (!shown || !shown.rfb) return;
    for (const character of byId("display-line").value) shown.rfb.sendKey(keysymOf(character));
    shown.rfb.sendKey(RETURN, "Enter");
    byId("display-line").value = "";
  };
  byId("display-line").addEventListener("keydown", (event) => event.key === "Enter" && send());
  byId("display-line-button").addEventListener("click", send);
  byId("display-cad").addEventListener("click", () => shown && shown.rfb && shown.rfb.sendCtrlAltDel());
  byId("display-close").addEventListener("click", () => closeScreen(shown));
});

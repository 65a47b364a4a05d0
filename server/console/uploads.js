// Giving documents: files that are chosen or dropped, and pages by their address.

import { passes } from "./api.js";
import { ofAddress, ofFile, ofFolder } from "./gifts.js";
import { h, tell } from "./elements.js";
import { outcome } from "./outcomes.js";
import { credential, ofOne } from "./session.js";

const AT_ONCE = 2;

let given = []; // beyond a sign-in: what was not sent is not lost
let giver = null; // by what credential: nobody else sees it, or sends it

/** The part of the page that takes documents; `taken` is called when the list may have changed. */
export function uploads(life, taken) {
  const list = h("ol", { class: "given", "aria-label": "What was given" });
  const clear = h("button", { type: "button", class: "quiet", onclick: clearAway }, "Clear what is done");
  const box = h("section", { class: "card give", "aria-label": "Give documents" },
    h("div", { class: "ways" }, picker(add), address(add)), list, clear);

  takeDrops(box, life, add);
  addEventListener("beforeunload", (event) => given.some(underWay) && event.preventDefault(), { signal: life });
  given = ofOne(giver, credential()) ? given.filter(unsent).map(stopped) : [];
  giver = credential();
  draw();
  return box;

  function add(gifts) {
    given.push(...gifts.map((gift) => ({ sent: 0, ...gift, element: h("li") })));
    draw();
    next();
  }

  function next() {
    const room = AT_ONCE - given.filter((each) => each.state === "sending").length;
    given.filter((each) => each.state === "waiting").slice(0, Math.max(room, 0)).forEach(start);
  }

  async function start(each) {
    become(each, "sending");
    try {
      become(each, "done", outcome(await each.send(life, (part) => progressed(each, part))));
      taken();
    } catch (error) {
      if (life.aborted) return;
      become(each, "failed", { text: error.message, good: false, again: passes(error) });
    }
    tell(`${each.name}: ${each.outcome.text}`);
    next();
  }

  function become(each, state, result = null) {
    Object.assign(each, { state, outcome: result, sent: 0 });
    drawLine(each);
    clear.hidden = given.every(underWay);
  }

  function draw() {
    given.forEach(drawLine);
    list.replaceChildren(...given.map((each) => each.element));
    clear.hidden = given.every(underWay);
  }

  function drawLine(each) {
    const { state, name, element, outcome: result } = each;
    const sending = state === "sending";
    each.bar = sending ? h("progress", { max: 1, value: each.sent, "aria-label": `Sending ${name}` }) : null;
    element.dataset.good = result?.good ?? "";
    element.replaceChildren(...[
      h("span", { class: "name" }, name),
      each.bar,
      h("span", { class: "said" }, result?.text ?? (sending ? each.verb : "Waits")),
      result?.again ? h("button", { type: "button", onclick: () => sendAgain(each), "aria-label": `Send ${name} again` }, "Send again") : null,
      result?.details,
    ].filter(Boolean));
  }

  function sendAgain(each) {
    become(each, "waiting");
    next();
  }

  function clearAway() {
    given = given.filter(underWay);
    draw();
  }
}

function progressed(each, part) {
  if (!each.bar) return; // somebody had to sign in again meanwhile
  if (part < 1) each.bar.value = part;
  else each.bar.removeAttribute("value"); // all is sent; how long the answer takes is not known
}

/** Not there yet, and only here: leaving the page would lose it. */
function underWay(each) {
  return each.state === "waiting" || each.state === "sending";
}

function unsent(each) {
  return underWay(each) || each.outcome.again;
}

/** Who signs in sends it when they say so, not before; what the last one was told is gone. */
function stopped(each) {
  const outcome = { text: "Not sent: you had to sign in again.", good: false, again: true };
  return { ...each, state: "failed", outcome, bar: null };
}

function picker(add) {
  const input = h("input", { id: "files", type: "file", multiple: true, onchange: choose, "aria-describedby": "files-hint" });
  const hint = "or drop them on this page. Several at once, or a ZIP of up to 1,000; 25 MiB each.";
  return h("div", { class: "pick" },
    h("label", { for: "files" }, "Add files"), input, h("p", { id: "files-hint", class: "hint" }, hint));

  function choose() {
    add([...input.files].map(ofFile));
    input.value = "";
  }
}

function address(add) {
  const input = h("input", { id: "address", type: "url", placeholder: "https://example.com/guide", required: true, maxlength: 2000 });
  return h("form", { class: "fetch", onsubmit: fetchIt },
    h("label", { for: "address" }, "Fetch a public page"),
    h("div", { class: "line" }, input, h("button", {}, "Fetch")));

  function fetchIt(event) {
    event.preventDefault();
    add([ofAddress(input.value)]);
    input.value = "";
  }
}

/** Files may be dropped anywhere: beside the box the browser would leave the page for them. */
function takeDrops(box, life, add) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    box.classList.add("over");
  }, { signal: life });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? box.classList.remove("over"), { signal: life });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    box.classList.remove("over");
    add([...event.dataTransfer.items].filter((item) => item.kind === "file").map(dropped));
  }, { signal: life });
}

function dropped(item) {
  const isFolder = item.webkitGetAsEntry?.()?.isDirectory;
  return isFolder ? ofFolder(item.getAsFile()) : ofFile(item.getAsFile());
}

// One document: its passages in their order, opened at the one that the address names.

import { get, passes } from "./api.js";
import { state, summary } from "./document_row.js";
import { h, loading, notice, tell } from "./elements.js";
import { body, inColumns, place, underWay } from "./words.js";

const PAGE = 200; // the most a list gives
const SOON_MS = 1_500;

/** Show the document `id`; of a corpus where the address says which. */
export async function showDocument(page, life, id) {
  const corpus = new URLSearchParams(location.search).get("corpus");
  const of = corpus === null ? "" : `corpus=${encodeURIComponent(corpus)}`;
  const address = `/v1/documents/${id}`;
  page.replaceChildren(loading());
  await show(page, life, { address, of });
}

async function show(page, life, where) {
  const { address, of } = where;
  try {
    const item = await get(`${address}?${of}`, life);
    document.title = `${item.title} – Tenantry console`;
    page.replaceChildren(...head(item));
    if (item.status === "ready") {
      await showPassages(page, life, `${address}/passages?${of}&limit=${PAGE}`, inColumns(item.media_type));
    } else if (underWay(item)) setTimeout(() => life.aborted || show(page, life, where), SOON_MS);
  } catch (error) {
    if (life.aborted) return;
    if (error.status === 404) return page.replaceChildren(...gone());
    page.querySelector(".loading")?.remove();
    page.append(notice(error.message, passes(error) ? () => show(page, life, where) : null));
  }
}

function head(item) {
  const said = Object.entries(item.metadata ?? {}).map(([name, value]) => h("li", {}, `${name}: ${value}`));
  return [
    h("p", { class: "up" }, h("a", { href: "/console" }, "← All documents")),
    h("h1", {}, item.title),
    h("p", { class: "meta" }, summary(item)),
    said.length ? h("ul", { class: "metadata", "aria-label": "Metadata" }, said) : null,
    item.status === "ready" ? null : h("div", { class: "state" }, state(item)),
    item.error ? h("p", { class: "error" }, item.error) : null,
  ].filter(Boolean);
}

function gone() {
  return [
    h("h1", {}, "There is no such document"),
    h("p", {}, "It was deleted, or it is not yours to see."),
    h("a", { href: "/console" }, "All documents"),
  ];
}

async function showPassages(page, life, address, columns) {
  const passages = [];
  let cursor = null;
  let [from, to] = [0, 0];
  let opened = null;
  const news = h("div", {});
  const earlier = h("button", { type: "button", onclick: showEarlier }, "Show what is before");
  const later = h("button", { type: "button", onclick: showLater }, "Show what follows");
  const list = h("div", { class: `passages ${columns ? "columns" : ""}` });
  page.append(news, earlier, list, later, loading());
  addEventListener("hashchange", () => named() && open(named()).catch(failed), { signal: life });
  await open(named());

  /** Read on until the passage is there: it may be far down a long document. */
  async function open(id) {
    news.replaceChildren();
    await readUntil(() => passages.length && (id === null || passages.some((each) => each.passage_id === id)));
    const at = passages.findIndex((each) => each.passage_id === id);
    if (id !== null && at < 0) news.replaceChildren(notice("This passage is not in the document any more: it was read anew. Here is all of it."));
    opened = at < 0 ? null : id;
    if (at < 0 || at < from || at >= to) draw(...around(Math.max(at, 0)));
    if (at >= 0) point(id);
  }

  async function readUntil(found) {
    const wait = page.querySelector(".loading");
    while (!found() && (cursor !== null || !passages.length)) {
      const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const answer = await get(`${address}${after}`, life);
      passages.push(...answer.items);
      cursor = answer.next_cursor;
      if (!answer.items.length) break;
    }
    wait?.remove();
  }

  function around(at) {
    const first = at - (at % PAGE);
    return [first, Math.min(first + PAGE, passages.length)];
  }

  function draw(first, end) {
    [from, to] = [first, end];
    list.replaceChildren(...passages.slice(from, to).map((each) => passage(each, each.passage_id === opened)));
    earlier.hidden = from === 0;
    later.hidden = to === passages.length && cursor === null;
  }

  async function showLater() {
    later.disabled = true;
    try {
      await readUntil(() => passages.length > to);
      draw(from, Math.min(to + PAGE, passages.length));
    } catch (error) {
      failed(error);
    }
    later.disabled = false;
  }

  /** What was at the top stays where it is read. */
  function showEarlier() {
    const top = list.firstElementChild.id;
    draw(Math.max(from - PAGE, 0), to);
    document.getElementById(top).scrollIntoView({ block: "center" });
  }

  function failed(error) {
    if (!life.aborted) news.replaceChildren(notice(error.message));
  }

  function point(id) {
    list.querySelector(".opened")?.classList.remove("opened");
    const element = document.getElementById(id);
    element.classList.add("opened");
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "center" });
    tell("The cited passage is open.");
  }
}

/** The passage that the address names, if it names one. */
function named() {
  const id = location.hash.slice(1);
  return /^[0-9a-f-]{36}$/i.test(id) ? id : null;
}

function passage(each, isOpen) {
  const number = each.ordinal + 1;
  return h("article", { id: each.passage_id, class: isOpen ? "passage opened" : "passage", tabindex: -1, "aria-label": `Passage ${number}` },
    h("header", {},
      h("a", { href: `#${each.passage_id}`, title: "The address of this passage" }, `#${number}`),
      h("span", { class: "place" }, place(each))),
    h("p", { class: "text" }, body(each)));
}

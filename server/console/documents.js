// All documents: what is there, how far each has come, and what to do about it.

import { ask, get, passes } from "./api.js";
import { consequence, documentRow } from "./document_row.js";
import { confirmed, h, loading, notice, tell } from "./elements.js";
import { uploads } from "./uploads.js";
import { count, underWay } from "./words.js";

const PAGE = 50;
const SOON_MS = 1_500; // a slice of an ingestion is about a second
const LATEST_MS = 30_000;

/** Show the documents of the tenant, and keep them as they are. */
export function showDocuments(page, life) {
  const list = h("ul", { class: "documents", "aria-label": "Documents" });
  const news = h("div", {}, loading());
  const more = h("button", { type: "button", hidden: true, onclick: showMore }, "Show earlier ones");
  const rows = new Map();
  let cursor = null;
  let timer = null;
  let failures = 0;
  let again = false;
  let reading = false;

  page.replaceChildren(
    h("h1", {}, "Documents"),
    uploads(life, () => refresh()),
    h("section", { "aria-label": "All documents" }, news, list, more),
  );
  document.addEventListener("visibilitychange", () => document.hidden || refresh(), { signal: life });
  life.addEventListener("abort", () => clearTimeout(timer));
  refresh();

  async function refresh() {
    if (reading) return void (again = true);
    clearTimeout(timer);
    reading = true;
    try {
      await readAsManyAs(Math.max(rows.size, PAGE));
      failures = 0;
      news.replaceChildren(...(rows.size ? [] : [welcome()]));
    } catch (error) {
      if (life.aborted) return;
      failed(error);
    }
    reading = false;
    if (again) {
      again = false;
      refresh();
    } else if (!failures && !document.hidden && [...rows.values()].some((row) => underWay(row.item))) {
      timer = setTimeout(refresh, SOON_MS);
    }
  }

  async function readAsManyAs(wanted) {
    const items = [];
    do {
      const answer = await read(Math.min(wanted - items.length, 200), items.length ? cursor : null);
      items.push(...answer.items);
      cursor = answer.next_cursor;
    } while (cursor !== null && items.length < wanted);
    show(items);
  }

  function read(limit, after) {
    const from = after === null ? "" : `&cursor=${encodeURIComponent(after)}`;
    return get(`/v1/documents?limit=${limit}${from}`, life);
  }

  function show(items) {
    const ids = new Set(items.map((item) => item.document_id));
    for (const id of rows.keys()) if (!ids.has(id)) drop(id);
    items.forEach(place);
    more.hidden = cursor === null;
  }

  /** Rows stay where they are while they are right: what has the focus keeps it. */
  function place(item, index) {
    const known = rows.get(item.document_id);
    const row = known ?? documentRow(item, actions);
    rows.set(item.document_id, row);
    if (known) change(known, item);
    if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
  }

  function change(row, item) {
    if (underWay(row.item) && item.status === "ready") {
      tell(`${item.title} is ready: ${count(item.passages, "passage")}.`);
    } else if (underWay(row.item) && item.status === "failed") tell(`${item.title} failed: ${item.error}`);
    row.update(item);
  }

  function drop(id) {
    rows.get(id).element.remove();
    rows.delete(id);
  }

  async function showMore() {
    more.disabled = true;
    try {
      const answer = await read(PAGE, cursor);
      cursor = answer.next_cursor;
      const [first] = answer.items;
      const from = rows.size;
      answer.items.forEach((item, index) => place(item, from + index));
      more.hidden = cursor === null;
      rows.get(first?.document_id)?.element.querySelector("a").focus();
    } catch (error) {
      if (!life.aborted) failed(error);
    }
    more.disabled = false;
  }

  function failed(error) {
    failures += 1;
    if (!passes(error)) return news.replaceChildren(notice(error.message));
    const wait = Math.max((error.retryAfterSeconds ?? 0) * 1000, Math.min(SOON_MS * 2 ** failures, LATEST_MS));
    timer = setTimeout(refresh, wait);
    const stale = rows.size ? " What is shown may be old." : "";
    const seconds = Math.round(wait / 1000);
    news.replaceChildren(notice(`${error.message}${stale} Trying again in ${seconds} s.`, refresh, "Try now"));
  }

  const actions = {
    async retry(row) {
      await act(row, async () => {
        row.update(await ask("POST", `/v1/documents/${row.item.document_id}/retry`, { life }));
      });
    },
    async remove(row) {
      const { document_id: id, title } = row.item;
      if (!(await confirmed(`Delete “${title}”?`, consequence(row.item), "Delete"))) return;
      await act(row, async () => {
        await ask("DELETE", `/v1/documents/${id}`, { life });
        const near = row.element.nextElementSibling ?? row.element.previousElementSibling;
        drop(id);
        (near?.querySelector("a") ?? document.getElementById("main")).focus();
        tell(`${title} is deleted.`);
      });
    },
  };

  /** Do what was asked for; one that is gone is as good as deleted, which the list will show. */
  async function act(row, doing) {
    row.busy(true);
    try {
      await doing();
    } catch (error) {
      if (!life.aborted && error.status !== 404) row.complain(error.message);
    }
    row.busy(false);
    if (!life.aborted) refresh();
  }
}

function welcome() {
  return h("div", { class: "empty" },
    h("h2", {}, "Nothing here yet"),
    h("p", {}, "Answers are made of documents. Give the first: choose a file above, drop some on this page, or fetch one of the web by its address."),
    h("p", {}, "As soon as one is ready, the search above finds its passages, and assistants cite them."));
}

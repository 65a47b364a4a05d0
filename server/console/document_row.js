// One document in the list.

import { h } from "./elements.js";
import { count, instant, kind, size, status, underWay } from "./words.js";

/** What kind of file, how long, and since when. */
export function summary(item) {
  const passages = item.status === "ready" ? ` · ${count(item.passages, "passage")}` : "";
  return [
    `${kind(item.media_type)} · ${size(item.bytes)}${passages} · `,
    h("time", { datetime: item.created_at }, instant(item.created_at)),
  ];
}

/** How far a document has come, as a badge and a bar. */
export function state(item) {
  const badge = h("span", { class: "badge", "data-status": item.status }, status(item.status));
  if (!underWay(item)) return [badge];
  const { done, total } = item.progress;
  const known = total ? { max: total, value: done } : {};
  const bar = h("progress", { "aria-label": `Progress of ${item.title}`, ...known });
  const said = total ? `${done} of ${count(total, "passage")}` : item.status === "queued" ? "waits for its turn" : "";
  return [badge, bar, h("span", { class: "hint" }, said)];
}

/** What deleting a document does. */
export function consequence(item) {
  if (item.status !== "ready") return "Nothing of it is found yet, and nothing will be.";
  return `Its ${count(item.passages, "passage")} will not be found any more, and what cites it has nothing to open.`;
}

/** A row, which `update`s to what the document has become. */
export function documentRow(first, actions) {
  const title = h("a", {});
  const meta = h("p", { class: "meta" });
  const error = h("p", { class: "error", hidden: true });
  const progress = h("div", { class: "state" });
  const retry = h("button", { type: "button", onclick: () => actions.retry(row) }, "Read again");
  const remove = h("button", { type: "button", class: "quiet", onclick: () => actions.remove(row) }, "Delete");
  const row = {
    item: first,
    element: h("li", {},
      h("div", { class: "what" }, title, meta, error),
      progress,
      h("div", { class: "actions" }, retry, remove)),
    update(item) {
      row.item = item;
      title.textContent = item.title;
      title.href = `/console/documents/${item.document_id}`;
      meta.replaceChildren(...summary(item));
      progress.replaceChildren(...state(item));
      retry.hidden = item.status !== "failed";
      retry.setAttribute("aria-label", `Read ${item.title} again`);
      remove.setAttribute("aria-label", `Delete ${item.title}`);
      row.complain(item.error ?? "");
    },
    complain(text) {
      error.textContent = text;
      error.hidden = !text;
    },
    busy(is) {
      retry.disabled = remove.disabled = is;
    },
  };
  row.update(first);
  return row;
}

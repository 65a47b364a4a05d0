// What became of what was given, in words.

import { h } from "./elements.js";
import { count, reason, underWay } from "./words.js";

/** The outcome of a file, or of an archive: a document for each file in it. */
export function outcome(answered) {
  return answered.items ? ofArchive(answered.items) : { text: ofDocument(answered), good: true };
}

function ofDocument(item) {
  if (underWay(item)) return "Taken.";
  if (item.status === "failed") return `Known already as “${item.title}”, which failed: it can be read again below.`;
  return `Known already as “${item.title}”.`;
}

function ofArchive(items) {
  const taken = items.filter((each) => each.status === 202).length;
  const known = items.filter((each) => each.status === 200).length;
  const refused = items.filter((each) => each.problem);
  const parts = [`${count(taken, "file")} taken`];
  if (known) parts.push(`${known} known already`);
  if (refused.length) parts.push(`${refused.length} refused`);
  return {
    text: `${parts.join(", ")}.`,
    good: !refused.length,
    details: h("details", { open: refused.length > 0 },
      h("summary", {}, "File by file"),
      h("ul", {}, [...refused, ...items.filter((each) => !each.problem)].map(ofMember))),
  };
}

function ofMember({ path, problem, document: item }) {
  const said = problem ? `refused: ${reason(problem)}` : underWay(item) ? "taken" : "known already";
  return h("li", { "data-good": !problem }, h("span", { class: "name" }, path), ` ${said}`);
}

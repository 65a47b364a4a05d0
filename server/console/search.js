// What a search finds, why, and where it stands. The words are in the fragment: no server logs them.

import { ask, passes } from "./api.js";
import { h, loading, notice, tell } from "./elements.js";
import { body, count, place } from "./words.js";

const HITS = 20;

/** Show what is found for the words in the address. */
export function showSearch(page, life) {
  const found = h("div", {});
  page.replaceChildren(h("h1", {}, "Search"), found);
  addEventListener("hashchange", search, { signal: life });
  search();

  async function search() {
    const words = asked();
    document.getElementById("query").value = words;
    if (!words.trim()) return found.replaceChildren(h("p", {}, "Say above what you look for."));
    found.replaceChildren(loading());
    try {
      const body = { query: words, limit: HITS, explain: true };
      const { items } = await ask("POST", "/v1/search", { body, life });
      if (words === asked()) show(items, words);
    } catch (error) {
      if (!life.aborted && words === asked()) found.replaceChildren(notice(error.message, passes(error) ? search : null));
    }
  }

  function show(items, words) {
    const said = items.length ? `${count(items.length, "passage")} for “${words}”, best first` : `Nothing is found for “${words}”`;
    tell(said);
    found.replaceChildren(
      h("p", { class: "meta" }, said),
      items.length ? h("ol", { class: "hits" }, items.map(hit)) : nothing());
  }
}

function asked() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return ""; // a stray per cent sign in an address that nobody made
  }
}

function nothing() {
  return h("p", {}, "Only documents that are ready are searched. ", h("a", { href: "/console" }, "See which are."));
}

function hit(each) {
  const corpus = each.corpus_id ? `?corpus=${encodeURIComponent(each.corpus_id)}` : "";
  return h("li", { class: "card" },
    h("h2", {}, h("a", { href: `/console/documents/${each.document_id}${corpus}#${each.passage_id}` }, each.title)),
    h("p", { class: "place" }, place(each), each.corpus_id ? ` · corpus ${each.corpus_id}` : null),
    h("p", { class: "text" }, body(each)),
    why(each.explain));
}

function why(reasons) {
  if (!reasons) return null;
  const rows = [
    ["By meaning", rank(reasons.distance_rank), `distance ${figure(reasons.distance)}`],
    ["By words", rank(reasons.word_rank), `score ${figure(reasons.word_score)}`],
  ];
  return h("details", { class: "why" },
    h("summary", {}, `Score ${figure(reasons.score)}`),
    h("table", {}, h("tbody", {}, rows.map(([by, ...cells]) => h("tr", {},
      h("th", { scope: "row" }, by), cells.map((each) => h("td", {}, each)))))));
}

function rank(place) {
  return place === null ? "not among the first fifty" : `place ${place}`;
}

function figure(number) {
  return number === null ? "–" : number.toFixed(3);
}

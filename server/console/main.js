// Which page this is, and whose. Every page is the same shell; its address says what it shows.

import { get, Problem } from "./api.js";
import { showDocument } from "./document.js";
import { showDocuments } from "./documents.js";
import { h, tell } from "./elements.js";
import { showSearch } from "./search.js";
import { credential, forget, keep, pasted, whose } from "./session.js";

const PAGES = [
  [/^\/console\/?$/, showDocuments],
  [/^\/console\/documents\/([0-9a-f-]{36})$/i, showDocument],
  [/^\/console\/search$/, showSearch],
];

const page = document.getElementById("page");
const signIn = document.getElementById("sign-in");
const field = document.getElementById("credential");
const button = signIn.querySelector("button");
const query = document.getElementById("query");

let life = new AbortController();
let shownTo = null;

/** Show the page anew: nothing of what another credential was shown is left on it. */
function start() {
  life.abort();
  life = new AbortController();
  page.replaceChildren();
  query.value = "";
  document.title = "Tenantry console";
  tell("");
  shownTo = credential();
  for (const id of ["search", "session"]) document.getElementById(id).hidden = !shownTo;
  document.getElementById("whose").textContent = shownTo ? whose(shownTo) : "";
  signIn.hidden = Boolean(shownTo);
  if (shownTo) show();
  else field.focus();
}

function show() {
  for (const [form, shown] of PAGES) {
    const match = form.exec(location.pathname);
    if (match) return shown(page, life.signal, match[1]);
  }
  page.replaceChildren(h("h1", {}, "There is no such page"), h("a", { href: "/console" }, "All documents"));
}

function complain(text) {
  const news = document.getElementById("sign-in-news");
  news.textContent = text;
  news.hidden = !text;
}

async function enter(event) {
  event.preventDefault();
  const text = pasted(field.value);
  if (text === null) return complain("This is neither a token nor a key: it has spaces or other characters in it.");
  complain("");
  button.disabled = true;
  const refusal = await tried(text);
  button.disabled = false;
  if (refusal) return complain(refusal);
  field.value = "";
  start();
}

/** Keep a credential if it holds; else why not. What it may see is for the pages to find out. */
async function tried(text) {
  keep(text);
  try {
    await get("/v1/documents?limit=1");
  } catch (error) {
    if (error.status === 401) return "This credential does not hold. Is it complete, and not expired?";
    if (error instanceof Problem) return null;
    forget();
    return `${error.message} Try again in a moment.`;
  }
  return null;
}

function leave() {
  forget();
  start();
  location.replace("/console");
}

function refused() {
  forget();
  if (!shownTo) return;
  complain("Your credential no longer holds: it has expired or was revoked. Sign in again to go on here.");
  start();
}

signIn.addEventListener("submit", enter);
document.getElementById("sign-out").addEventListener("click", leave);
document.addEventListener("credential-refused", refused);
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(`/console/search#${encodeURIComponent(query.value.trim())}`);
});
// A page that "back" brings out of the browser's memory may have been another's.
addEventListener("pageshow", (event) => event.persisted && credential() !== shownTo && start());

start();

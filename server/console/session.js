// The person's credential. It lives in this tab's sessionStorage: a reload keeps it, no other tab or
// site reads it, no request carries it by itself, and closing the tab or signing out ends it.

const KEY = "tenantry.credential";
const PASSING = ["exp", "iat", "nbf", "jti", "auth_time"]; // claims that differ from one sign-in to the next

/** The credential of this tab, or null. */
export function credential() {
  return sessionStorage.getItem(KEY);
}

/** Keep a credential for this tab. */
export function keep(text) {
  sessionStorage.setItem(KEY, text);
}

/** Forget it. */
export function forget() {
  sessionStorage.removeItem(KEY);
}

/** What was pasted as a header can carry it; null for what is no credential. */
export function pasted(text) {
  const bare = text.trim().replace(/^bearer\s+/i, "");
  return /^[\x21-\x7e]+$/.test(bare) ? bare : null;
}

/** Whom a credential says it is, to be shown and nothing else: the server decides. */
export function whose(text) {
  const claims = claimsOf(text);
  if (claims === null) return "API key";
  return [claims.tenant_id, claims.sub].filter((each) => typeof each === "string").join(" · ");
}

/** Whether two credentials are surely one person's: a key is only like itself. */
export function ofOne(text, other) {
  if (text === null || other === null) return false;
  return text === other || (lasting(text) !== null && lasting(text) === lasting(other));
}

function lasting(text) {
  const claims = claimsOf(text);
  return claims && JSON.stringify(Object.entries(claims).filter(([name]) => !PASSING.includes(name)).sort());
}

function claimsOf(text) {
  const [, payload] = text.split(".");
  try {
    return JSON.parse(decoded(payload));
  } catch {
    return null;
  }
}

function decoded(segment) {
  const bytes = atob(segment.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder().decode(Uint8Array.from(bytes, (each) => each.charCodeAt(0)));
}

// What both pages need: elements (texts only, never HTML), Airflow's theme, its API, and a way out of the frame.

const ROOT = new URL("..", import.meta.url).pathname; // where Airflow is: "/", or its [api] base_url's path

/** An element with attributes (functions are listeners) and children; strings become text, never markup. */
export function make(tag, attributes = {}, ...children) {
  const space = ["svg", "rect", "line", "path", "text", "title", "g"].includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(9).filter((child) => child != null && child !== false));
  return element;
}

/** A count for people; a dash where there is none. */
export const number = (value, digits = {}) => (value == null ? "–" : Number(value).toLocaleString("en", digits));

function followTheme() {
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* a browser that keeps nothing */ }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = ["light", "dark"].includes(chosen) ? chosen : dark ? "dark" : "light";
}
followTheme();
addEventListener("storage", followTheme); // Airflow's own page, around this one, has written it
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", followTheme);

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { signal: AbortSignal.timeout(45000), headers: { Accept: "application/json", ...(options.body && { "Content-Type": "application/json" }) }, ...options });
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "Airflow has not answered for 45 s." : "Airflow does not answer.");
  }
  const text = await response.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* said below */ }
  if (response.ok && body !== null) return body;
  if (response.status === 401) throw new Error("You are signed out. Reload the page to sign in.");
  const detail = body?.detail;
  throw new Error(typeof detail === "string" ? detail : detail?.reason ?? `Airflow answered ${response.status}.`);
}

/** One of our own answers. */
export const ask = (path, query = {}) => call(`${ROOT}taxiway/api/${path}?${new URLSearchParams(query)}`);
/** Airflow's public API, as the user who is signed in: their permissions hold. */
export const airflow = (path, body, method = "POST") => call(`${ROOT}api/v2/${path}`, body ? { method, body: JSON.stringify(body) } : {});

/** A link to a page of Airflow's. This frame may not leave itself, so the page around it follows the link. */
export function link(path, ...children) {
  const follow = (event) => {
    if (parent === window) return;
    event.preventDefault();
    const outer = parent.document.createElement("a");
    outer.href = ROOT + path;
    if (event.ctrlKey || event.metaKey) outer.target = "_blank";
    parent.document.body.append(outer);
    outer.click();
    outer.remove();
  };
  return make("a", { href: ROOT + path, click: follow }, ...children);
}

export const page = (name, query) => `${ROOT}taxiway/${name}?${new URLSearchParams(query)}`;
export const notice = (text, kind = "error") => make("p", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" }, text);

// Periods, as texts: 2024, 2024-01, 2024-01-05, 2024-01-05T05.
const LENGTHS = { year: 4, month: 7, day: 10, hour: 13 };
export const GRAINS = Object.keys(LENGTHS);
export function periods(first, grain, count) {
  const begin = new Date(`${(first + "0001-01-01T00".slice(first.length))}:00:00Z`);
  const found = new Array(count);
  for (let n = 0; n < count; n++) {
    const at = new Date(begin);
    if (grain === "hour") at.setUTCHours(at.getUTCHours() + n);
    else if (grain === "day") at.setUTCDate(at.getUTCDate() + n);
    else at.setUTCMonth(at.getUTCMonth() + (grain === "year" ? 12 * n : n));
    found[n] = at.toISOString().slice(0, LENGTHS[grain]);
  }
  return found;
}
export const cut = (period, grain) => period.slice(0, LENGTHS[grain]);

// Marts: what each measures, over time, by hour and by category.
import { ask, make, notice, page } from "./common.js";
import { chart, part, ranked } from "./parts.js";

const main = document.getElementById("main");
const query = new URLSearchParams(location.search);

/** The categories that have most of the mart's first measure, ordered by this one. */
function sorted(facts, measure, { title, keys, values }) {
  const first = Object.keys(facts.measures)[0], own = values[measure];
  const order = [...keys.keys()].sort((a, b) => (own[b] ?? 0) - (own[a] ?? 0));
  return ranked(measure === first ? title : `${title}, of those with most ${first}`, order.map((n) => keys[n]), order.map((n) => own[n]));
}

function drawn(facts) {
  if (!facts.charts.some(({ keys }) => keys.length)) return [make("p", {}, "There is nothing in it yet.")];
  return Object.entries(facts.measures).map(([measure, unit]) => part(unit && unit !== measure ? `${measure} (${unit})` : measure, facts.charts.map((found) =>
    found.ranked ? sorted(facts, measure, found) : chart(found.title, found.keys, found.values[measure].map((value) => value ?? 0), "rows"))));
}

/** A warning for each dataset that has generated rows in it. */
async function samples(names) {
  const found = await Promise.all(names.map((name) => ask(`coverage/${encodeURIComponent(name)}`).catch(() => null)));
  const generated = names.filter((_, place) => found[place]?.sources.some((source) => source.sample));
  return generated.length ? [notice(`Rows of ${generated.join(", ")} are sample data: generated, not published.`, "warning")] : [];
}

async function start() {
  let body = main;
  try {
    const { marts } = await ask("marts");
    const chosen = marts.find(({ name }) => name === query.get("name")) ?? (query.has("name") ? null : marts[0]);
    const links = marts.map(({ name }) => (name === chosen?.name ? make("strong", {}, name) : make("a", { href: page("marts", { name }) }, name)));
    const head = make("header", { class: "top" }, make("h1", {}, "Marts"), ...links, make("a", { href: page("coverage", {}) }, "Coverage"));
    if (!chosen) {
      main.replaceChildren(head, marts.length ? notice(`There is no mart ${query.get("name")} that you may see.`) : notice("There is no mart yet, or none that you may see. docs/your-own-dataset.md adds one: a table of sums that loads keep up to date. What dbt builds is not drawn here.", "warning"));
    } else {
      body = make("div", {}, make("p", { class: "waiting" }, "Asking the warehouse …"));
      const fed = make("p", { class: "title" }, `${chosen.title}. Fed by `);
      chosen.datasets.forEach((name, place) => fed.append(place ? ", " : "", make("a", { href: page("dataset", { name }) }, name)));
      main.replaceChildren(head, fed, body);
      const [facts, warnings] = await Promise.all([ask(`marts/${encodeURIComponent(chosen.name)}`), samples(chosen.datasets)]);
      body.replaceChildren(...warnings, ...drawn(facts));
    }
  } catch (error) {
    body.replaceChildren(notice(error.message));
  }
  main.setAttribute("aria-busy", "false");
}
start();

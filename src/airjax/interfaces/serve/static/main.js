// Set up the views.

import { card as getCard } from "./api.js";
import { Imagine } from "./imagine.js";
import { Look } from "./look.js";
import { Table } from "./table.js";

const at = (id) => document.getElementById(id);
const tabsOf = { patches: ["tab-look", "tab-imagine"], solids: ["tab-table"] };
let tabs = [];

function trouble(sentence) {
  at("trouble").textContent = sentence;
  at("trouble").hidden = !sentence;
}

function open(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    at(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  tab.dispatchEvent(new Event("open"));
}

function listen() {
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -place, End: -place - 1 };
      if (!(key in steps)) return;
      const next = tabs.at((place + steps[key]) % tabs.length);
      next.focus();
      open(next);
    });
  }
}

/** Describe the model in the header. */
function describe({ name, patches, solids }) {
  const { image_shape, max_objects } = patches ?? solids;
  const [channels, height, width] = image_shape;
  at("model").textContent = `${name}: ${width} × ${height} ${channels === 1 ? "grey" : "colour"}, up to ${max_objects} objects`;
}

/** Set up the views of a model of patches. */
function beginWithPictures(card) {
  const look = new Look(card, trouble);
  const imagine = new Imagine(card, trouble, (picture, count) => {
    open(at("tab-look"));
    at("tab-look").focus();
    look.errands.attempt(() => look.watch(picture, `sampled with n = ${count}`));
  });
  at("tab-imagine").addEventListener("open", () => imagine.sample(), { once: true });
  at("tab-look").addEventListener("open", () => look.begin(), { once: true });
}

try {
  const { patches, solids, ...shared } = await getCard();
  tabs = Object.entries({ patches, solids }).flatMap(([of, there]) => (there ? tabsOf[of].map(at) : []));
  for (const tab of document.querySelectorAll("[role=tab]")) tab.hidden = !tabs.includes(tab);
  describe({ ...shared, patches, solids });
  if (patches) beginWithPictures({ ...shared, ...patches });
  if (solids) {
    const table = new Table({ ...shared, ...solids }, trouble);
    at("tab-table").addEventListener("open", () => table.lay(), { once: true });
  }
  listen();
  open(tabs[0]);
} catch (error) {
  trouble(error.message);
}

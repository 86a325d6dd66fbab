// Put the views together.

import { card as getCard } from "./api.js";
import { Imagine } from "./imagine.js";
import { Look } from "./look.js";

const at = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];

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

try {
  const card = await getCard();
  const [channels, height, width] = card.image_shape;
  at("model").textContent = `${card.name}: ${width} × ${height} ${channels === 1 ? "grey" : "colour"}, up to ${card.max_objects} objects`;
  const look = new Look(card, trouble);
  const imagine = new Imagine(card, trouble, (picture, count) => {
    open(at("tab-look"));
    at("tab-look").focus();
    look.attempt(() => look.watch(picture, `sampled with n = ${count}`));
  });
  at("tab-imagine").addEventListener("open", () => imagine.sample(), { once: true });
  listen();
  open(at("tab-look"));
  await look.begin();
} catch (error) {
  trouble(error.message);
}

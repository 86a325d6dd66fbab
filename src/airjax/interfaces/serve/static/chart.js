// Bars of two distributions over counts, side by side.

const percent = (share) => (share > 0.9995 ? "100" : (100 * share).toFixed(1));

/** Show p and q, arrays over n = 0, 1, ..., as bars in `element`. */
export function bars(element, p, q) {
  while (element.children.length > p.length) element.lastChild.remove();
  while (element.children.length < p.length) element.append(column(element.children.length));
  p.forEach((share, n) => {
    const [label, pair] = element.children[n].children;
    label.textContent = share >= 0.0005 ? `${percent(share)} %` : "";
    pair.children[0].style.height = `${100 * share}%`;
    pair.children[1].style.height = `${100 * q[n]}%`;
  });
  const said = p.map((share, n) => `${n}: ${percent(share)} %`);
  element.setAttribute("aria-label", `Probability of each count given the scene. ${said.join(", ")}`);
}

function column(n) {
  const whole = document.createElement("div");
  const [label, pair, axis] = ["span", "div", "span"].map((name) => document.createElement(name));
  pair.append(document.createElement("b"), document.createElement("b"));
  axis.textContent = n;
  whole.append(label, pair, axis);
  return whole;
}

// Draw the server's pictures on canvases, and windows as frames, as in the paper.

export const SVG = "http://www.w3.org/2000/svg";
const MISSING = [255, 176, 66];
const TOO_MUCH = [74, 150, 255];

/** Turn { shape: [c, h, w], type, data } into { shape, values }. */
export function decode({ shape, type, data }) {
  const bytes = bytesOf(data);
  return { shape, values: type === "int8" ? new Int8Array(bytes.buffer) : bytes };
}

/** Turn base64 into bytes. */
export function bytesOf(data) {
  return Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
}

/** Show a picture unchanged. */
export function paint(canvas, picture) {
  fill(canvas, picture, (values) => values);
}

/** Show a glimpse with values to 127, which is white. Negative pixels, where too much was drawn, are blue. */
export function paintGlimpse(canvas, picture) {
  fill(canvas, picture, (values) => {
    const mean = average(values) / 127;
    return mean < 0 ? TOO_MUCH.map((c) => -mean * c) : values.map((v) => Math.max(0, v) * 2);
  });
}

/** Show the residual of a scene: where a drawing lacks something, and where it draws too much. */
export function paintLeft(canvas, scene, drawn) {
  const values = Int16Array.from(scene.values, (value, i) => value - drawn.values[i]);
  fill(canvas, { shape: scene.shape, values }, (pixel) => {
    const mean = average(pixel) / 255;
    return (mean < 0 ? TOO_MUCH : MISSING).map((c) => Math.abs(mean) * c);
  });
}

/** Frame windows [x0, y0, x1, y1], in pixels, in the colours of their steps. */
export function frame(svg, [, height, width], windows, colours) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  for (const text of svg.querySelectorAll("text")) text.remove();
  while (svg.children.length > windows.length) svg.lastChild.remove();
  windows.forEach(([x0, y0, x1, y1], step) => {
    const box = svg.children[step] ?? svg.appendChild(document.createElementNS(SVG, "rect"));
    const place = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, stroke: colours[step % colours.length] };
    for (const [name, value] of Object.entries(place)) box.setAttribute(name, value);
  });
}

/** Cut a window [x0, y0, x1, y1] out of a picture; pixels beyond the picture are black. */
export function crop({ shape: [channels, height, width], values }, window) {
  const [x0, y0, x1, y1] = window.map(Math.round);
  const [w, h] = [Math.max(1, x1 - x0), Math.max(1, y1 - y0)];
  const cut = new Uint8Array(channels * h * w);
  for (let c = 0, i = 0; c < channels; c++) {
    for (let y = y0; y < y0 + h; y++) {
      for (let x = x0; x < x0 + w; x++, i++) {
        if (x >= 0 && x < width && y >= 0 && y < height) cut[i] = values[(c * height + y) * width + x];
      }
    }
  }
  return { shape: [channels, h, w], values: cut };
}

function average(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function fill(canvas, { shape: [channels, height, width], values }, colour) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const area = width * height;
  for (let i = 0; i < area; i++) {
    const pixel = Array.from({ length: channels }, (_, c) => values[c * area + i]);
    const [r, g = r, b = r] = colour(pixel);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

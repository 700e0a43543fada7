// The scan and the map over it, on canvases.

// Okabe and Ito's orange, told apart from grey by everybody.
const COLOUR = [230, 159, 0];
const MOST_ALPHA = 170;

export function drawScan(canvas, { width, height, rgb }) {
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let at = 0; at < width * height; at += 1) {
    pixels.data.set([rgb[at * 3], rgb[at * 3 + 1], rgb[at * 3 + 2], 255], at * 4);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// One pixel a field, as coarse as it is: nothing between two fields is made up.
export function drawMap(canvas, fields, side) {
  canvas.width = side;
  canvas.height = side;
  const most = Math.max(...fields);
  const pixels = new ImageData(side, side);
  fields.forEach((value, at) => pixels.data.set([...COLOUR, most ? Math.round((MOST_ALPHA * value) / most) : 0], at * 4));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const third = (place, side, names) => names[Math.min(2, Math.floor((3 * (place + 0.5)) / side))];

// The map in words, for those who do not see it; `name` is the class that it is of.
export function whereStrongest(fields, side, name) {
  const most = Math.max(...fields);
  if (!most) return `Nothing in the picture spoke for ${name}.`;
  const at = fields.indexOf(most);
  const across = third(at % side, side, ["left", "middle", "right"]);
  const down = third(Math.floor(at / side), side, ["top", "middle", "bottom"]);
  const where = across === down ? "in the middle" : `at the ${down === "middle" ? "" : `${down} `}${across === "middle" ? "" : across}`.trim();
  return `Coarse: ${side} x ${side} fields (Grad-CAM) of what spoke for ${name}. Strongest ${where} of the picture.`;
}

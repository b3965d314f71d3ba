// Arithmetic that can be shown: a term has a value and two texts, one with symbols and one with numbers.

const SUM = 0, PRODUCT = 1, ATOM = 2; // how strongly the outermost operation of a term binds

/** "0.6637", "0.01849", "−1.323e−9": four decimals or more, four digits, no trailing zeros. */
function shortNumber(value) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return String(value).replace("-", "−").replace("Infinity", "∞");
  const size = Math.abs(value);
  const text = size < 1e-3 || size >= 1e5 ? value.toExponential(3).replace("+", "")
    : size < 0.1 ? value.toPrecision(4) : value.toFixed(4);
  return text.replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "").replace(/-/g, "−");
}

/** parts: the terms that it is computed from. */
const term = (value, binding, text, parts = []) => ({ value, binding, text, parts });

/** The entries of tensors, [name, i, j], that a term is computed from. */
const sources = part => part.source ? [part.source] : part.parts.flatMap(sources);

/** The text of a part inside an operation that binds more strongly, or of a negative factor. */
function inside(part, numbers, binding, isFirst) {
  const text = part.text(numbers);
  return part.binding < binding || (text.startsWith("−") && !isFirst) ? `(${text})` : text;
}

const literal = (value, text = shortNumber(value)) => term(value, ATOM, () => text);

/** An entry of a tensor: `W1[0,1]`. source: [name, i, j]. */
const entry = (symbol, value, source) =>
  ({ ...term(value, ATOM, numbers => numbers ? shortNumber(value) : symbol), source });

function sum(...parts) {
  const text = numbers => parts.map(part => part.text(numbers)).reduce((left, right) =>
    right.startsWith("−") ? `${left} − ${right.slice(1)}` : `${left} + ${right}`);
  return term(parts.reduce((total, part) => total + part.value, 0), SUM, text, parts);
}

const difference = (left, right) => term(left.value - right.value, SUM, numbers =>
  `${left.text(numbers)} − ${inside(right, numbers, PRODUCT, false)}`, [left, right]);

const product = (...parts) => term(parts.reduce((total, part) => total * part.value, 1), PRODUCT, numbers =>
  parts.map((part, i) => inside(part, numbers, PRODUCT, i === 0)).join("·"), parts);

const quotient = (above, below) => term(above.value / below.value, PRODUCT, numbers =>
  `${inside(above, numbers, PRODUCT, true)} / ${inside(below, numbers, ATOM, false)}`, [above, below]);

const negative = part => term(-part.value, PRODUCT, numbers =>
  `−${inside(part, numbers, PRODUCT, false)}`, [part]);

/** "exp(x)", "max(x, 0)" */
const call = (name, value, ...parts) => term(value, ATOM, numbers =>
  `${name}(${parts.map(part => part.text(numbers)).join(", ")})`, parts);

const exp = part => call("exp", Math.exp(part.value), part);
const log = part => call("log", Math.log(part.value), part);
const largerOfZeroAnd = part => call("max", Math.max(part.value, 0), part, literal(0));
const absolute = part => call("abs", Math.abs(part.value), part);

const root = part => term(Math.sqrt(part.value), ATOM, numbers =>
  `√${inside(part, numbers, ATOM, false)}`, [part]);
const square = part => term(part.value * part.value, ATOM, numbers =>
  `${inside(part, numbers, ATOM, false)}²`, [part]);

/** "[z1[0,0] > 0]": 1 if the condition holds, otherwise 0. */
const bracket = (holds, left, relation, right) => term(holds ? 1 : 0, ATOM, numbers =>
  `[${left.text(numbers)} ${relation} ${right.text(numbers)}]`, [left, right]);

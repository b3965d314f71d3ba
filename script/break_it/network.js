// The 2-3-2 network: forward, backward and one step of Adam, with the planted bugs of Twingrad's catalogue.
// Everything is computed in float64. Tensors are lists of rows; a vector has one row, a number one entry.

const SAMPLES = 2, INPUTS = 2, HIDDEN = 3, CLASSES = 2;
const BETA1 = 0.9, BETA2 = 0.999, EPSILON = 1e-8; // of Adam

/** The number of indices in a symbol: `W1[0,1]`, `b1[0]`, `loss`. */
const RANKS = { b1: 1, b2: 1, t: 1, max: 1, losses: 1, grad_b1: 1, grad_b2: 1, loss: 0, lr: 0 };
const PARAMETERS = ["W1", "b1", "W2", "b2"];

/** In the order of the backward pass. The layer computes this gradient. */
const GRADIENTS = {
  cross_entropy: [
    ["grad_logits", "loss, cross_entropy"],
    ["grad_W2", "layer 2, linear"], ["grad_b2", "layer 2, linear"], ["grad_h", "layer 2, linear"],
    ["grad_z1", "layer 1, relu"],
    ["grad_W1", "layer 0, linear"], ["grad_b1", "layer 0, linear"]],
  softmax_log: [
    ["grad_log_p", "loss, negative_log_likelihood"], ["grad_p", "layer 4, log"],
    ["grad_logits", "layer 3, softmax"],
    ["grad_W2", "layer 2, linear"], ["grad_b2", "layer 2, linear"], ["grad_h", "layer 2, linear"],
    ["grad_z1", "layer 1, relu"],
    ["grad_W1", "layer 0, linear"], ["grad_b1", "layer 0, linear"]],
};
/** What Adam computes for each parameter, in order. */
const ADAM = ["exp_avg", "exp_avg_sq", "mean", "mean_sq", "new"];
const ADAM_SYMBOLS = { exp_avg: "m", exp_avg_sq: "v", mean: "m̂", mean_sq: "v̂", new: "w" };

/** The example of docs/chain-rule.md. */
const EXAMPLE = {
  x: [[1, 0.5], [-1, 2]], t: [[0, 1]],
  W1: [[0.5, -0.4], [-0.3, 0.2], [0.1, 0.6]], b1: [[0.1, 0, -0.2]],
  W2: [[0.6, -0.2, 0.3], [-0.5, 0.4, 0.1]], b2: [[0.1, -0.1]],
  lr: 0.1, loss: "cross_entropy",
};

const logEpsilon = literal(1e-12, "1e−12"); // of the layer log
const range = count => Array.from({ length: count }, (_, i) => i);
const table = (rows, columns, cell) => range(rows).map(i => range(columns).map(j => cell(i, j)));
const total = (count, part) => sum(...range(count).map(part));

/** "W1[0,1]" for an entry of W1, "new W1[0,1]" for one of new.W1. */
function symbol(name, i, j) {
  const [what, parameter] = name.split(".");
  const rank = RANKS[parameter ?? what] ?? 2;
  const index = rank === 2 ? `[${i},${j}]` : rank === 1 ? `[${j}]` : "";
  return parameter ? `${ADAM_SYMBOLS[what]} of ${parameter}${index}` : name + index;
}

/** The terms of all tensors of one step, by name. */
class Step {
  /** nudge: { name, i, j, by } adds a number to one entry, for central differences. */
  constructor(network, bug = "none", nudge = null) {
    this.network = network;
    this.bug = bug;
    this.nudge = nudge;
    this.terms = { lr: [[literal(network.lr)]] };
    for (const name of ["x", "t", ...PARAMETERS]) {
      this.set(name, network[name].length, network[name][0].length, (i, j) => literal(network[name][i][j]));
    }
  }

  set(name, rows, columns, cell) {
    this.terms[name] = table(rows, columns, cell);
    if (this.nudge && this.nudge.name === name) {
      const { i, j, by } = this.nudge;
      this.terms[name][i][j] = literal(this.terms[name][i][j].value + by);
    }
  }

  value(name, i, j) { return this.terms[name][i][j].value; }
  at(name, i, j) { return entry(symbol(name, i, j), this.value(name, i, j), [name, i, j]); }
  values(name) { return this.terms[name].map(row => row.map(cell => cell.value)); }
  label(n) { return this.network.t[0][n]; }

  /** [j = t[n]] */
  oneHot(n, j) { return bracket(this.label(n) === j, literal(j), "=", this.at("t", 0, n)); }
}

// ---- Forward ----

function forwardLinear(step, y, x, weight, bias) {
  const [outputs, inputs] = [step.network[weight].length, step.network[weight][0].length];
  step.set(y, SAMPLES, outputs, (n, o) => sum(
    ...range(inputs).map(i => product(step.at(x, n, i), step.at(weight, o, i))), step.at(bias, 0, o)));
}

/** exp(logits − max), which cannot overflow */
const shifted = (step, n, j) => exp(difference(step.at("logits", n, j), step.at("max", 0, n)));

function forwardLoss(step) {
  const isFused = step.network.loss === "cross_entropy";
  step.set("max", 1, SAMPLES, (_, n) => call("max", Math.max(...step.values("logits")[n]),
    ...range(CLASSES).map(j => step.at("logits", n, j))));
  const sumOfExp = n => total(CLASSES, k => shifted(step, n, k));
  step.set("p", SAMPLES, CLASSES, (n, j) => quotient(shifted(step, n, j), sumOfExp(n)));
  if (isFused) {
    step.set("losses", 1, SAMPLES, (_, n) => sum(log(sumOfExp(n)),
      negative(difference(step.at("logits", n, step.label(n)), step.at("max", 0, n)))));
  } else {
    step.set("log_p", SAMPLES, CLASSES, (n, j) => log(sum(step.at("p", n, j), logEpsilon)));
    step.set("losses", 1, SAMPLES, (_, n) => negative(step.at("log_p", n, step.label(n))));
  }
  step.set("loss", 1, 1, () => quotient(total(SAMPLES, n => step.at("losses", 0, n)), literal(SAMPLES)));
}

function forward(step) {
  forwardLinear(step, "z1", "x", "W1", "b1");
  step.set("h", SAMPLES, HIDDEN, (n, i) => largerOfZeroAnd(step.at("z1", n, i)));
  forwardLinear(step, "logits", "h", "W2", "b2");
  forwardLoss(step);
}

// ---- Backward ----

function gradientOfLogits(step, n, j) {
  const p = step.at("p", n, j);
  const error = difference(p, step.oneHot(n, j));
  switch (step.bug) {
    case "cross_entropy.missing_one_over_n": return error;
    case "cross_entropy.sign": return negative(quotient(error, literal(SAMPLES)));
    case "cross_entropy.one_hot_forgotten": return quotient(p, literal(SAMPLES));
    default: return quotient(error, literal(SAMPLES));
  }
}

function gradientOfLogP(step, n, j) {
  const label = step.oneHot(n, j);
  switch (step.bug) {
    case "negative_log_likelihood.missing_one_over_n": return negative(label);
    case "negative_log_likelihood.sign": return quotient(label, literal(SAMPLES));
    default: return negative(quotient(label, literal(SAMPLES)));
  }
}

function gradientOfP(step, n, j) {
  const [grad, p] = [step.at("grad_log_p", n, j), step.at("p", n, j)];
  switch (step.bug) {
    case "log.epsilon_forgotten": return quotient(grad, p);
    case "log.derivative_of_exp": return product(grad, step.at("log_p", n, j));
    default: return quotient(grad, sum(p, logEpsilon));
  }
}

function gradientOfSoftmax(step, n, j) {
  const [p, grad] = [step.at("p", n, j), step.at("grad_p", n, j)];
  const pair = (row, k) => product(step.at("grad_p", row, k), step.at("p", row, k));
  switch (step.bug) {
    case "softmax.diagonal_only": return product(grad, p, difference(literal(1), p));
    case "softmax.sum_over_the_wrong_axis":
      return product(p, difference(grad, total(SAMPLES, row => pair(row, j))));
    case "softmax.sum_treated_as_constant": return product(p, grad);
    default: return product(p, difference(grad, total(CLASSES, k => pair(n, k))));
  }
}

function backwardLoss(step) {
  if (step.network.loss === "cross_entropy") {
    step.set("grad_logits", SAMPLES, CLASSES, (n, j) => gradientOfLogits(step, n, j));
    return;
  }
  step.set("grad_log_p", SAMPLES, CLASSES, (n, j) => gradientOfLogP(step, n, j));
  step.set("grad_p", SAMPLES, CLASSES, (n, j) => gradientOfP(step, n, j));
  step.set("grad_logits", SAMPLES, CLASSES, (n, j) => gradientOfSoftmax(step, n, j));
}

function backwardLinear(step, y, x, weight, bias) {
  const [outputs, inputs] = [step.network[weight].length, step.network[weight][0].length];
  const grad = (n, o) => step.at(`grad_${y}`, n, o);
  step.set(`grad_${weight}`, outputs, inputs, (o, i) => step.bug === "linear.weight_not_filled"
    ? literal(0)
    : total(SAMPLES, n => product(grad(n, o), step.at(x, n, i))));
  step.set(`grad_${bias}`, 1, outputs, (_, o) => {
    const ofAllRows = total(SAMPLES, n => grad(n, o));
    switch (step.bug) {
      case "linear.bias_of_one_row": return grad(0, o);
      case "linear.bias_averaged": return quotient(ofAllRows, literal(SAMPLES));
      default: return ofAllRows;
    }
  });
  if (x === "x") return; // nothing lies before the input
  step.set(`grad_${x}`, SAMPLES, inputs, (n, i) =>
    total(outputs, o => product(grad(n, o), step.at(weight, o, i))));
}

function backwardRelu(step, n, i) {
  const [grad, z, zero] = [step.at("grad_h", n, i), step.at("z1", n, i), literal(0)];
  switch (step.bug) {
    case "relu.slope_one_at_zero": return product(grad, bracket(z.value >= 0, z, "≥", zero));
    case "relu.upstream_forgotten": return bracket(z.value > 0, z, ">", zero);
    case "relu.mask_from_gradient": return product(grad, bracket(grad.value > 0, grad, ">", zero));
    default: return product(grad, bracket(z.value > 0, z, ">", zero));
  }
}

function backward(step) {
  backwardLoss(step);
  backwardLinear(step, "logits", "h", "W2", "b2");
  step.set("grad_z1", SAMPLES, HIDDEN, (n, i) => backwardRelu(step, n, i));
  backwardLinear(step, "z1", "x", "W1", "b1");
}

// ---- The first step of Adam ----

function newWeight(step, w, m, v) {
  const eps = literal(EPSILON, "1e−8");
  const denominator = {
    "adam.epsilon_inside_the_root": () => root(sum(v("mean_sq"), eps)),
    "adam.epsilon_before_the_correction": () =>
      quotient(sum(root(v("exp_avg_sq")), eps), root(difference(literal(1), literal(BETA2)))),
  }[step.bug] ?? (() => sum(root(v("mean_sq")), eps));
  const rate = entry("lr", step.network.lr, ["lr", 0, 0]);
  return difference(w, quotient(product(rate, m), denominator()));
}

function adam(step) {
  const [one, beta1, beta2] = [literal(1), literal(BETA1), literal(BETA2)];
  const corrected = (moment, beta, without) =>
    step.bug === without ? moment : quotient(moment, difference(one, beta));
  for (const name of PARAMETERS) {
    const [rows, columns] = [step.network[name].length, step.network[name][0].length];
    const grad = (i, j) => step.at(`grad_${name}`, i, j);
    const of = (what, i, j) =>
      entry(ADAM_SYMBOLS[what], step.value(`${what}.${name}`, i, j), [`${what}.${name}`, i, j]);
    const average = (beta, weight, part) => sum(product(beta, literal(0)), product(literal(weight), part));
    step.set(`exp_avg.${name}`, rows, columns, (i, j) => average(beta1, 1 - BETA1, grad(i, j)));
    step.set(`exp_avg_sq.${name}`, rows, columns, (i, j) => average(beta2, 1 - BETA2,
      step.bug === "adam.square_not_squared" ? absolute(grad(i, j)) : square(grad(i, j))));
    step.set(`mean.${name}`, rows, columns, (i, j) =>
      corrected(of("exp_avg", i, j), beta1, "adam.no_correction_of_the_mean"));
    step.set(`mean_sq.${name}`, rows, columns, (i, j) =>
      corrected(of("exp_avg_sq", i, j), beta2, "adam.no_correction_of_the_square"));
    step.set(`new.${name}`, rows, columns, (i, j) =>
      newWeight(step, step.at(name, i, j), of("mean", i, j), what => of(what, i, j)));
  }
}

/** Forward, backward and update. */
function run(network, bug = "none") {
  const step = new Step(network, bug);
  forward(step);
  backward(step);
  adam(step);
  return step;
}

// ---- Comparison with the correct step ----

/** All tensors that a bug can change, in order, with what computes them. */
function checkedTensors(network) {
  const updates = PARAMETERS.flatMap(name => ADAM.map(what => [`${what}.${name}`, "optimizer, adam"]));
  return [...GRADIENTS[network.loss], ...updates];
}

/** Whether these two values differ by more than rounding, in a tensor whose largest value is this. */
const differs = (value, right, largest) =>
  !(Object.is(value, right) || Math.abs(value - right) <= 1e-10 * Math.max(largest, Number.MIN_VALUE));

/** The wrong entries, tensor by tensor: [{ name, from, cells: [[i, j], …] }, …]. */
function wrongTensors(step, correct) {
  const wrong = checkedTensors(step.network).map(([name, from]) => {
    const [values, rights] = [step.values(name), correct.values(name)];
    const largest = Math.max(...rights.flat().filter(Number.isFinite).map(Math.abs), 0);
    const cells = table(values.length, values[0].length, (i, j) => [i, j]).flat()
      .filter(([i, j]) => differs(values[i][j], rights[i][j], largest));
    return { name, from, cells };
  }).filter(({ cells }) => cells.length > 0);
  // Adam amplifies rounding errors of a gradient, which are no bug.
  const isPlausible = step.bug.startsWith("adam.") || wrong[0]?.name.startsWith("grad_");
  return isPlausible ? wrong : [];
}

/** ∂loss/∂(this entry) from two forward passes, and whether a ReLU switches between them. */
function centralDifference(network, name, i, j, h = 1e-5) {
  const [above, below] = [h, -h].map(by => {
    const step = new Step(network, "none", { name, i, j, by });
    forward(step);
    return step;
  });
  const isOn = step => step.values("z1").flat().map(z => z > 0).join();
  const atKink = isOn(above) !== isOn(below);
  return { value: (above.value("loss", 0, 0) - below.value("loss", 0, 0)) / (2 * h), atKink };
}

/** The loss at the weights after the step. */
function lossAfter(step) {
  const weights = Object.fromEntries(PARAMETERS.map(name => [name, step.values(`new.${name}`)]));
  const next = new Step({ ...step.network, ...weights });
  forward(next);
  return next.value("loss", 0, 0);
}

"use strict";
// What the page shows. The arithmetic is in the script "core".
(() => {
  const find = selector => document.querySelector(selector);
  const cells = [...document.querySelectorAll("td[data-cell]")].map(td => {
    const [name, i, j] = td.dataset.cell.split(",");
    return { td, name, i: Number(i), j: Number(j) };
  });
  const EDITABLE = ["x", "t", ...PARAMETERS];
  const MOST = 1e6;
  let network, bug, step, correct, wrong, shown = null;

  /** "0.6637", "−1.32e−9": four decimals, or three digits and an exponent. */
  function cellNumber(value) {
    if (value === 0) return "0";
    if (!Number.isFinite(value)) return shortNumber(value);
    const size = Math.abs(value);
    const isUsual = size >= 1e-3 && size < 1e5;
    return (isUsual ? value.toFixed(4) : value.toExponential(2).replace("+", "")).replace(/-/g, "−");
  }

  /** Two values, with as many digits as they need to differ. */
  function twoNumbers(value, right) {
    for (const digits of [0, 6, 9, 12, 17]) {
      const format = digits === 0 || !Number.isFinite(value) ? cellNumber
        : x => Number(x.toPrecision(digits)).toString().replace(/-/g, "−");
      if (format(value) !== format(right) || digits === 17) return [format(value), format(right)];
    }
  }

  const at = (name, i, j) => cells.filter(cell => cell.name === name && cell.i === i && cell.j === j);
  const bugNamed = name => BUGS.find(each => each.name === name);
  const isWrong = ({ name, i, j }) => wrong.some(tensor =>
    tensor.name === name && tensor.cells.some(([row, column]) => row === i && column === j));
  const isFirst = cell => wrong.length > 0 && wrong[0].name === cell.name && isWrong(cell);

  // ---- The tables ----

  function readNumber(input, least, change) {
    const value = Number(input.value);
    const valid = input.value.trim() !== "" && value >= least && value <= MOST;
    input.setAttribute("aria-invalid", String(!valid));
    if (valid) return update(() => change(value));
    const expected = `Expected a number from ${shortNumber(least)} to ${MOST.toLocaleString("en")}.`;
    find(".finding").textContent = expected;
  }

  function makeEditor({ td, name, i, j }) {
    const editor = document.createElement(name === "t" ? "select" : "input");
    if (name === "t") {
      editor.append(...range(CLASSES).map(label => new Option(label, label)));
      editor.addEventListener("change", () => update(() => { network.t[i][j] = Number(editor.value); }));
    } else {
      Object.assign(editor, { type: "number", step: "0.1" });
      const change = value => { network[name][i][j] = value; };
      editor.addEventListener("input", () => readNumber(editor, -MOST, change));
    }
    editor.setAttribute("aria-label", symbol(name, i, j));
    td.classList.add("edit");
    td.replaceChildren(editor);
  }

  function showEditors() {
    for (const { td, name, i, j } of cells.filter(cell => EDITABLE.includes(cell.name))) {
      const editor = td.firstChild;
      if (Number(editor.value) !== network[name][i][j] || editor.value === "") {
        editor.value = network[name][i][j];
      }
      editor.setAttribute("aria-invalid", "false");
    }
    if (Number(find("#lr").value) !== network.lr) find("#lr").value = network.lr;
  }

  function showCell(cell) {
    const { td, name, i, j } = cell;
    const first = isFirst(cell);
    const [value, right] = first ? twoNumbers(step.value(name, i, j), correct.value(name, i, j))
      : [cellNumber(step.value(name, i, j))];
    const before = td.querySelector(".value")?.textContent;
    const text = document.createElement("span");
    text.className = "value";
    text.textContent = value;
    td.replaceChildren(text);
    if (first) {
      const was = document.createElement("span");
      was.className = "was";
      was.textContent = right;
      td.append(was);
    }
    td.classList.toggle("wrong", isWrong(cell));
    td.classList.toggle("first", first);
    td.classList.remove("changed");
    if (before === text.textContent || !before) return false;
    void td.offsetWidth; // starts the animation again
    td.classList.add("changed");
    return true;
  }

  function showTables() {
    const isFused = network.loss === "cross_entropy";
    for (const part of document.querySelectorAll(".three-steps")) part.hidden = isFused;
    for (const part of document.querySelectorAll(".fused")) part.hidden = !isFused;
    for (const figure of document.querySelectorAll(".tensor")) {
      const first = wrong.length > 0 && wrong[0].name === figure.dataset.tensor;
      figure.classList.toggle("first", first);
      const badge = figure.querySelector(".badge");
      badge.hidden = !first;
      badge.textContent = first ? `First wrong: ${wrong[0].from}` : "";
    }
    find("[data-tensor=grad_logits] .from").textContent = isFused
      ? "loss: (p − [c = t]) / 2" : "layer 3: p · (grad_p − Σ over c of grad_p · p)";
    find("#loss-before").textContent = cellNumber(step.value("loss", 0, 0));
    find("#loss-after").textContent = cellNumber(lossAfter(step));
    find("#rate").textContent = shortNumber(network.lr);
    const computed = cells.filter(cell => !EDITABLE.includes(cell.name));
    for (const { td } of computed) td.classList.remove("wrong", "first");
    const visible = computed.filter(cell => step.terms[cell.name]);
    return new Set(visible.filter(showCell).map(cell => `${cell.name},${cell.i},${cell.j}`)).size;
  }

  // ---- The finding ----

  /** The gradients of the correct network and central differences. */
  function agreement() {
    const found = { entries: 0, kinks: 0, largest: 0, failures: 0 };
    for (const [name] of GRADIENTS[network.loss]) {
      correct.values(name).forEach((row, i) => row.forEach((right, j) => {
        const { value, atKink } = centralDifference(network, name.slice("grad_".length), i, j);
        const distance = Math.abs(value - right);
        ++found.entries;
        if (atKink) ++found.kinks;
        else if (!(distance <= 1e-5 * Math.max(1, Math.abs(right)))) ++found.failures;
        else found.largest = Math.max(found.largest, distance);
      }));
    }
    return found;
  }

  function agreementText() {
    const { entries, kinks, largest, failures } = agreement();
    const agree = entries - kinks - failures;
    const which = agree === entries ? `all ${entries}` : `${agree} of ${entries}`;
    return `Central differences agree with ${which} correct gradients (largest difference ` +
      `${cellNumber(largest)})` + (kinks ? `; ${kinks} are at the kink of a ReLU` : "") +
      (failures ? `; at ${failures}, the loss is not smooth enough for h = 1e−5` : "") + ".";
  }

  function findingText() {
    if (wrong.length === 0) {
      return bug === "none" ? "No bug is planted: every number is right."
        : "This bug is planted, but at these numbers it changes nothing.";
    }
    const [first] = wrong;
    const [what, parameter] = first.name.split(".");
    const quantity = what === "new" ? "the new weight" : ADAM_SYMBOLS[what];
    return parameter ? `First wrong number: ${quantity} of ${parameter}, ${first.from}`
      : `First wrong gradient: ${first.name}, ${first.from}`;
  }

  function detailText(changes) {
    const changed = changes === null ? "" : ` ${changes} number${changes === 1 ? "" : "s"} changed.`;
    if (wrong.length === 0) return agreementText() + changed;
    const [{ name, cells: [[i, j]], cells: { length } }, ...later] = wrong;
    const [value, right] = twoNumbers(step.value(name, i, j), correct.value(name, i, j));
    const all = step.values(name).flat().length;
    const quotient = name.startsWith("grad_") && centralDifference(network, name.slice("grad_".length), i, j);
    const second = !quotient ? "" : `, and central differences give ${shortNumber(quotient.value)}` +
      (quotient.atKink ? " (at a kink, the mean of both slopes)" : "");
    const count = `${length} ${length === 1 ? "is" : "are"} wrong`;
    return `${symbol(name, i, j)} is ${value}; right is ${right}${second}. Of its ${all} entries, ` +
      `${count}, and ${later.length} later tensors because of it.` + changed;
  }

  function showFinding(changes) {
    const finding = find(".finding");
    finding.textContent = findingText();
    finding.className = "finding" + (wrong.length > 0 ? " wrong" : bug === "none" ? " right" : "");
    find(".detail").textContent = detailText(changes);
    const planted = bugNamed(bug);
    find("#go").hidden = wrong.length === 0;
    const firstWrong = wrong.map(({ name, cells: [first] }) => symbol(name, ...first))[0];
    find("#go").textContent = `Go to ${firstWrong}`;
    const example = planted && (wrong.length === 0 ? planted.show : planted.more);
    find("#show").hidden = !example;
    find("#show").textContent = example ? `Show it: ${example.text}` : "";
    find("#about").hidden = !planted;
    if (!planted) return;
    find(".why").textContent = planted.why;
    find(".right-line").textContent = planted.right;
    find(".wrong-line").textContent = planted.wrong;
    find(".look").textContent = planted.look;
    find(".command").textContent = commandOf(planted);
  }

  // ---- The formula of one number ----

  function line(label, text, kind = "") {
    const paragraph = document.createElement("p");
    const strong = document.createElement("span");
    strong.className = `name ${kind}`;
    strong.textContent = label;
    const formula = document.createElement("span");
    formula.className = "formula";
    formula.textContent = text;
    paragraph.append(strong, " ", formula);
    return paragraph;
  }

  const written = term => `${term.text(false)} = ${term.text(true)} = `;

  function linesOf(cell) {
    const { name, i, j } = cell;
    const [mine, right] = [step.terms[name][i][j], correct.terms[name][i][j]];
    if (EDITABLE.includes(name)) {
      const isData = name === "x" || name === "t";
      const kind = isData ? "an input" : "a parameter";
      return [line(symbol(name, i, j), `= ${shortNumber(mine.value)}, ${kind}: edit it`)];
    }
    const bad = isWrong(cell);
    const [value, rightValue] = bad ? twoNumbers(mine.value, right.value) : [shortNumber(mine.value)];
    const lines = [line(symbol(name, i, j), `= ${written(mine)}${value}`, bad ? "wrong" : "")];
    if (bad) lines.push(line("right:", `${written(right)}${rightValue}`, "right"));
    if (!name.startsWith("grad_")) return lines;
    const { value: quotient, atKink } = centralDifference(network, name.slice("grad_".length), i, j);
    lines.push(line("central difference:", shortNumber(quotient) +
      (atKink ? ", at the kink of a ReLU: the mean of two slopes" : ""), "right"));
    return lines;
  }

  function explain(cell) {
    shown = cell;
    for (const { td } of cells) td.classList.remove("operand", "shown");
    if (!cell) return;
    find("#explain-text").replaceChildren(...linesOf(cell));
    cell.td.classList.add("shown");
    if (EDITABLE.includes(cell.name)) return;
    for (const source of sources(step.terms[cell.name][cell.i][cell.j])) {
      for (const { td } of at(...source)) td.classList.add("operand");
    }
  }

  // ---- Keyboard: one tab stop per table, arrow keys inside ----

  function makeGrid(grid) {
    const all = (part, selector) => [...part.querySelectorAll(selector)];
    const rows = all(grid, "tbody tr").map(row => all(row, "td[data-cell]"));
    grid.setAttribute("role", "grid");
    const choose = td => {
      for (const other of rows.flat()) other.tabIndex = other === td ? 0 : -1;
    };
    choose(rows[0][0]);
    grid.addEventListener("focusin", event => choose(event.target.closest("td")));
    grid.addEventListener("keydown", event => {
      const i = rows.findIndex(row => row.includes(event.target));
      if (i < 0) return;
      const j = rows[i].indexOf(event.target);
      const next = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1],
        ArrowRight: [i, j + 1], Home: [i, 0], End: [i, rows[i].length - 1] }[event.key];
      const td = next && rows[next[0]]?.[next[1]];
      if (next) event.preventDefault();
      if (td) td.focus();
    });
  }

  function connectCells() {
    for (const cell of cells) {
      if (EDITABLE.includes(cell.name)) makeEditor(cell);
      cell.td.addEventListener("pointerenter", () => explain(cell));
      cell.td.addEventListener("focusin", () => explain(cell));
      cell.td.setAttribute("aria-describedby", "explain-text");
    }
    for (const grid of document.querySelectorAll("main table")) {
      if (!grid.querySelector("td.edit")) makeGrid(grid);
    }
  }

  // ---- Changes ----

  const copy = example => JSON.parse(JSON.stringify(example));

  function set(values) {
    for (const name of EDITABLE) {
      for (const [index, value] of Object.entries(values[name] ?? {})) {
        const [i, j] = index.split(",").map(Number);
        network[name][i][j] = value;
      }
    }
  }

  function update(change, isFirstTime = false) {
    change();
    step = run(network, bug);
    correct = run(network);
    wrong = wrongTensors(step, correct);
    find("#bug").value = bug;
    find("#loss").value = network.loss;
    showEditors();
    const changes = showTables();
    showFinding(isFirstTime ? null : changes);
    if (shown && step.terms[shown.name]) explain(shown);
  }

  function plant(name) {
    bug = bugNamed(name) ? name : "none";
    if (bug !== "none") network.loss = bugNamed(bug).loss ?? "cross_entropy";
    try {
      history.replaceState(null, "", bug === "none" ? location.pathname : `#${bug}`);
    } catch { /* a page without an address of its own */ }
  }

  function connectControls() {
    for (const [title, prefix] of [["Loss", "cross_entropy."], ["Layer 1: ReLU", "relu."],
      ["Layers 0 and 2: linear", "linear."], ["Optimizer", "adam."], ["Three steps: softmax", "softmax."],
      ["Three steps: log", "log."], ["Three steps: likelihood", "negative_log_likelihood."]]) {
      const group = document.createElement("optgroup");
      group.label = title;
      group.append(...BUGS.filter(each => each.name.startsWith(prefix)).map(each => new Option(each.name)));
      find("#bug").append(group);
    }
    find("#bug").addEventListener("change", event => update(() => plant(event.target.value)));
    find("#loss").addEventListener("change", event => update(() => {
      const needed = bugNamed(bug)?.loss ?? "cross_entropy";
      const isOfLoss = bugNamed(bug)?.loss || bug.startsWith("cross_entropy.");
      if (isOfLoss && needed !== event.target.value) plant("none");
      network.loss = event.target.value;
    }));
    const setRate = value => { network.lr = value; };
    find("#lr").addEventListener("input", event => readNumber(event.target, 0, setRate));
    find("#random").addEventListener("click", () => update(() => {
      for (const name of ["x", ...PARAMETERS]) {
        network[name] = network[name].map(row => row.map(() => Math.round(200 * Math.random() - 100) / 100));
      }
    }));
    find("#reset").addEventListener("click", () => update(() => {
      network = copy(EXAMPLE);
      plant("none");
    }));
    find("#show").addEventListener("click", () => update(() => {
      const { show, more } = bugNamed(bug);
      set(wrong.length === 0 ? show : more);
    }));
    find("#go").addEventListener("click", () => {
      const [{ td }] = at(wrong[0].name, ...wrong[0].cells[0]);
      td.focus();
      td.scrollIntoView({ block: "center", inline: "nearest" });
    });
    addEventListener("hashchange", () => update(() => plant(location.hash.slice(1))));
  }

  network = copy(EXAMPLE);
  connectCells();
  connectControls();
  for (const part of [".controls", "#explain"]) find(part).hidden = false;
  update(() => plant(location.hash.slice(1)), true);
})();

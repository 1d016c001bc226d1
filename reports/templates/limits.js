"use strict";
// A reader's limits: which methods keep them, and which of these to use. Figures and flags come from the report.
const startLimits = ({ data, byId, allow }) => {
  let current = 0;
  const answers = () => data.answers[current];
  const limits = () => answers().limits
    .map((limit) => ({ ...limit, most: byId(`limit-${limit.key}`).value }))
    .filter((limit) => limit.most !== "" && Number(limit.most) >= 0)
    .map((limit) => ({ ...limit, most: Number(limit.most) }));
  const list = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);
  const short = (number) => String(Number(number.toPrecision(3)));

  const tell = () => {
    const set = limits(), { methods, claims, margin, headline } = answers();
    if (!set.length) {
      allow(null);
      byId("limits-says").textContent = headline ? `No limit is set. ${headline}` : "No method has a score of every task.";
      return;
    }
    const known = (one) => set.every((limit) => one.costs[limit.key] !== undefined);
    const fits = methods.filter((one) => known(one) && set.every((limit) => one.costs[limit.key] <= limit.most * limit.factor * (1 + 1e-9)));
    const unknown = methods.filter((one) => !known(one)).map((one) => one.method);
    allow(new Set(fits.map((one) => one.method)));
    // The best comes first in `methods`; one that is shown to be as good as the best goes before one that is not.
    const pick = fits.find((one) => one.asGood) || fits[0];
    const words = [];
    if (!pick) words.push("No method keeps these limits.");
    else {
      const costs = set.map((limit) => `${short(pick.costs[limit.key] / limit.factor)} ${limit.unit} (${limit.label})`);
      words.push(`Use ${pick.method}: score ${pick.score}, ${list(costs)}.`);
      words.push(pick.best ? "It is the best of all by its mean." : `Against the best of all it gives up ${pick.loss}.`);
      if (!claims) words.push("Too few runs to say how surely.");
      else if (pick.asGood) words.push(`It is shown to be as good as the best, less ${margin}.`);
      else if (pick.worse) words.push("It is shown to be worse than the best.");
      else words.push("That it is as good as the best is not shown.");
      const others = fits.filter((one) => one !== pick).map((one) => one.method);
      if (others.length) words.push(`Within the limits too: ${list(others)}.`);
    }
    if (unknown.length) words.push(`Not measured, so left out: ${list(unknown)}.`);
    byId("limits-says").textContent = words.join(" ");
  };
  const show = (index) => {
    current = Number(index);
    byId("limits").replaceChildren(...answers().limits.map((limit) => {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type: "number", id: `limit-${limit.key}`, min: 0, step: "any", inputMode: "decimal" });
      input.addEventListener("input", tell);
      const range = document.createElement("span");
      range.className = "small";
      range.textContent = `${limit.least} to ${limit.most} here`;
      const amount = document.createElement("span");
      amount.className = "amount";
      amount.append(input, ` ${limit.unit}`);
      label.append(`${limit.label}, at most `, amount, " ", range);
      return label;
    }));
    if (answers().limits.length) {
      const clear = document.createElement("button");
      Object.assign(clear, { type: "button", textContent: "No limits" });
      clear.addEventListener("click", () => { for (const input of byId("limits").querySelectorAll("input")) input.value = ""; tell(); });
      byId("limits").append(clear);
    }
    tell();
  };

  // The size of so many copies.
  const sized = (bytes) => {
    const [factor, unit] = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([size]) => bytes >= size) || [1, "B"];
    return `${short(bytes / factor)} ${unit}`;
  };
  byId("copies").addEventListener("input", (event) => {
    const copies = Math.floor(Number(event.target.value));
    if (copies >= 1) for (const node of document.querySelectorAll("[data-bytes]")) {
      const bytes = Number(node.dataset.bytes);
      node.textContent = `${sized(bytes)} a copy, ${sized(bytes * copies)} for ${copies.toLocaleString("en")} copies`;
    }
  });
  return { show };
};

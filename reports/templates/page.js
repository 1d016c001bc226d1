"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const tip = byId("tip");

  // One tooltip for headings and marks: follows the focus or the pointer, leaves with Escape.
  const showTip = (text, box, above = false) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), innerWidth - width - 8);
    const below = above ? box.top - height - 8 < 0 : box.bottom + 8 + height < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px`;
  };
  const hideTip = () => { tip.hidden = true; };
  const explain = (node, text, above = false) => {
    const show = () => showTip(text(), node.getBoundingClientRect(), above);
    for (const event of ["mouseenter", "focus", "click"]) node.addEventListener(event, show);
    for (const event of ["mouseleave", "blur"]) node.addEventListener(event, hideTip);
  };
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", hideTip, { passive: true });

  // Tables: sorting by the value behind a cell, absent ones last; filtering by all words.
  const value = (row, column) => {
    const text = row.cells[column].dataset.v;
    if (text === undefined) return null;
    const number = Number(text);
    return Number.isNaN(number) || text === "" ? text : number;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const sort = (table, column, direction) => {
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: value(row, column) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return direction * compare(a.key, b.key);
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
  };
  for (const block of document.querySelectorAll("[data-table]")) {
    const table = block.querySelector("table"), filter = block.querySelector(".filter");
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      const says = head.querySelector(".hidden");
      if (says) explain(button, () => says.textContent, true); // above: below lie the rows that it sorts
      button.addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        sort(table, column, rising ? 1 : -1);
      });
    });
    const count = block.querySelector(".count");
    if (filter) filter.addEventListener("input", (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
    });
  }

  const plot = startPlot({ data, byId, explain, hideTip });
  const answer = startLimits({ data, byId, allow: plot.allow });

  // The setting shown.
  const setting = byId("setting");
  const showSetting = () => {
    for (const part of document.querySelectorAll(".of-setting")) part.hidden = part.dataset.setting !== setting.value;
    plot.showPanel(setting.value);
    answer.show(setting.value);
  };
  if (setting) {
    setting.addEventListener("change", showSetting);
    showSetting();
  } else answer.show(0);

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
})();

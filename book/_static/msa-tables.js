/* Tables of the book: a click on a head sorts, a box above a long table filters its rows.
   Without scripts the tables are complete and in their own order. */
"use strict";

(() => {
  const LONG = 10; // rows from which on a table has a filter box
  const DIRECTIONS = ["none", "ascending", "descending"];

  const PREFIXES = { k: 1e3, M: 1e6, G: 1e9 };

  /* The number that a cell begins with: 0.871 of "0.871 ± 0.004", 9720000 of "9.72 M". */
  function numberOf(text) {
    const plain = text.replace("−", "-").replace(/(\d),(?=\d{3})/g, "$1");
    const found = plain.match(/^([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)(?: ([kMG])$)?/);
    return found ? Number(found[1]) * (PREFIXES[found[2]] ?? 1) : NaN;
  }

  const textOf = (row, column) => row.cells[column].textContent.trim();
  /* Words in the place of a number, such as "2 of 11 rates" where a sweep is not complete. */
  const isEmpty = (text) =>
    /^(–|nan|not run yet|no pair yet|measured apart|\d+ of \d+ rates)?$/.test(text);

  /* Numbers by size if every entry of the column begins with one, else by the alphabet;
     what is not defined stays at the end. */
  function sorted(rows, column, direction) {
    const sign = direction === "ascending" ? 1 : -1;
    const texts = rows.map((row) => textOf(row, column));
    const numeric = texts.every((text) => isEmpty(text) || !isNaN(numberOf(text)));
    const order = rows.map((row, place) => {
      const text = texts[place];
      return { row, empty: isEmpty(text), key: numeric ? numberOf(text) : text };
    });
    order.sort((a, b) => {
      if (a.empty || b.empty) return a.empty - b.empty;
      const compared = numeric
        ? a.key - b.key
        : a.key.localeCompare(b.key, "en", { numeric: true });
      return sign * compared;
    });
    return order.map((entry) => entry.row);
  }

  function makeSortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (original.some((row) => row.cells[column].querySelector("details"))) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "msa-sort";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const now = DIRECTIONS.indexOf(head.getAttribute("aria-sort"));
        const next = DIRECTIONS[(now + 1) % DIRECTIONS.length];
        heads.forEach((h) => h.hasAttribute("aria-sort") && h.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        table.classList.toggle("msa-sorted", next !== "none");
        body.append(...(next === "none" ? original : sorted(original, column, next)));
      });
    });
  }

  function makeFilterable(table) {
    const rows = [...table.tBodies[0].rows];
    const box = document.createElement("label");
    box.className = "msa-filter";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "words in a row";
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    box.append("Filter rows ", input, " ", count);
    table.closest(".msa-scroll").before(box);
    const update = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      });
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = `${shown} of ${rows.length}`;
    };
    input.addEventListener("input", update);
    update();
  }

  /* Tell where a table goes on to the right of what is seen. */
  function markWidth(box) {
    const mark = () => {
      const rest = box.scrollWidth - box.clientWidth - box.scrollLeft;
      box.classList.toggle("msa-wide", rest > 2);
    };
    new ResizeObserver(mark).observe(box);
    box.addEventListener("scroll", mark);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("table.msa-table").forEach((table) => {
      const rows = table.tBodies[0] ? table.tBodies[0].rows.length : 0;
      if (!table.tHead || rows < 3) return;
      makeSortable(table);
      if (rows >= LONG) makeFilterable(table);
    });
    document.querySelectorAll(".msa-scroll").forEach(markWidth);
  });
})();
